import pg from 'pg';
import { expect } from 'vitest';

import { busTest } from '../src/bus-test.ts';
import { postgresTest } from '../src/postgres-test.ts';
import { redisTest } from '../src/redis-test.ts';

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
}

postgresTest('a file has a database of its own, and may fill a template once and copy it', async ({ postgres }) => {
  const [own] = await query(postgres.url, 'SELECT current_database() AS name');
  expect(own?.['name']).toMatch(/^test_/);
  let prepared = 0;
  const prepare = async (url: string): Promise<void> => {
    prepared += 1;
    await query(url, 'CREATE TABLE thing AS SELECT 7 AS n');
  };
  const name = `testkit-${crypto.randomUUID()}`;
  const template = await postgres.template(name, prepare);
  expect(await postgres.template(name, prepare)).toBe(template);
  expect(prepared).toBe(1);
  const [one, two] = await Promise.all([postgres.createDatabase(template), postgres.createDatabase(template)]);
  await query(one.url, 'UPDATE thing SET n = 8');
  expect(await query(two.url, 'SELECT n FROM thing')).toEqual([{ n: 7 }]);
});

redisTest('a file begins with an empty Redis database that is not the first', async ({ redis }) => {
  expect(await redis.client.dbsize()).toBe(0);
  expect(new URL(redis.url).pathname).not.toBe('/0');
  await redis.client.set('left', 'behind');
});

busTest('a test connects to the bus as a service', async ({ bus }) => {
  const connection = await bus('edge');
  expect(connection.info?.auth_required).toBe(true);
});
