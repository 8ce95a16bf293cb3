/** The cost guard: what is refused is never run, and no way around it is open to whoever owns no functions. */
import { temporaryFolder } from '@postern/testkit/temporary-folder';
import { eventually } from '@postern/testkit/eventually';
import { rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';

import type { LimitTable, Limits } from '../src/domain/guard.ts';
import { openGuard, parseLimits } from '../src/stores/limits-file.fs.ts';
import { outcomes, sqlTest as test } from './sql-test.ts';

const everyRole = (limits: Limits): LimitTable => ({ roles: new Map([['*', limits]]), groups: new Map(), keys: new Map() });

const guardTest = test
  .extend('limited', { scope: 'file' }, async ({ startSql, database }) => {
    await database.query('create table big as select i, i % 10 as kind from generate_series(1, 50000) i');
    await database.query('analyze big; grant select, insert, update, delete on big to public');
    await database.query('create sequence calls; grant all on sequence calls to public');
    return (limits: Limits) => startSql({ limitTable: everyRole(limits) });
  })
  .extend('cheap', { scope: 'file' }, async ({ limited }) => limited({ estimatedCostMax: 500 }));

const HEAVY = 'select * from big a, big b';
const refused = (entries: readonly { readonly error?: unknown }[]): unknown => entries.at(-1)?.error;
const tooMuch = expect.objectContaining({ code: '54000' }) as unknown;

guardTest(
  'a statement that would cost too much is not run; the error has the limit, the values and the plan',
  async ({ cheap, person }) => {
    const alice = await person('dear');
    const [error] = await cheap.simple(alice, HEAVY);
    expect(error?.error).toMatchObject({
      code: '54000',
      message: expect.stringMatching(
        /^estimated cost \d+(\.\d+)? exceeds the limit estimatedCostMax of role "\*": 500$/,
      ) as unknown,
      hint: expect.stringContaining('not run') as unknown,
    });
    expect(JSON.parse(error?.error?.detail ?? '')).toMatchObject([{ Plan: { 'Node Type': 'Nested Loop' } }]);
    expect(outcomes(await cheap.simple(alice, 'select 1; select count(*) from (select from big limit 10) x'))).toEqual([
      [['1']],
      [['10']],
    ]);
  },
);

guardTest('parameters are part of the estimate', async ({ cheap, person, database }) => {
  const alice = await person('parameters');
  await database.query('create table if not exists few as select * from big where i <= 10');
  const query = 'select * from big a, generate_series(1, $1::int) b';
  expect(outcomes(await cheap.extended(alice, ['select $1::int + 1', ['41']], [`${query} limit 1`, ['1']]))).toEqual([
    [['42']],
    [['1', '1', '1']],
  ]);
  expect(refused(await cheap.extended(alice, ['select 1'], [query, ['1000000']], ['select 2']))).toEqual(tooMuch);
  expect(outcomes(await cheap.extended(alice, ['select $1', []]))).toEqual(['08P01']);
  expect(outcomes(await cheap.simple(alice, 'select $1'))).toEqual(['42P02']);
});

guardTest('errors are those of the statement, at its own place', async ({ cheap, startSql, person }) => {
  const alice = await person('mistaken');
  const free = await startSql();
  for (const query of [
    'select nowhere',
    "select 'é'; select 1 +; ",
    "select 'éé'; select nowhere",
    'select 1/0',
    'insert into nowhere values (1)',
  ]) {
    const [guarded, plain] = [await cheap.simple(alice, query), await free.simple(alice, query)];
    expect([query, guarded.at(-1)]).toEqual([query, plain.at(-1)]);
  }
  expect(await cheap.extended(alice, ['select nowhere'])).toEqual(await free.extended(alice, ['select nowhere']));
});

/** Each of them is a statement that runs another one, or lowers what it is measured by. */
guardTest('imm-072: no statement is a way around the estimate', async ({ cheap, person, database }) => {
  const alice = await person('around');
  const around = [
    `explain analyze ${HEAVY}`,
    `explain (analyze, timing off) ${HEAVY}`,
    `prepare p as ${HEAVY}; execute p`,
    `explain analyze create table mine as ${HEAVY}`,
    `create table mine as ${HEAVY}`,
    `select * into mine from big a, big b`,
    `do $$ begin perform count(*) from big a, big b; end $$`,
    `copy (${HEAVY}) to '/tmp/x'`,
    `create materialized view mine as ${HEAVY}`,
    `create materialized view mine as ${HEAVY} with no data`,
    `with x as (delete from big where i = -1) ${HEAVY}`,
    `insert into big select a.i from big a, big b`,
    `select query_to_xml('${HEAVY}', true, true, '')`,
    `create view cheap_name as ${HEAVY}; select * from cheap_name`,
    `set search_path = pg_temp; select 1`,
    `insert into big select i from generate_series(1, 100000) i; select 1`,
    `select set_config('search_path', 'pg_temp', false); select 1`,
    `update pg_settings set setting = 'pg_temp' where name = 'search_path'; select 1`,
    `${'insert into big select i from generate_series(1, 3000) i;'.repeat(4)} select 1`,
    `(${HEAVY})`,
    `select 1; ${HEAVY}`,
  ];
  for (const query of around) {
    expect([query, refused(await cheap.simple(alice, query))]).toEqual([query, tooMuch]);
  }
  expect((await database.query("select count(*)::int as n from pg_class where relname in ('mine', 'cheap_name')")).rows).toEqual([
    { n: 0 },
  ]);
  // The same in steps of a session, where each is looked at when its turn comes.
  expect(outcomes(await cheap.extended(alice, [`prepare p as ${HEAVY}`], ['execute p']))).toEqual(['PREPARE', '54000']);
  expect(outcomes(await cheap.extended(alice, ['prepare p(int) as select $1'], ['execute p(1)'], ['execute p(1 + 1)']))).toEqual([
    'PREPARE',
    [['1']],
    '54000',
  ]);
  expect(
    outcomes(await cheap.extended(alice, ['create view seen as select a.* from big a, big b'], ['select * from seen'])),
  ).toEqual(['CREATE VIEW', '54000']);
});

/** EXPLAIN counts in units that everyone may set. */
guardTest('a session that changes what costs are counted in is measured by nothing, and refused', async ({ cheap, person }) => {
  const alice = await person('unit');
  const units = ['seq_page_cost', 'random_page_cost', 'cpu_tuple_cost', 'cpu_operator_cost', 'cpu_index_tuple_cost'];
  const all = units.map((name) => `set ${name} = 0`);
  expect(outcomes(await cheap.extended(alice, ...all.map((set) => [set] as const), [HEAVY])).at(-1)).toBe('54000');
  const options = `?options=${encodeURIComponent(JSON.stringify(Object.fromEntries(units.map((name) => [name, '0']))))}`;
  expect(refused((await cheap.send(alice, { query: HEAVY }, { query: options })).results)).toEqual(tooMuch);
  await cheap.simple(alice, `alter role ${alice.name} set cpu_operator_cost = 0`);
  const other = await person('unit_other');
  expect(outcomes(await cheap.simple(other, 'select 1'))).toEqual([[['1']]]);
});

guardTest('EXPLAIN runs nothing, and what is refused leaves nothing behind', async ({ limited, person, database }) => {
  const alice = await person('harmless');
  const rows = await limited({ estimatedRowsMax: 1_000 });
  const before = (await database.query("select nextval('calls')::int as n")).rows[0]?.['n'];
  expect(outcomes(await rows.simple(alice, "select nextval('calls') from big"))).toEqual(['54000']);
  expect(outcomes(await rows.simple(alice, 'delete from big'))).toEqual(['54000']);
  expect(outcomes(await rows.simple(alice, 'update big set kind = 1 where i < 3; delete from big where i = -5'))).toEqual([
    'UPDATE 2',
    'DELETE 0',
  ]);
  expect(outcomes(await rows.simple(alice, 'select count(*) from big'))).toEqual([[['50000']]]);
  expect((await database.query("select nextval('calls')::int as n")).rows[0]?.['n']).toBe(Number(before) + 1);
});

guardTest('rows and bytes of a result have limits of their own, and say whose they are', async ({ limited, person }) => {
  const alice = await person('rows');
  const sql = await limited({ rowsMax: 100, resultBytesMax: 10_000 });
  expect((await sql.simple(alice, 'select from generate_series(1, 100)'))[0]?.tag).toBe('SELECT 100');
  expect(refused(await sql.simple(alice, 'select 1; select from generate_series(1, 101)'))).toMatchObject({
    message: 'result exceeds the limit rowsMax of role "*": 100 rows',
    code: '53200',
  });
  expect(refused(await sql.simple(alice, "select repeat('x', 5000) from generate_series(1, 3)"))).toMatchObject({
    message: 'result exceeds the limit resultBytesMax of role "*": 9.8 KiB',
    code: '53200',
  });
  const none = await limited({ rowsMax: 0 });
  expect(outcomes(await none.simple(alice, "select repeat('x', 400000)"))).toEqual(['53200']);
  expect(outcomes(await none.simple(alice, 'create temp table x (a int)'))).toEqual(['CREATE TABLE']);
});

guardTest(
  'the time of a statement is ours to keep, whatever its session sets; in extended mode each has its own',
  async ({ limited, person }) => {
    const alice = await person('late');
    const sql = await limited({ statementTimeMs: 1_000 });
    const late = { message: 'canceling statement: the limit statementTimeMs of role "*" is 1000 ms', code: '57014' };
    expect(await sql.simple(alice, 'set statement_timeout = 0; select pg_sleep(60); select 1')).toMatchObject([
      { ok: 'SET' },
      { error: late },
    ]);
    expect(await sql.extended(alice, ['set statement_timeout = 0'], ['select pg_sleep(60)'], ['select 1'])).toMatchObject([
      { ok: 'SET' },
      { error: late },
    ]);
    expect(outcomes(await sql.simple(alice, "do 'begin perform pg_sleep(60); end'"))).toEqual(['57014']);
    const nap = ['select pg_sleep(0.3)'] as const;
    expect((await sql.extended(alice, nap, nap, nap, nap)).map(({ error }) => error?.code)).toEqual(Array.from({ length: 4 }));
    expect(refused(await sql.simple(alice, Array.from({ length: 4 }, () => nap[0]).join('; ')))).toEqual(late);
  },
);

guardTest(
  'as many statements at a time as the limit says, and room again when one has ended',
  async ({ limited, person, database }) => {
    const alice = await person('many');
    const sql = await limited({ concurrentMax: 1 });
    const locked = sql.simple(alice, 'select pg_sleep(60)');
    await eventually(async () => {
      const { rows } = await database.query("select 1 from pg_stat_activity where usename = $1 and wait_event = 'PgSleep'", [
        alice.name,
      ]);
      expect(rows).toHaveLength(1);
    });
    expect(refused(await sql.simple(alice, 'select 1'))).toMatchObject({
      message: 'the limit concurrentMax of role "*" is reached: 1 statements at a time',
      code: '53400',
    });
    await database.query('select pg_cancel_backend(pid) from pg_stat_activity where usename = $1', [alice.name]);
    expect(outcomes(await locked)).toEqual(['57014']);
    expect(outcomes(await sql.simple(alice, 'select 1'))).toEqual([[['1']]]);
  },
);

test('every mistake of the file is told', () => {
  const text = JSON.stringify({
    roles: { a: { rowsMax: -1, rows: 3 } },
    groups: { owners: {} },
    keys: { k: { statementTimeMs: 0.5 } },
    extra: 1,
  });
  const read = parseLimits(text);
  const mistakes = read.kind === 'mistakes' ? read.mistakes : [];
  expect(mistakes).toHaveLength(5);
  expect(mistakes).toEqual(
    expect.arrayContaining([
      expect.stringContaining('/: ') as unknown,
      expect.stringContaining('/groups: ') as unknown,
      expect.stringContaining('/keys/k/statementTimeMs: ') as unknown,
      expect.stringContaining('/roles/a/rowsMax: ') as unknown,
      expect.stringContaining('/roles/a: ') as unknown,
    ]),
  );
  expect(parseLimits('{')).toEqual({ kind: 'mistakes', mistakes: ['it is not JSON'] });
  expect(parseLimits('{}')).toMatchObject({ kind: 'table' });
});

test('a changed file holds from then on, also behind a link that moves; a bad one changes nothing', async ({ alice }) => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'limits.json');
  const write = async (name: string, content: unknown): Promise<void> => {
    await writeFile(join(folder.path, name), typeof content === 'string' ? content : JSON.stringify(content));
    await symlink(name, join(folder.path, 'next'));
    await rename(join(folder.path, 'next'), path);
  };
  await write('bad', { roles: 1 });
  await expect(openGuard({ path, changed: () => {}, mistaken: () => {} })).rejects.toThrow('SQL_LIMITS_FILE: /roles');
  await write('one', { roles: { '*': { rowsMax: 1 } } });
  const told: unknown[] = [];
  using guard = await openGuard({
    path,
    changed: () => told.push('changed'),
    mistaken: (mistakes) => told.push(mistakes),
    lookMs: 10,
  });
  expect(guard.boundsOf(alice.principal).rowsMax?.value).toBe(1);
  await write('two', { roles: { '*': { rowsMax: 2 } } });
  await eventually(async () => expect(guard.boundsOf(alice.principal).rowsMax?.value).toBe(2));
  await write('three', '{"roles"');
  await eventually(async () => expect(told).toEqual(['changed', ['it is not JSON']]));
  expect(guard.boundsOf(alice.principal).rowsMax?.value).toBe(2);
});
