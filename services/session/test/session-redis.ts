import { redisAcl } from '@postern/deploy/setup/redis';
import { createLogger } from '@postern/service-kit/log';
import type { TestRedis } from '@postern/testkit/redis-test';
import type { Redis } from 'ioredis';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';

import { connectRedis } from '../src/stores/redis.ts';

export interface SessionRedis extends AsyncDisposable {
  readonly client: Redis;
  readonly url: string;
}

/** Connects as a user with the rights that the service has where the mesh is set up, so that a test shows they suffice. */
export async function connectAsSession(redis: TestRedis): Promise<SessionRedis> {
  const user = `session-${randomBytes(6).toString('hex')}`;
  const password = randomBytes(16).toString('hex');
  const rules = redisAcl({ admin: 'unused', session: password }).split('\n');
  const [, , ...rights] = rules.find((rule) => rule.startsWith('user session '))?.split(' ') ?? [];
  // The mesh's own Redis has one database; each test file has another.
  await redis.client.acl('SETUSER', user, ...rights, '+select');
  const url = new URL(redis.url);
  url.username = user;
  url.password = password;
  const client = connectRedis(url.href, createLogger({ service: 'test', level: 'silent' }));
  await once(client, 'ready');
  return {
    client,
    url: url.href,
    async [Symbol.asyncDispose]() {
      client.disconnect();
      await redis.client.acl('DELUSER', user);
    },
  };
}
