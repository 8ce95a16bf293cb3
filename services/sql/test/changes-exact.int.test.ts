/** What is told from the log, and what has to be run again: nothing changes without a word. */
import { isDeepStrictEqual } from 'node:util';
import { eventually } from '@postern/testkit/eventually';
import pg from 'pg';
import { describe, expect } from 'vitest';

import { Asking } from '../src/stores/asking.pg.ts';
import { RequeryRows } from '../src/stores/changes-requery.pg.ts';
import { describe as describeQuery } from '../src/stores/changes-rows.pg.ts';
import { openConnection } from '../src/stores/connection.pg.ts';
import { createDescribeRows } from '../src/stores/row-shapes.pg.ts';
import { readEvents } from './event-client.ts';
import type { PersonDatabase } from './sql-test.ts';
import { sqlTest } from './sql-test.ts';

const test = sqlTest.extend('live', { scope: 'file' }, ({ startSql }) => startSql({ changes: { hasLog: true } }));

let tables = 0;
async function makeTable(database: PersonDatabase, columns: string): Promise<string> {
  tables += 1;
  const name = `exact${tables}`;
  await database.query(`create table ${name} (${columns}); grant select on ${name} to public`);
  return name;
}

const told = (rows: readonly unknown[][]): unknown[] => rows.map(([, ...row]) => row);

describe('a table that is altered', () => {
  test.for([
    [
      'renamed and back in one transaction',
      'begin; alter table t rename to other; insert into other values (2, $$b$$); alter table other rename to t; commit',
    ],
    ['written anew with the same type', 'alter table t alter column v type text using upper(v)'],
    [
      'for a while without the keys of changed rows in the log',
      'begin; alter table t replica identity nothing; update t set id = 2; alter table t replica identity default; commit',
    ],
    [
      'the same, with a grant in the same transaction',
      'begin; alter table t replica identity nothing; update t set id = 2; alter table t replica identity default; grant insert on t to public; commit',
    ],
    [
      'the same, after a TRUNCATE',
      'begin; truncate t; insert into t values (1, $$b$$); alter table t replica identity nothing; update t set id = 2; alter table t replica identity default; commit',
    ],
    [
      'for a while without a key',
      'begin; alter table t drop constraint t_pkey; update t set id = 2; alter table t add constraint t_pkey primary key (id); commit',
    ],
    [
      'and out of the log for a while',
      `begin; alter table t set unlogged; insert into t values (2, 'b'); alter table t set logged; commit`,
    ],
    ['whose values have other names', 'alter type mood_t rename value $$so$$ to $$other$$'],
    [
      'whose values have other names for a while',
      'begin; alter type mood_t rename value $$so$$ to $$other$$; insert into t values (2, $$b$$, $$other$$); alter type mood_t rename value $$other$$ to $$so$$; commit',
    ],
  ] as const)('%s', async ([, change], { live, alice, database }) => {
    const t = await makeTable(database, 'id int primary key, v text');
    await database.query(`create type mood_${t} as enum ('so', 'not so'); alter table ${t} add m mood_${t}`);
    await database.query(`insert into ${t} values (1, 'a', 'so')`);
    const query = `SUBSCRIBE (SELECT id, v FROM ${t} WHERE m IS DISTINCT FROM 'not so')`;
    using reader = await readEvents(live, alice, { query });
    await reader.until(1);
    await database.query(change.replaceAll(/\bt(?=\b|_pkey\b)|(?<=mood_)t\b/g, t).replaceAll(/\bother\b/g, `other_${t}`));
    await database.query(`insert into ${t} values (3, 'c')`);
    const [error] = await reader.until(1, 'error');
    expect(error?.data).toMatchObject({ code: '55000' });
    // What came after is told, or it is not.
    expect(told(reader.rows()).filter((row) => !isDeepStrictEqual(row, ['1', '3', 'c']))).toEqual([['1', '1', 'a']]);
  });

  test('twice truncated before anybody looks, and then out of the log for a while', async ({ live, alice, database }) => {
    const t = await makeTable(database, 'id int primary key');
    await database.query(`insert into ${t} values (1)`);
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
    await reader.until(1);
    await using scope = new AsyncDisposableStack();
    const first = scope.adopt(new pg.Client({ connectionString: database.url }), (client) => client.end());
    await first.connect();
    await first.query(`begin; truncate ${t}`);
    // The lock goes from one to the other.
    const second = database.query(`truncate ${t}`);
    await eventually(async () => {
      const { rows } = await database.query(
        `select from pg_locks where relation = $1::regclass and mode = 'AccessExclusiveLock' and not granted`,
        [t],
      );
      expect(rows).toHaveLength(1);
    });
    await first.query('commit');
    await second;
    await database.query(`insert into ${t} values (2)`);
    await eventually(() => expect(told(reader.rows())).toContainEqual(['1', '2']));
    await database.query(
      `begin; alter table ${t} set unlogged; insert into ${t} values (3); alter table ${t} set logged; commit`,
    );
    await database.query(`insert into ${t} values (4)`);
    const [error] = await reader.until(1, 'error');
    expect(error?.data).toMatchObject({ code: '55000' });
  });

  test('what leaves the rows as they are does not end it', async ({ live, alice, database }) => {
    const t = await makeTable(database, 'id int primary key, v text');
    await database.query(`insert into ${t} values (1, 'a')`);
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
    await reader.until(1);
    let count = 1;
    for (const work of [
      'vacuum (analyze, freeze) t',
      'truncate t',
      'create index on t (v)',
      'begin; truncate t; savepoint s; truncate t; release s; commit',
      'begin; insert into t values (-1); truncate t; commit',
      'grant select on t to public',
      'grant insert on t to public',
      'alter table t add check (id > -5)',
      'create table of_t (id int references t)',
      'alter table t set (fillfactor = 90)',
    ]) {
      await database.query(work.replaceAll(/\bt\b|(?<=of_)t\b/g, t));
      await database.query(`insert into ${t} values (${(count += 1)}, 'b'); update ${t} set v = 'c' where id = ${count}`);
      await eventually(async () => expect(told(reader.rows())).toContainEqual(['1', String(count), 'c']));
    }
    expect(reader.events.filter(({ event }) => event === 'error')).toEqual([]);
  });

  test('a grant, and then updates of rows that are not shown, do not end it', async ({ live, alice, database }) => {
    const t = await makeTable(database, 'id int primary key, v text');
    await database.query(`insert into ${t} values (1, 'hidden')`);
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE (SELECT id FROM ${t} WHERE v <> 'hidden')` });
    await reader.until(1, 'columns');
    await database.query(`grant insert on ${t} to public`);
    await database.query(`insert into ${t} values (2, 'a')`);
    await reader.until(1);
    await database.query(`update ${t} set v = 'hidden' where id = 1`);
    await database.query(`insert into ${t} values (3, 'a')`);
    await reader.until(2);
    expect(told(reader.rows())).toEqual([
      ['1', '2'],
      ['1', '3'],
    ]);
  });
});

describe('a query that reads another table in a way of its own', () => {
  test.for([
    ['a function', 'lookup(k)'],
    ['a function behind a comment', 'lookup/* */(k)'],
    ['a function of a schema', 'public.lookup(k)'],
    ['an operator', 'k ==> 1'],
    ['a function as a column', 't.looked_up'],
    ['a function as a column of a row', '(t).looked_up'],
  ] as const)('%s', async ([, expression], { live, alice, database }) => {
    const t = await makeTable(database, 'id int primary key, k int');
    const l = await makeTable(database, 'k int, label text');
    const own = (text: string): string =>
      text.replaceAll('lookup', `lookup_${t}`).replaceAll('looked_up', `looked_up_${t}`).replaceAll(/\bt\b/g, t);
    const body = `(select max(label) from ${l})`;
    await database.query(own(`create function public.lookup(int) returns text language sql stable as 'select ${body}'`));
    await database.query(own(`create function public.looked_up(t) returns text language sql stable as 'select ${body}'`));
    await database.query(own(`create function public.op_${t}(int, int) returns text language sql stable as 'select ${body}'`));
    await database.query('drop operator if exists public.==> (int, int)');
    await database.query(own(`create operator public.==> (leftarg = int, rightarg = int, function = public.op_${t})`));
    await database.query(`insert into ${t} values (1, 1); insert into ${l} values (1, 'a')`);
    using reader = await readEvents(live, alice, { query: own(`SUBSCRIBE (SELECT id, ${expression} FROM t)`) });
    await reader.until(1);
    await database.query(`update ${l} set label = 'b'`);
    await reader.until(3);
    expect(told(reader.rows()).slice(1)).toEqual([
      ['-1', '1', 'a'],
      ['1', '1', 'b'],
    ]);
    await database.query('drop operator public.==> (int, int)');
  });

  /** What they lock is not known any more when they have ended; asked directly, as all is run again after a while anyway. */
  test('what parallel workers would lock for it', async ({ alice, database }) => {
    const t = await makeTable(database, 'k int');
    const l = await makeTable(database, 'label text');
    await database.query(`insert into ${t} select 1 from generate_series(1, 10000); analyze ${t}; insert into ${l} values ('a')`);
    await database.query(
      `create function of_${t}(int) returns text language plpgsql stable parallel safe cost 10000 as
         'begin return (select label from public.${l}); end'`,
    );
    const connection = await openConnection({
      databaseUrl: database.ownUrl,
      role: alice.name,
      password: alice.password,
      statementTimeoutMs: 60_000,
      runaway: () => {},
    });
    const asking = new Asking(connection);
    await asking.command(
      'set min_parallel_table_scan_size = 0; set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set parallel_leader_participation = off',
    );
    const text = `SELECT count(*) FROM ${t} WHERE of_${t}(k) = 'a'`;
    // Left to itself, the server would have them call the function.
    expect((await asking.ask([`EXPLAIN ${text}`])).join('\n')).toContain('Workers Planned');
    const rows = new RequeryRows({
      query: await describeQuery(asking, text),
      describeRows: createDescribeRows({ shapes: async () => new Map() }),
      bytesMax: 1_048_576,
      tooLarge: { message: 'too large', code: '53400' },
      estimate: async () => {},
      newCount: () => () => {},
    });
    const { tables, isBlind, apply } = await rows.evaluate(asking);
    expect([...tables].toSorted()).toEqual([`public.${t}`, `public.${l}`].toSorted());
    expect([isBlind, apply().map(({ row }) => row.toString())]).toEqual([false, ['"10000"']]);
    connection.destroy();
  });
});

test.for([
  ['array_nulls', { array_nulls: 'off' }, 'text[]', '{NULL}'],
  ['xmloption', { xmloption: 'document' }, 'xml', 'a<b/>c'],
] as const)(
  'a changed row is what a row of the snapshot is, whatever %s',
  async ([, options, type, value], { live, alice, database }) => {
    const t = await makeTable(database, `id int primary key, v ${type}`);
    await database.query(`insert into ${t} values (1, '${value}')`);
    const path = `/api/sql/subscribe?query=${encodeURIComponent(t)}&options=${encodeURIComponent(JSON.stringify(options))}`;
    using reader = await readEvents(live, alice, { path });
    await reader.until(1);
    await database.query(`insert into ${t} select 2, v from ${t}`);
    await reader.until(2);
    const values = reader.rows().map((row) => row.at(-1));
    expect(values[1]).toEqual(values[0]);
  },
);

test('a policy that has changed since is known before anything is told again', async ({ live, alice, database }) => {
  const t = await makeTable(database, 'id int primary key');
  await database.query(`insert into ${t} values (1), (2)`);
  let id: string | undefined;
  {
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
    id = (await reader.until(2))[0]?.id;
  }
  await database.query(`alter table ${t} enable row level security`);
  using again = await readEvents(live, alice, { query: `SUBSCRIBE ${t}`, lastEventId: id });
  expect(again.body).toMatchObject({ code: '55000' });
});

test('so is a setting of the role that would have changed rows read otherwise', async ({ live, alice, database }) => {
  const t = await makeTable(database, 'id int primary key, v text[]');
  await database.query(`insert into ${t} values (1, '{NULL}')`);
  let id: string | undefined;
  {
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
    id = (await reader.until(1))[0]?.id;
  }
  const role = pg.escapeIdentifier(alice.name);
  await database.query(`alter role ${role} set array_nulls = off`);
  using again = await readEvents(live, alice, { query: `SUBSCRIBE ${t}`, lastEventId: id });
  expect(again.body).toMatchObject({ code: '55000' });
  await database.query(`alter role ${role} reset array_nulls`);
});

test('over HTTP the name of a table, or a query, is enough', async ({ live, alice, database }) => {
  const t = await makeTable(database, 'id int primary key');
  await database.query(`insert into ${t} values (1)`);
  for (const query of [t, `public.${t} WITH (PROGRESS)`, `(SELECT id FROM ${t})`, `SELECT id FROM ${t} -- all`, `TABLE ${t}`]) {
    using reader = await readEvents(live, alice, { query });
    expect([query, reader.body, (await reader.until(1)).length]).toEqual([query, undefined, 1]);
  }
});
