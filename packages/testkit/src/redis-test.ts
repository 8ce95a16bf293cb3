import { Redis } from 'ioredis';
import { test } from 'vitest';

import { sharedRedis } from './test-servers.ts';

export interface TestRedis {
  /** Of a user who may do everything, on a database that this file has for itself. */
  readonly url: string;
  /** Connected to the same. */
  readonly client: Redis;
}

interface Cleanup {
  readonly onCleanup: (cleanup: () => void | Promise<void>) => void;
}

/** The value of {@link redisTest}, for tests that also have others: `busTest.extend('redis', { scope: 'file' }, redisFixture)`. */
// oxlint-disable-next-line no-empty-pattern -- vitest reads a fixture's needs from the pattern, and this one has none
export const redisFixture = async ({}: object, { onCleanup }: Cleanup): Promise<TestRedis> => {
  const { url } = await sharedRedis();
  const own = new URL(url);
  own.pathname = `/${await takeDatabase(url)}`;
  const client = new Redis(own.href);
  onCleanup(async () => {
    await client.flushdb();
    await client.quit();
  });
  await client.flushdb();
  return { url: own.href, client };
};

/** Tests with a real Redis: an empty database of its own for each file. Users and scripts are shared with other files. */
export const redisTest = test.extend('redis', { scope: 'file' }, redisFixture);

/** Databases are given out in turn, never the first, where the turn itself is kept. */
async function takeDatabase(url: string): Promise<number> {
  const client = new Redis(url);
  try {
    const [, databases] = (await client.config('GET', 'databases')) as string[];
    const turn = await client.incr('testkit:turn');
    return 1 + (turn % (Number(databases) - 1));
  } finally {
    await client.quit();
  }
}
