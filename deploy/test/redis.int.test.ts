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

/** Redis replays what scripts did as the default user: without rights it answers an error for each and loses them all. */
test('what scripts wrote is there after a restart', async () => {
  const folder = scope.use(await temporaryFolder());
  const aclFile = await writeRedisAcl(join(folder.path, 'secrets'), secrets);
  const start = () => startRedis({ dataDir: join(folder.path, 'redis'), aclFile });
  const keys = ['postern:{session}:a', 'postern:{session}:b'];
  const before = await start();
  const writer = open(redisUrl(`redis://127.0.0.1:${before.port}`, REDIS_SESSION, secrets.session));
  await writer.eval("redis.call('set', KEYS[1], 1) redis.call('set', KEYS[2], 2)", 2, ...keys);
  await before.stop();
  await using after = await start();
  const reader = open(redisUrl(`redis://127.0.0.1:${after.port}`, REDIS_SESSION, secrets.session));
  expect(await Promise.all(keys.map((key) => reader.get(key)))).toEqual(['1', '2']);
});

test('nobody gets in without a name nor as the default user, and the admin gets everywhere', async () => {
  await expect(open(url).ping()).rejects.toThrow();
  await expect(open(redisUrl(url, 'default', '')).ping()).rejects.toThrow();
  await expect(open(redisUrl(url, 'default', 'anything')).ping()).rejects.toThrow();
  expect(await open(redisUrl(url, REDIS_ADMIN, secrets.admin)).dbsize()).toBeTypeOf('number');
});
