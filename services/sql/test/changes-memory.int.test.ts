/** What change streams hold in memory, and who is ended when it is too much. */
import { eventually } from '@postern/testkit/eventually';
import pg from 'pg';
import { describe, expect } from 'vitest';

import { readEvents } from './event-client.ts';
import { processTest as test, residentBytes } from './process-test.ts';
import type { Person, PersonDatabase } from './sql-test.ts';

const MIB = 1_048_576;

let tables = 0;
/** Its `body` is as large in the log as it is said to be. */
async function makeTable(database: PersonDatabase, ...readers: readonly Person[]): Promise<string> {
  tables += 1;
  const name = `held${tables}`;
  await database.query(`create table ${name} (id int primary key, body text)`);
  await database.query(`alter table ${name} alter body set storage external`);
  for (const { name: role } of readers) await database.query(`grant select on ${name} to ${pg.escapeIdentifier(role)}`);
  return name;
}

const insert = (table: string, from: number, rows: number, bytes: number): string =>
  `insert into ${table} select n, repeat('x', ${bytes}) from generate_series(${from}, ${from + rows - 1}) n`;

describe.runIf(process.platform === 'linux')('of one transaction', () => {
  test('no more is held than a subscription may hold', { timeout: 300_000 }, async ({ start, person, database }) => {
    const vic = await person('vic');
    const t = await makeTable(database, vic);
    const u = await makeTable(database, vic);
    const { child, sql } = await start({ SQL_CHANGES_DATABASE_URL: database.url, SQL_CHANGES_BACKLOG_BYTES: String(4 * MIB) });
    using rows = await readEvents(sql, vic, { query: `SUBSCRIBE ${t}` });
    using count = await readEvents(sql, vic, { query: `SUBSCRIBE (SELECT count(*) FROM ${t})` });
    using others = await readEvents(sql, vic, { query: `SUBSCRIBE ${u}` });
    await Promise.all([rows.until(1, 'columns'), count.until(1), others.until(1, 'columns')]);
    const idle = await residentBytes(child.pid, 'VmHWM');
    await database.query(insert(t, 1, 10_000, 20_000));
    const [error] = await rows.until(1, 'error');
    expect(error?.data).toMatchObject({ code: '53400', message: expect.stringMatching(/its backlog exceeds/) });
    await count.until(3);
    await database.query(insert(u, 1, 1, 1));
    await others.until(1);
    expect((await residentBytes(child.pid, 'VmHWM')) - idle).toBeLessThan(96 * MIB);
  });

  test('a large value that nobody shows is not held', { timeout: 300_000 }, async ({ start, person, database }) => {
    const wim = await person('wim');
    const t = await makeTable(database, wim);
    const u = await makeTable(database, wim);
    const { child, sql } = await start({ SQL_CHANGES_DATABASE_URL: database.url });
    using rows = await readEvents(sql, wim, { query: `SUBSCRIBE ${t}` });
    using count = await readEvents(sql, wim, { query: `SUBSCRIBE (SELECT count(*) FROM ${u})` });
    await Promise.all([rows.until(1, 'columns'), count.until(1)]);
    const idle = await residentBytes(child.pid, 'VmHWM');
    await database.query(insert(u, 1, 1, 128 * MIB));
    await database.query(`select pg_logical_emit_message(true, 'test', repeat('x', ${128 * MIB}))`);
    await database.query(insert(t, 1, 1, 1));
    await rows.until(1);
    await count.until(3);
    expect((await residentBytes(child.pid, 'VmHWM')) - idle).toBeLessThan(48 * MIB);
  });
});

test('a value that is too large ends the subscriptions to its table, and no others', async ({
  startSql,
  alice,
  bob,
  database,
}) => {
  const sql = await startSql({ changes: { hasLog: true, backlogBytes: 3 * MIB } });
  const t = await makeTable(database, alice);
  const u = await makeTable(database, bob);
  using ended = await readEvents(sql, alice, { query: `SUBSCRIBE ${t}` });
  using count = await readEvents(sql, alice, { query: `SUBSCRIBE (SELECT count(*) FROM ${t})` });
  using others = await readEvents(sql, bob, { query: `SUBSCRIBE ${u}` });
  await Promise.all([ended.until(1, 'columns'), count.until(1), others.until(1, 'columns')]);
  // In pieces, and told in whole.
  await database.query(insert(t, 1, 1, MIB));
  expect((await ended.until(1))[0]?.data).toEqual([expect.any(String), '1', '1', 'x'.repeat(MIB)]);
  // Of two changes in quick succession it may tell as one.
  await count.until(3);
  await database.query(insert(t, 2, 1, 4 * MIB));
  const [error] = await ended.until(1, 'error');
  expect(error?.data).toMatchObject({ code: '53400' });
  await count.until(5);
  await database.query(insert(u, 1, 1, 1));
  await others.until(1);
});

describe('of all subscriptions together', () => {
  test('who holds the most is ended, not who comes later', async ({ startSql, alice, bob, database }) => {
    const sql = await startSql({ changes: { hasLog: true, totalBytes: 4 * MIB } });
    const [t, small, own] = [await makeTable(database, alice), await makeTable(database, alice), await makeTable(database, bob)];
    await database.query(insert(t, 1, 22, 100_000));
    await database.query(insert(small, 1, 6, 100_000));
    await database.query(insert(own, 1, 6, 100_000));
    // Rows are held twice: as what is shown, and as what may be told again.
    using most = await readEvents(sql, alice, { query: `SUBSCRIBE (SELECT id, body FROM ${t}) WITH (SNAPSHOT = false)` });
    using less = await readEvents(sql, alice, { query: `SUBSCRIBE ${small} WITH (SNAPSHOT = false)` });
    await Promise.all([most.until(1, 'columns'), less.until(1, 'columns')]);
    using later = await readEvents(sql, bob, { query: `SUBSCRIBE ${own} WITH (SNAPSHOT = false)` });
    await later.until(1, 'columns');
    await database.query(insert(own, 7, 8, 100_000));
    await later.until(8);
    const [error] = await most.until(1, 'error');
    expect(error?.data).toMatchObject({ code: '53400', message: expect.stringMatching(/what all subscriptions hold/) });
    await database.query(insert(small, 7, 1, 1));
    await less.until(1);
  });

  test('those that nobody listens to go first', async ({ startSql, alice, database }) => {
    const sql = await startSql({ changes: { hasLog: true, totalBytes: 4 * MIB } });
    const [t, own] = [await makeTable(database, alice), await makeTable(database, alice)];
    await database.query(insert(t, 1, 8, 100_000));
    let id: string | undefined;
    {
      using left = await readEvents(sql, alice, { query: `SUBSCRIBE ${t}` });
      id = (await left.until(8))[7]?.id;
    }
    using stays = await readEvents(sql, alice, { query: `SUBSCRIBE ${own}` });
    await stays.until(1, 'columns');
    await eventually(async () => {
      const { rows } = await database.query("select from pg_stat_activity where usename = $1 and application_name = 'postern'", [
        alice.name,
      ]);
      expect(rows).toHaveLength(1);
    });
    await database.query(insert(own, 1, 15, 100_000));
    await stays.until(15);
    using again = await readEvents(sql, alice, { query: `SUBSCRIBE ${t}`, lastEventId: id });
    expect([again.status, again.body]).toMatchObject([410, { code: '55000' }]);
    await database.query(`insert into ${own} values (100)`);
    await stays.until(16);
  });
});
