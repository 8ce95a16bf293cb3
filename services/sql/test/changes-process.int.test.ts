/** Change streams of a process of its own: how they end with it, and what they keep in memory. */
import { eventually } from '@postern/testkit/eventually';
import { once } from 'node:events';
import pg from 'pg';
import { expect } from 'vitest';

import { readEvents } from './event-client.ts';
import { processTest as test, residentBytes } from './process-test.ts';

const MIB = 1_048_576;

test('a stop ends every feed with its reason, and leaves nothing in the server', async ({ start, person, database }) => {
  const uma = await person('uma');
  await database.query(
    `create table stopping (id int primary key); grant select on stopping to ${pg.escapeIdentifier(uma.name)}`,
  );
  const { child, sql } = await start({ SQL_CHANGES_DATABASE_URL: database.url });
  const readers = [
    await readEvents(sql, uma, { query: 'SUBSCRIBE stopping' }),
    await readEvents(sql, uma, { query: 'SUBSCRIBE (SELECT count(*) FROM stopping)' }),
    await readEvents(sql, uma, { path: '/api/sql/listen?channel=a' }),
  ];
  await Promise.all([readers[0]?.until(1, 'columns'), readers[1]?.until(1), readers[2]?.until(1, 'listening')]);
  child.kill('SIGTERM');
  const [code] = (await once(child, 'exit')) as [number | null];
  expect(code).toBe(0);
  for (const reader of readers) {
    await reader.ended;
    expect(reader.events.at(-1)).toMatchObject({
      event: 'error',
      data: { code: '57P01', message: expect.stringMatching(/stopping/) },
    });
  }
  await eventually(
    async () => {
      const { rows } = await database.query(
        `select application_name from pg_stat_activity where usename = $1 or application_name = 'postern-changes' and datname = current_database()
         union all select slot_name from pg_replication_slots where database = current_database()`,
        [uma.name],
      );
      expect(rows).toEqual([]);
    },
    { timeoutMs: 2_000 },
  );
});

test.runIf(process.platform === 'linux')('what nobody follows is not kept', async ({ start, person, database }) => {
  const vic = await person('vic');
  await database.query(
    `create table followed (id int primary key); grant select on followed to ${pg.escapeIdentifier(vic.name)};
     create table others (id int primary key, body text); alter table others alter body set storage external`,
  );
  const { child, sql } = await start({ SQL_CHANGES_DATABASE_URL: database.url });
  using reader = await readEvents(sql, vic, { query: 'SUBSCRIBE followed' });
  await reader.until(1, 'columns');
  await database.query('insert into followed values (1)');
  await reader.until(1);
  const idle = await residentBytes(child.pid, 'VmRSS');
  for (let round = 0; round < 3; round += 1) {
    await database.query(
      `insert into others select n, repeat('x', 20000) from generate_series(${round * 2_000}, ${round * 2_000 + 1_999}) n`,
    );
    await database.query(`insert into followed values (${round + 2})`);
    await reader.until(round + 2);
  }
  expect((await residentBytes(child.pid, 'VmRSS')) - idle).toBeLessThan(64 * MIB);
});
