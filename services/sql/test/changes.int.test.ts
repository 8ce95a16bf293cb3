/** SUBSCRIBE over server-sent events: what is told, to whom, and how it goes on. */

import pg from 'pg';
import { describe, expect } from 'vitest';

import { readEvents } from './event-client.ts';
import type { Person, PersonDatabase } from './sql-test.ts';
import { sqlTest } from './sql-test.ts';

const test = sqlTest
  .extend('live', { scope: 'file' }, ({ startSql }) => startSql({ changes: { hasLog: true } }))
  .extend('blind', { scope: 'file' }, ({ startSql }) => startSql({ changes: { hasLog: false } }));

let tables = 0;
async function makeTable(database: PersonDatabase, readers: readonly Person[], columns: string): Promise<string> {
  tables += 1;
  const name = `t${tables}`;
  await database.query(`create table ${name} (${columns})`);
  for (const { name: role } of readers) await database.query(`grant select on ${name} to ${pg.escapeIdentifier(role)}`);
  return name;
}

/** What was told, without moments. */
const told = (rows: readonly unknown[][]): unknown[] => rows.map(([, ...row]) => row);

describe('rows of a table', () => {
  test('what is there comes first, then every change', async ({ live, alice, database }) => {
    const t = await makeTable(database, [alice], 'id int primary key, name text');
    await database.query(`insert into ${t} values (1, 'one'), (2, 'two')`);
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
    expect(reader.status).toBe(200);
    await reader.until(2);
    expect(reader.events[0]).toMatchObject({
      event: 'columns',
      data: {
        columns: [
          { name: 'mz_timestamp', type_oid: 1700 },
          { name: 'mz_diff', type_oid: 20 },
          { name: 'id', type_oid: 23 },
          { name: 'name', type_oid: 25 },
        ],
      },
    });
    await database.query(`insert into ${t} values (3, 'three')`);
    await database.query(`update ${t} set name = 'zwei' where id = 2`);
    await database.query(`update ${t} set id = 9 where id = 1`);
    await database.query(`delete from ${t} where id = 3`);
    await database.query(`truncate ${t}`);
    await reader.until(10);
    expect(told(reader.rows())).toEqual([
      ['1', '1', 'one'],
      ['1', '2', 'two'],
      ['1', '3', 'three'],
      ['-1', '2', 'two'],
      ['1', '2', 'zwei'],
      ['-1', '1', 'one'],
      ['1', '9', 'one'],
      ['-1', '3', 'three'],
      ['-1', '2', 'zwei'],
      ['-1', '9', 'one'],
    ]);
    const moments = reader.rows().map(([moment]) => BigInt(String(moment)));
    expect(moments).toEqual(moments.toSorted((one, other) => (one < other ? -1 : one > other ? 1 : 0)));
    expect(reader.events.some(({ event }) => event === 'notice')).toBe(false);
  });

  test('expressions and conditions, and rows that come and go by an update', async ({ live, alice, database }) => {
    const t = await makeTable(database, [alice], 'id int primary key, n numeric, at timestamptz, doc json, tags text[]');
    using reader = await readEvents(live, alice, {
      query: `SUBSCRIBE (SELECT id, n * 2 AS twice, at, doc, tags FROM ${t} x WHERE x.n > 1)`,
    });
    await reader.until(1, 'columns');
    await database.query(
      `insert into ${t} values (1, 1.50, '2001-01-01 00:00:00+02', 'null', '{a,"b ,"}'), (2, 1, null, '{"a": "\\\\"}', null)`,
    );
    await database.query(`update ${t} set n = 3 where id = 2`);
    await database.query(`update ${t} set n = 0 where id = 1`);
    await reader.until(3);
    expect(told(reader.rows())).toEqual([
      ['1', '1', '3.00', '978300000000.000', null, ['a', 'b ,']],
      ['1', '2', '6', null, { a: '\\' }, null],
      ['-1', '1', '3.00', '978300000000.000', null, ['a', 'b ,']],
    ]);
  });

  test('a large value that an update leaves as it was', async ({ live, alice, database }) => {
    const t = await makeTable(database, [alice], 'id int primary key, n int, body text');
    await database.query(`alter table ${t} alter column body set storage external`);
    await database.query(`insert into ${t} values (1, 1, repeat('x', 50000))`);
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE (SELECT n, length(body), left(body, 2) FROM ${t})` });
    await reader.until(1);
    await database.query(`update ${t} set n = 2`);
    await reader.until(3);
    expect(told(reader.rows())).toEqual([
      ['1', '1', '50000', 'xx'],
      ['-1', '1', '50000', 'xx'],
      ['1', '2', '50000', 'xx'],
    ]);
  });

  test('WITH (SNAPSHOT = false, PROGRESS): only changes, and how far they reach', async ({ live, alice, database }) => {
    const t = await makeTable(database, [alice], 'id int primary key');
    await database.query(`insert into ${t} values (1)`);
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t} WITH (SNAPSHOT = false, PROGRESS)` });
    const [progress] = await reader.until(1, 'progress');
    expect(progress?.data).toEqual([expect.stringMatching(/^\d+$/), null, true, null]);
    await database.query(`delete from ${t}`);
    await reader.until(1);
    expect(told(reader.rows())).toEqual([['-1', false, '1']]);
  });
});
