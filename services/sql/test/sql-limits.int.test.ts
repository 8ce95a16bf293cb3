/** Bounds: of results, of time, of patience. */
import { eventually } from '@postern/testkit/eventually';
import { temporaryFolder } from '@postern/testkit/temporary-folder';
import { readdir } from 'node:fs/promises';
import http from 'node:http';
import { expect } from 'vitest';

import { createSpoolSpace } from '../src/stores/spool.fs.ts';
import type { Person, PersonDatabase, RunningSql } from './sql-test.ts';
import { outcomes, sqlTest as test } from './sql-test.ts';

const MIB = 1_048_576;

test('a result beyond the limit is an error without rows, and the entries before it stay', async ({ startSql, person }) => {
  const sql = await startSql({ limits: { resultBytes: MIB } });
  const alice = await person('capped');
  const tooLarge = { error: { message: 'result exceeds max size of 1.0 MiB', code: '53200' }, notices: [] };
  const endless = "select repeat('x', 1000) from generate_series(1, 10000000)";
  const [first, second, ...others] = await sql.simple(alice, `select 1; ${endless}; select 2`);
  expect(first?.rows).toEqual([['1']]);
  expect(second).toMatchObject(tooLarge);
  expect(others).toEqual([]);
  expect(outcomes(await sql.extended(alice, ['select 1'], [endless], ['select 2']))).toEqual([[['1']], '53200']);
  expect(outcomes(await sql.simple(alice, "select repeat('x', 5000000)"))).toEqual(['53200']);
  // All rows of a request count together.
  expect(
    outcomes(
      await sql.simple(alice, "select count(repeat('x', 600000)); select repeat('x', 600000); select repeat('x', 600000)"),
    ).at(-1),
  ).toBe('53200');
  expect(outcomes(await sql.simple(alice, 'select 1'))).toEqual([[['1']]]);
});

/** Without one, a table of many columns and no rows was an answer of any size. */
test('descriptions without rows count against the limit, and wait in a file like rows', async ({ startSql, person }) => {
  const wide = `create temp table w (${Array.from({ length: 200 }, (_, at) => `column_${at} int`).join()});`;
  const alice = await person('wide');
  const capped = await startSql({ limits: { resultBytes: MIB } });
  const small = await capped.simple(alice, `${wide} ${'table w; '.repeat(20)}`);
  expect(small.map(({ tag }) => tag)).toEqual([undefined, ...Array.from({ length: 20 }, () => 'SELECT 0')]);
  const entries = await capped.simple(alice, `${wide} ${'table w; '.repeat(500)}`);
  expect(entries.at(-1)?.error?.code).toBe('53200');
  expect(entries.length).toBeLessThan(200);
  const queries = Array.from({ length: 500 }, () => ['table w'] as const);
  expect((await capped.extended(alice, [wide.slice(0, -1)], ...queries)).at(-1)?.error?.code).toBe('53200');
  // A spool that cannot be opened tells that the answer would have gone there.
  const diskless = await startSql({ limits: { spoolBytes: 65_536, spoolFolder: '/nowhere/at/all' } });
  expect((await diskless.simple(alice, `${wide} ${'table w; '.repeat(500)}`)).at(-1)?.error?.code).toBe('58030');
  expect((await diskless.extended(alice, [wide.slice(0, -1)], ...queries)).at(-1)?.error?.code).toBe('58030');
  expect((await diskless.simple(alice, 'begin; '.repeat(5_000))).at(-1)?.error?.code).toBe('58030');
});

test('what a string did before its result was too large is undone', async ({ startSql, person }) => {
  const sql = await startSql({ limits: { resultBytes: MIB } });
  const alice = await person('undone');
  await sql.simple(alice, 'create table undone (a int)');
  const entries = await sql.simple(
    alice,
    "insert into undone values (1); select repeat('x', 1000) from generate_series(1, 10000000); insert into undone values (2)",
  );
  expect(outcomes(entries)).toEqual(['INSERT 0 1', '53200']);
  expect(outcomes(await sql.simple(alice, 'select count(*) from undone'))).toEqual([[['0']]]);
});

test('a result larger than memory may hold waits in a file that leaves no trace', async ({ startSql, person }) => {
  await using folder = await temporaryFolder();
  const sql = await startSql({ limits: { spoolBytes: 65_536, spoolFolder: folder.path } });
  const alice = await person('spooled');
  const query = "set application_name = 'x'; select i, repeat('é', 100) from generate_series(1, 20000) i; select 1";
  const [set, large, one] = await sql.simple(alice, query);
  expect(set?.parameters).toEqual([{ name: 'application_name', value: 'x' }]);
  expect(large?.tag).toBe('SELECT 20000');
  expect(large?.rows).toEqual(Array.from({ length: 20_000 }, (_, at) => [String(at + 1), 'é'.repeat(100)]));
  expect(one?.rows).toEqual([['1']]);
  // An error takes back rows that are in the file already.
  expect(
    outcomes(await sql.simple(alice, "select 1; select repeat('x', 100), 1 / (50000 - i) from generate_series(1, 50000) i")),
  ).toEqual([[['1']], '22012']);
  expect(
    outcomes(await sql.extended(alice, ["select repeat('x', 100) from generate_series(1, 5000)"], ['select 1'])).at(-1),
  ).toEqual([['1']]);
  expect(await readdir(folder.path)).toEqual([]);
});

test('a disk that fails is an error of the statement', async ({ startSql, person }) => {
  const sql = await startSql({ limits: { spoolBytes: 65_536, spoolFolder: '/nowhere/at/all' } });
  const alice = await person('diskless');
  expect(outcomes(await sql.simple(alice, "select 1; select repeat('x', 100) from generate_series(1, 100000)"))).toEqual([
    [['1']],
    '58030',
  ]);
  expect(outcomes(await sql.simple(alice, 'select 1'))).toEqual([[['1']]]);
});

/** Without it, results that many people leave unread fill the disk. */
test('all large results together have a bound, and give their room back', async ({ startSql, person }) => {
  const alice = await person('hoarder');
  const sql = await startSql({ limits: { spoolBytes: 65_536, spoolSpace: createSpoolSpace(8 * MIB) } });
  const rows = (count: number): string => `select repeat('x', 1000) from generate_series(1, ${count})`;
  const post = async (count: number): Promise<http.IncomingMessage> => {
    const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
    const options = { method: 'POST', headers: await sql.headers(alice), agent: false };
    http
      .request(`${sql.origin}/api/sql`, options, resolve)
      .on('error', reject)
      .end(JSON.stringify({ query: rows(count) }));
    return promise;
  };
  // The answer is there, and nobody reads it.
  const unread = await post(6_000);
  const [first, second] = await sql.simple(alice, `select 1; ${rows(6_000)}`);
  expect(outcomes([first, second].filter((entry) => entry !== undefined))).toEqual([[['1']], '53400']);
  unread.destroy();
  await eventually(async () => expect((await sql.simple(alice, rows(6_000)))[0]?.tag).toBe('SELECT 6000'));
  expect((await sql.simple(alice, rows(9_000)))[0]?.error?.code).toBe('53400');
  expect((await sql.simple(alice, rows(6_000)))[0]?.tag).toBe('SELECT 6000');
});

test('statement_timeout is the error of the server; a person may set their own', async ({ startSql, person }) => {
  const sql = await startSql({ statementTimeoutMs: 500 });
  const alice = await person('timed');
  expect((await sql.simple(alice, 'select pg_sleep(60)'))[0]?.error).toEqual({
    message: 'canceling statement due to statement timeout',
    code: '57014',
  });
  expect(outcomes(await sql.simple(alice, "set statement_timeout = '60s'; select pg_sleep(0.7)"))).toEqual(['SET', [['']]]);
  expect(outcomes(await sql.simple(alice, 'show statement_timeout'))).toEqual([[['500ms']]]);
});

test('a request ends at its own deadline, whatever its session sets', async ({ startSql, person }) => {
  const sql = await startSql({ limits: { requestMs: 1_000 } });
  const alice = await person('deadline');
  expect(outcomes(await sql.simple(alice, 'set statement_timeout = 0; select pg_sleep(60)'))).toEqual(['SET', '57014']);
  expect(outcomes(await sql.extended(alice, ['select pg_sleep(60)'], ['select 1']))).toEqual(['57014']);
});

const sleepers = async (database: PersonDatabase, person: Person): Promise<unknown> =>
  (await database.query("select count(*)::int as n from pg_stat_activity where usename = $1 and state = 'active'", [person.name]))
    .rows[0]?.['n'];

/** Sends a request and breaks the connection once it runs. */
async function leave(sql: RunningSql, person: Person, body: string, isRunning: () => Promise<void>): Promise<void> {
  const request = http.request(`${sql.origin}/api/sql`, { method: 'POST', headers: await sql.headers(person), agent: false });
  request.on('error', () => {});
  request.end(body);
  await isRunning();
  request.destroy();
}

test('what runs for a caller who has left is gone within two seconds', async ({ sql, person, database }) => {
  const alice = await person('leaver');
  const isRunning = (): Promise<void> => eventually(async () => expect(await sleepers(database, alice)).toBe(1)).then(() => {});
  for (const body of [{ query: 'select pg_sleep(60)' }, { queries: [{ query: 'select pg_sleep(60)' }, { query: 'select 1' }] }]) {
    await leave(sql, alice, JSON.stringify(body), isRunning);
    await eventually(async () => expect(await sleepers(database, alice)).toBe(0), { timeoutMs: 2_000 });
  }
  expect(outcomes(await sql.simple(alice, 'select 1'))).toEqual([[['1']]]);
});

const TRAP = "do 'begin loop begin perform pg_sleep(60); exception when query_canceled then null; end; end loop; end'";
const STUBBORN = JSON.stringify({ query: `set client_connection_check_interval = 0; ${TRAP}` });

/** Without an end by force, each of them stayed in the server for good, and none counted as a session any more. */
test('what does not heed a cancel is ended, and keeps its session until it has', async ({ startSql, person, database }) => {
  const alice = await person('stubborn');
  const isRunning = (): Promise<void> => eventually(async () => expect(await sleepers(database, alice)).toBe(1)).then(() => {});
  const isGone = (): Promise<void> =>
    eventually(async () => expect(await sleepers(database, alice)).toBe(0), { timeoutMs: 15_000 }).then(() => {});
  const sql = await startSql({ pool: { perRole: 1, waitMs: 20_000 } });
  await leave(sql, alice, STUBBORN, isRunning);
  // The only session of the role comes free when the backend is gone, not before.
  const pid = (await database.query('select pid from pg_stat_activity where usename = $1', [alice.name])).rows[0]?.['pid'];
  const stillThere = `select count(*) from pg_stat_activity where pid = ${String(pid)}`;
  expect(outcomes(await sql.simple(alice, stillThere))).toEqual([[['0']]]);
  await isGone();
  const hurried = await startSql({ limits: { requestMs: 1_000 } });
  expect(outcomes((await hurried.send(alice, STUBBORN, { raw: true })).results).at(-1)).toBe('57014');
  await isGone();
});

test.for([
  ['libraries', (): string => "local_preload_libraries = 'nowhere'"],
  ['a role', (other: string): string => `role = '${other}'`],
] as const)(
  '%s that a role sets for itself are no protection from that',
  async ([name, setting], { startSql, person, database, bob }) => {
    const alice = await person(`armoured_${name.replace(' ', '_')}`);
    const sql = await startSql({ pool: { perRole: 1 } });
    await database.query(`grant ${bob.name} to ${alice.name}`);
    expect(outcomes(await sql.simple(alice, `alter role ${alice.name} set ${setting(bob.name)}`))).toEqual(['ALTER ROLE']);
    await leave(sql, alice, STUBBORN, () =>
      eventually(async () => expect(await sleepers(database, alice)).toBe(1)).then(() => {}),
    );
    await eventually(async () => expect(await sleepers(database, alice)).toBe(0), { timeoutMs: 15_000 });
  },
);

test('a caller who leaves in the middle of a large result stops it', async ({ startSql, person, database }) => {
  const sql = await startSql({ limits: { resultBytes: 1_073_741_824 } });
  const alice = await person('quitter');
  const isRunning = (): Promise<void> => eventually(async () => expect(await sleepers(database, alice)).toBe(1)).then(() => {});
  await leave(sql, alice, '{"query":"select repeat(\'x\', 1000) from generate_series(1, 100000000)"}', isRunning);
  await eventually(async () => expect(await sleepers(database, alice)).toBe(0), { timeoutMs: 2_000 });
});

test('a caller who leaves while waiting for a session takes none', async ({ startSql, person, database }) => {
  const sql = await startSql({ pool: { perRole: 1, waitMs: 30_000 } });
  const alice = await person('patient');
  const running = sql.simple(alice, 'select pg_sleep(1)');
  await eventually(async () => expect(await sleepers(database, alice)).toBe(1));
  await leave(sql, alice, '{"query":"create table never_made ()"}', async () => {});
  await running;
  expect(outcomes(await sql.simple(alice, "select to_regclass('never_made')::text"))).toEqual([[[null]]]);
});

test('notices without end are counted, not kept', async ({ sql, person }) => {
  const alice = await person('noisy');
  const loop =
    "do $$ begin for i in 1..20000 loop raise notice 'n %', i; end loop; raise notice '%', repeat('x', 3000000); end $$";
  const [entry] = await sql.simple(alice, loop);
  expect(entry?.ok).toBe('DO');
  expect(entry?.notices).toHaveLength(1_001);
  expect(entry?.notices.at(-1)?.message).toBe('19001 more notices were left out');
  const [long] = await sql.simple(alice, "do $$ begin raise exception '%', repeat('x', 3000000); end $$");
  expect(long?.error?.code).toBe('P0001');
  expect(long?.error?.message.length).toBeLessThan(70_000);
});
