/** Statements nobody waits for: begun, looked at, read page by page, canceled, forgotten. */
import type { Principal } from '@postern/contracts/common';
import { eventually } from '@postern/testkit/eventually';
import { temporaryFolder } from '@postern/testkit/temporary-folder';
import http from 'node:http';
import { expect } from 'vitest';

import type { Entry, Person, PersonDatabase, RunningSql } from './sql-test.ts';
import { outcomes, sqlTest as test } from './sql-test.ts';

interface State {
  readonly id: string;
  readonly status: 'running' | 'succeeded' | 'failed' | 'canceled';
  readonly createdAt: string;
  readonly endedAt?: string;
  readonly expiresAt: string;
  readonly error?: { readonly code: string; readonly message: string };
  readonly results?: { readonly entries: number; readonly rows: number; readonly bytes: number };
}

interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

interface Call {
  readonly method?: string;
  readonly body?: unknown;
  readonly prefer?: string;
}

const PATH = '/api/sql/statements';

async function call(sql: RunningSql, person: Person, path: string, { method = 'GET', body, prefer }: Call = {}): Promise<Reply> {
  const response = await fetch(`${sql.origin}${PATH}${path}`, {
    method,
    headers: { ...(await sql.headers(person)), ...(prefer !== undefined && { prefer }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

const stateOf = ({ text }: Reply): State => JSON.parse(text) as State;

const begin = (sql: RunningSql, person: Person, body: unknown, prefer?: string): Promise<Reply> =>
  call(sql, person, '', { method: 'POST', body, ...(prefer !== undefined && { prefer }) });

/** Begins one and waits for its end. */
async function run(sql: RunningSql, person: Person, body: unknown): Promise<State> {
  const reply = await begin(sql, person, body, 'respond-async, wait=30');
  expect([reply.status, reply.text]).toEqual([200, expect.stringContaining('"id"')]);
  return stateOf(reply);
}

interface Part extends Entry {
  readonly entry: number;
  readonly row?: number;
}

interface Page {
  readonly results: readonly Part[];
  readonly next?: string;
}

async function pageOf(sql: RunningSql, person: Person, id: string, query = ''): Promise<Page> {
  const reply = await call(sql, person, `/${id}/results${query}`);
  expect([reply.status, reply.text.slice(0, 200)]).toEqual([200, expect.stringContaining('{"results":[')]);
  return JSON.parse(reply.text) as Page;
}

const running = async (database: PersonDatabase, person: Person): Promise<number> =>
  (await database.query("select from pg_stat_activity where usename = $1 and state = 'active'", [person.name])).rowCount ?? 0;

const isRunning = (database: PersonDatabase, person: Person): Promise<unknown> =>
  eventually(async () => expect(await running(database, person)).toBe(1));

test('a statement is accepted, ends without anybody waiting, and its results are those of /api/sql', async ({ sql, person }) => {
  const alice = await person('jobs');
  const query =
    "set application_name = 'x'; select i, repeat('é', 3) from generate_series(1, 3) i; create table jobs_t (a int); select 1";
  const accepted = await begin(sql, alice, { query });
  expect(accepted.status).toBe(202);
  const { id, status, createdAt, expiresAt } = stateOf(accepted);
  expect(accepted.headers.get('location')).toBe(`${PATH}/${id}`);
  expect(id).toMatch(/^test\.[\w-]{32}$/);
  expect(status).toBe('running');
  expect(Date.parse(expiresAt)).toBeGreaterThan(Date.parse(createdAt));
  const ended = await eventually(async () => {
    const state = stateOf(await call(sql, alice, `/${id}`));
    expect(state.status).toBe('succeeded');
    return state;
  });
  expect(ended).toMatchObject({ id, createdAt, results: { entries: 4, rows: 4 } });
  expect(Date.parse(ended.endedAt ?? '')).toBeGreaterThanOrEqual(Date.parse(createdAt));
  const { results, next } = await pageOf(sql, alice, id);
  expect(next).toBeUndefined();
  await sql.simple(alice, 'drop table jobs_t');
  const plain = await sql.simple(alice, query);
  expect(results.map(({ entry: _entry, row: _row, ...rest }) => rest)).toEqual(plain);
  expect(results.map(({ entry, row }) => [entry, row])).toEqual([
    [0, undefined],
    [1, 0],
    [2, undefined],
    [3, 0],
  ]);
});

test('with `Prefer: wait` the answer is the final state, if it is there in time', async ({ sql, person }) => {
  const alice = await person('waiting');
  const quick = await begin(sql, alice, { queries: [{ query: 'select $1::int', params: ['1'] }] }, 'wait=30');
  expect([quick.status, quick.headers.get('preference-applied'), stateOf(quick).status]).toEqual([200, 'wait=30', 'succeeded']);
  expect(quick.headers.get('location')).toBe(`${PATH}/${stateOf(quick).id}`);
  const slow = await begin(sql, alice, { query: 'select pg_sleep(60)' }, 'wait=0');
  expect([slow.status, slow.headers.get('preference-applied'), stateOf(slow).status]).toEqual([202, 'wait=0', 'running']);
  const looked = await call(sql, alice, `/${stateOf(slow).id}`, { prefer: 'wait=0' });
  expect([looked.status, stateOf(looked).status]).toEqual([200, 'running']);
  expect((await call(sql, alice, `/${stateOf(slow).id}/results`)).status).toBe(409);
});

test('what fails says why, and keeps what there was before', async ({ sql, person }) => {
  const alice = await person('failing');
  const failed = await run(sql, alice, { query: 'select 1; select 1 / 0; select 2' });
  expect(failed).toMatchObject({ status: 'failed', error: { code: '22012' }, results: { entries: 2, rows: 1 } });
  expect(outcomes((await pageOf(sql, alice, failed.id)).results)).toEqual([[['1']], '22012']);
  expect(await run(sql, alice, { query: 'select 1 +' })).toMatchObject({ status: 'failed', error: { code: '42601' } });
  expect(await run(sql, alice, { query: '' })).toMatchObject({ status: 'succeeded', results: { entries: 0 } });
});

test('what would be turned away is turned away at once, as by /api/sql', async ({ sql, person }) => {
  const alice = await person('away');
  const two = await begin(sql, alice, { queries: [{ query: 'select 1; select 2' }] });
  expect([two.status, two.text]).toEqual([400, expect.stringContaining('exactly 1 statement')]);
  expect((await begin(sql, alice, { queries: 1 })).status).toBe(422);
  expect(JSON.parse((await call(sql, alice, '')).text)).toEqual({ statements: [] });
});

test('pages of rows: by count, by size, from anywhere, and one huge row', async ({ startSql, person }) => {
  await using folder = await temporaryFolder();
  const sql = await startSql({ limits: { spoolBytes: 65_536, spoolFolder: folder.path, resultBytes: 134_217_728 } });
  const alice = await person('pages');
  const many = await run(sql, alice, { query: `select 0; select i, repeat('][",\\', i % 50) from generate_series(1, 25000) i` });
  const rows: unknown[] = [];
  for (let query = '?limit=7001'; query !== '';) {
    const { results, next } = await pageOf(sql, alice, many.id, query);
    const part = results.at(-1);
    expect(part?.tag).toBe('SELECT 25000');
    expect(part?.row).toBe(rows.length);
    rows.push(...(part?.rows ?? []));
    expect(part?.rows?.length).toBeLessThanOrEqual(7_001);
    query = next === undefined ? '' : `?limit=7001&page=${next}`;
  }
  expect(rows).toEqual(Array.from({ length: 25_000 }, (_, at) => [String(at + 1), '][",\\'.repeat((at + 1) % 50)]));
  expect((await pageOf(sql, alice, many.id, '?page=1-24999')).results).toMatchObject([
    { entry: 1, row: 24_999, rows: [['25000', '']] },
  ]);
  for (const query of ['?page=1-25000', '?page=2-0', '?page=x', '?limit=0', '?limit=x', '?limit=100001']) {
    expect([query, (await call(sql, alice, `/${many.id}/results${query}`)).status]).toEqual([query, 400]);
  }
  const huge = await run(sql, alice, { query: "select repeat('x', i) from unnest(array[1, 50000000, 2]) i" });
  const first = await pageOf(sql, alice, huge.id);
  expect([first.results[0]?.rows?.length, first.next]).toEqual([2, '0-2']);
  expect((await pageOf(sql, alice, huge.id, '?page=0-2')).results[0]?.rows).toEqual([['xx']]);
});

test('a statement outlives the client that began it', async ({ sql, person, database }) => {
  const alice = await person('outliving');
  const headers = { ...(await sql.headers(alice)), prefer: 'wait=30' };
  const request = http.request(`${sql.origin}${PATH}`, { method: 'POST', headers, agent: false });
  request.on('error', () => {});
  request.end(JSON.stringify({ query: 'create table outlived as select 1 as a from pg_sleep(1.5)' }));
  await isRunning(database, alice);
  request.destroy();
  await eventually(async () => {
    const { statements } = JSON.parse((await call(sql, alice, '')).text) as { readonly statements: readonly State[] };
    expect(statements.map(({ status }) => status)).toEqual(['succeeded']);
  });
  expect(outcomes(await sql.simple(alice, 'select count(*) from outlived'))).toEqual([[['1']]]);
});

test('DELETE cancels what runs, within two seconds, and forgets what has ended', async ({ sql, person, database }) => {
  const alice = await person('canceling');
  const { id } = stateOf(await begin(sql, alice, { query: 'select 1; select pg_sleep(60)' }));
  await isRunning(database, alice);
  expect((await call(sql, alice, `/${id}`, { method: 'DELETE' })).status).toBe(202);
  await eventually(async () => expect(await running(database, alice)).toBe(0), { timeoutMs: 2_000 });
  const state = stateOf(await call(sql, alice, `/${id}`, { prefer: 'wait=10' }));
  expect(state).toMatchObject({
    status: 'canceled',
    error: { code: '57014', message: 'canceling statement due to user request' },
  });
  expect(outcomes((await pageOf(sql, alice, id)).results).at(-1)).toBe('57014');
  const forgotten = await call(sql, alice, `/${id}`, { method: 'DELETE' });
  expect([forgotten.status, forgotten.text]).toEqual([204, '']);
  for (const [path, method] of [
    [`/${id}`, 'GET'],
    [`/${id}`, 'DELETE'],
    [`/${id}/results`, 'GET'],
  ] as const) {
    expect((await call(sql, alice, path, { method })).status).toBe(404);
  }
});

/** Somebody else's results, and whether there are any, are nobody's business: not an admin's either. */
test('imm-076: to others a statement is as unknown as one that never was, byte for byte', async ({ sql, person, bob }) => {
  const alice = await person('secret');
  const admin: Person = { ...bob, principal: { ...bob.principal, scopes: ['role:admin'] } };
  const { id } = await run(sql, alice, { query: 'select 42' });
  const unknown = id.slice(0, -1) + (id.endsWith('A') ? 'B' : 'A');
  const calls: readonly (readonly [string, string])[] = [
    ['', 'GET'],
    ['', 'DELETE'],
    ['/results', 'GET'],
    ['/results?page=x', 'GET'],
  ];
  const shown = ({ status, text, headers }: Reply): unknown => [status, text, [...headers].filter(([name]) => name !== 'date')];
  for (const other of [bob, admin]) {
    for (const [path, method] of calls) {
      const theirs = await call(sql, other, `/${id}${path}`, { method });
      expect(theirs.status).toBe(404);
      for (const never of [unknown, 'other-replica.x', 'x'])
        expect(shown(theirs)).toEqual(shown(await call(sql, other, `/${never}${path}`, { method })));
    }
    expect((await call(sql, other, '')).text).not.toContain(id);
  }
  expect((await pageOf(sql, alice, id)).results[0]?.rows).toEqual([['42']]);
});

const withToken = (person: Person, tokenId: string): Person => ({
  ...person,
  principal: { ...person.principal, tokenId } as Principal,
});

test('a revoked key takes its statements and results with it; a revoked person all of theirs', async ({
  sql,
  person,
  auth,
  database,
}) => {
  const alice = await person('revoking');
  const keyed = withToken(alice, 'key-1');
  const ended = await run(sql, keyed, { query: 'select 1' });
  const kept = await run(sql, alice, { query: 'select 2' });
  const under = stateOf(await begin(sql, keyed, { query: 'select pg_sleep(60)' }));
  await isRunning(database, alice);
  auth.revoke(alice.principal, 'key-1');
  await eventually(async () => expect((await call(sql, alice, `/${under.id}`)).status).toBe(404));
  expect((await call(sql, alice, `/${ended.id}/results`)).status).toBe(404);
  expect((await call(sql, alice, `/${kept.id}`)).status).toBe(200);
  await eventually(async () => expect(await running(database, alice)).toBe(0), { timeoutMs: 2_000 });
  auth.revoke(alice.principal);
  await eventually(async () => expect((await call(sql, alice, `/${kept.id}`)).status).toBe(404));
});

test('it expires some time after its end, and has a longest time', async ({ startSql, person }) => {
  const sql = await startSql({ desk: { keptMs: 300, runMs: 200 } });
  const alice = await person('expiring');
  const late = await run(sql, alice, { query: 'set statement_timeout = 0; select pg_sleep(60)' });
  expect(late).toMatchObject({ status: 'failed', error: { code: '57014' } });
  expect(Date.parse(late.expiresAt) - Date.parse(late.endedAt ?? '')).toBe(300);
  await eventually(async () => expect((await call(sql, alice, `/${late.id}`)).status).toBe(404));
  expect(JSON.parse((await call(sql, alice, '')).text)).toEqual({ statements: [] });
});

/** The session's own would end it after minutes. */
test('it has the time of asynchronous statements, and not that of requests', async ({ startSql, person }) => {
  const sql = await startSql({ statementTimeoutMs: 100, limits: { requestMs: 100 }, desk: { runMs: 50_000 } });
  const alice = await person('patient');
  const { id, status } = await run(sql, alice, { query: 'show statement_timeout; select 1 from pg_sleep(0.4)' });
  expect(status).toBe('succeeded');
  expect(outcomes((await pageOf(sql, alice, id)).results)).toEqual([[['50s']], [['1']]]);
});

test('there are only so many, and so many bytes; room comes back when they are forgotten', async ({
  startSql,
  person,
  database,
}) => {
  const sql = await startSql({ desk: { perPrincipal: 2, total: 3, bytesPerPrincipal: 1_000_000, bytes: 1_500_000 } });
  const [alice, carol] = [await person('hoarding'), await person('hoarding_too')];
  const large = { query: "select repeat('x', 600000)" };
  const one = await run(sql, alice, large);
  expect(await run(sql, alice, large)).toMatchObject({ status: 'failed', error: { code: '53400' } });
  const third = await begin(sql, alice, { query: 'select 1' });
  expect([third.status, third.text]).toEqual([429, expect.stringContaining('2 statements of yours are kept')]);
  expect((await run(sql, carol, large)).status).toBe('succeeded');
  const fourth = await begin(sql, carol, { query: 'select 1' });
  expect([fourth.status, fourth.text]).toEqual([429, expect.stringContaining('3 statements are kept')]);
  await call(sql, alice, `/${one.id}`, { method: 'DELETE' });
  expect((await run(sql, alice, { query: 'select 1' })).status).toBe('succeeded');
  expect(await running(database, alice)).toBe(0);
});

/** Those who wait for their answers are not to wait for these. */
test('statements that nobody waits for take no session of those that somebody waits for', async ({
  startSql,
  person,
  database,
}) => {
  const sql = await startSql({ pool: { perRole: 1, waitMs: 200 }, held: { perRole: 1, total: 1 } });
  const alice = await person('beside');
  const long = stateOf(await begin(sql, alice, { query: 'select pg_sleep(60)' }));
  await isRunning(database, alice);
  expect(outcomes(await sql.simple(alice, 'select 1'))).toEqual([[['1']]]);
  expect(await run(sql, alice, { query: 'select 1' })).toMatchObject({ status: 'failed', error: { code: '53300' } });
  await call(sql, alice, `/${long.id}`, { method: 'DELETE' });
  await call(sql, alice, `/${long.id}`, { prefer: 'wait=10' });
  expect((await run(sql, alice, { query: 'select 1' })).status).toBe('succeeded');
});

test('the cost guard holds here as well', async ({ startSql, person, database }) => {
  const limits = { estimatedRowsMax: 10, concurrentMax: 1 };
  const sql = await startSql({ limitTable: { roles: new Map([['*', limits]]), groups: new Map(), keys: new Map() } });
  const alice = await person('guarded');
  expect(await run(sql, alice, { query: 'select generate_series(1, 100000)' })).toMatchObject({
    status: 'failed',
    error: { code: '54000' },
  });
  await begin(sql, alice, { query: 'select pg_sleep(60)' });
  await isRunning(database, alice);
  expect(outcomes(await sql.simple(alice, 'select 1'))).toEqual(['53400']);
});
