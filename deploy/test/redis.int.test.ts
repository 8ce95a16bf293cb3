import { startRedis } from '@postern/deploy/servers/redis';
import { REDIS_ADMIN, REDIS_SESSION, redisUrl, writeRedisAcl } from '@postern/deploy/setup/redis';
import { temporaryFolder } from '@postern/testkit/temporary-folder';
import { Redis } from 'ioredis';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

const secrets = { admin: 'secret-of-the-admin', session: 'secret-of-session' };
const scope = new AsyncDisposableStack();
let url: string;
let session: Redis;

beforeAll(async () => {
  const folder = scope.use(await temporaryFolder());
  const aclFile = await writeRedisAcl(join(folder.path, 'secrets'), secrets);
  const server = scope.use(await startRedis({ dataDir: join(folder.path, 'redis'), aclFile, ephemeral: true }));
  url = `redis://127.0.0.1:${server.port}`;
  session = open(redisUrl(url, REDIS_SESSION, secrets.session));
});
afterAll(() => scope.disposeAsync());

function open(address: string): Redis {
  const client = new Redis(address, { maxRetriesPerRequest: 0, retryStrategy: null });
  client.on('error', () => {});
  return scope.adopt(client, (opened) => opened.disconnect());
}

test('session works on its own keys, alone and in scripts', async () => {
  await session.set('postern:{session}:a', '1', 'EX', 10);
  expect(await session.get('postern:{session}:a')).toBe('1');
  expect(await session.eval("return redis.call('incr', KEYS[1])", 1, 'postern:{session}:a')).toBe(2);
});

test.each([
  ['a key of another service', () => session.get('postern:{auth}:a')],
  ['a key of another service from a script', () => session.eval("return redis.call('get', KEYS[1])", 1, 'postern:{auth}:a')],
  ['all keys', () => session.keys('*')],
  ['the end of all data', () => session.flushall()],
  ['the configuration', () => session.config('GET', '*')],
  ['the users', () => session.acl('LIST')],
  ['other clients', () => session.client('LIST')],
  ['a channel', () => session.publish('anything', 'x')],
])('session is refused %s', async (_what, attempt) => {
  await expect(attempt()).rejects.toThrow(/NOPERM|ACL/);
});

test('nobody gets in without a name, and the admin gets everywhere', async () => {
  await expect(open(url).ping()).rejects.toThrow();
  expect(await open(redisUrl(url, REDIS_ADMIN, secrets.admin)).dbsize()).toBeTypeOf('number');
});
