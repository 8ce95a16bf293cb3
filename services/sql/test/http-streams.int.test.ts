/** Answers that are sent while they are made: lines of JSON, and CSV. */
import { eventually } from '@postern/testkit/eventually';
import { once } from 'node:events';
import http from 'node:http';
import type { IncomingMessage } from 'node:http';
import { expect } from 'vitest';

import type { Person, PersonDatabase, RunningSql } from './sql-test.ts';
import { outcomes, sqlTest as test } from './sql-test.ts';

const NDJSON = 'application/x-ndjson';
const CSV = 'text/csv';
const EVENTS = 'text/event-stream';

interface Got {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

async function get(sql: RunningSql, person: Person, accept: string, body: unknown, query = ''): Promise<Got> {
  const response = await fetch(`${sql.origin}/api/sql${query}`, {
    method: 'POST',
    headers: { ...(await sql.headers(person)), accept },
    body: JSON.stringify(body),
  });
  return { status: response.status, type: response.headers.get('content-type') ?? '', text: await response.text() };
}

async function lines(sql: RunningSql, person: Person, body: unknown): Promise<readonly unknown[]> {
  const { status, type, text } = await get(sql, person, NDJSON, body);
  expect([status, type]).toEqual([200, 'application/x-ndjson; charset=utf-8']);
  expect(text.endsWith('\n')).toBe(true);
  return text
    .slice(0, -1)
    .split('\n')
    .map((line): unknown => JSON.parse(line));
}

/** The head of an answer whose body waits to be read. */
async function open(sql: RunningSql, person: Person, accept: string, body: unknown): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const headers = { ...(await sql.headers(person)), accept };
  http
    .request(`${sql.origin}/api/sql`, { method: 'POST', headers, agent: false }, resolve)
    .on('error', reject)
    .end(JSON.stringify(body));
  return promise;
}

const columns = (...names: readonly string[]): unknown => ({
  columns: names.map((name) => expect.objectContaining({ name, type_oid: expect.any(Number) as unknown }) as unknown),
});

const running = async (database: PersonDatabase, person: Person): Promise<number> =>
  (await database.query("select from pg_stat_activity where usename = $1 and state = 'active'", [person.name])).rowCount ?? 0;

test('lines of JSON: columns, rows, notices, completions, and how it ended', async ({ sql, person }) => {
  const alice = await person('lines');
  const query = `create table lines_t (a int); do $$ begin raise notice 'é'; end $$; select i, null as n, '{"a":[1]}'::json as j, 1.5::float8 as f
    from generate_series(1, 2) i; select 1 as none where false; set application_name = 'x'`;
  expect(await lines(sql, alice, { query })).toEqual([
    { ok: 'CREATE TABLE' },
    { notice: expect.objectContaining({ message: 'é', severity: 'notice' }) as unknown },
    { ok: 'DO' },
    columns('i', 'n', 'j', 'f'),
    ['1', null, { a: [1] }, '1.5'],
    ['2', null, { a: [1] }, '1.5'],
    { tag: 'SELECT 2' },
    columns('none'),
    { tag: 'SELECT 0' },
    { ok: 'SET' },
    { parameters: [{ name: 'application_name', value: 'x' }] },
    { status: 'ok' },
  ]);
  const queries = [{ query: 'select $1::int + 1 as b', params: ['1'] }, { query: "set application_name = 'y'" }];
  expect(await lines(sql, alice, { queries })).toEqual([
    columns('b'),
    ['2'],
    { tag: 'SELECT 1' },
    { ok: 'SET', parameters: [{ name: 'application_name', value: 'y' }] },
    { status: 'ok' },
  ]);
  expect(await lines(sql, alice, { query: '' })).toEqual([{ status: 'ok' }]);
});

test('values are those of the JSON form, whatever their type', async ({ sql, person }) => {
  const alice = await person('values');
  const query = `select 'pg_class'::regclass, '2020-01-01 00:00:00+00'::timestamptz, '\\x00ff'::bytea, array[1, null], row(1, 'a'), 'NaN'::float8, "char" 'x',
    '1 day'::interval, point '(1,2)', E'"\\\\\\n\\u0001'`;
  const [, row] = await lines(sql, alice, { query });
  expect([row]).toEqual((await sql.simple(alice, query))[0]?.rows);
});

test('the last line is the error, and what was not finished before it is not said to be done', async ({ sql, person }) => {
  const alice = await person('erring');
  await sql.simple(alice, 'create table erring_t (a int)');
  const failing = await lines(sql, alice, {
    query: 'insert into erring_t values (1); select 1 / (3 - i) as a from generate_series(1, 5) i',
  });
  expect(failing.at(-1)).toEqual({ error: { message: 'division by zero', code: '22012' } });
  expect(failing.slice(0, -1)).toEqual([{ ok: 'INSERT 0 1' }, columns('a'), ['0'], ['1']]);
  expect(outcomes(await sql.simple(alice, 'select count(*) from erring_t'))).toEqual([[['0']]]);
  expect(await lines(sql, alice, { query: 'selec 1' })).toEqual([
    { error: expect.objectContaining({ code: '42601', position: 1 }) as unknown },
  ]);
  expect(
    await lines(sql, alice, {
      queries: [{ query: 'insert into erring_t values (2)' }, { query: 'select 1/0' }, { query: 'select 2' }],
    }),
  ).toEqual([{ ok: 'INSERT 0 1' }, { error: expect.objectContaining({ code: '22012' }) as unknown }]);
  expect(outcomes(await sql.simple(alice, 'select count(*) from erring_t'))).toEqual([[['1']]]);
});

test('what is rolled back because its transaction was left open is not said to be ok', async ({ sql, person }) => {
  const alice = await person('open');
  await sql.simple(alice, 'create table open_t (a int)');
  const end = { status: 'rolled back' };
  for (const body of [
    { query: 'begin; insert into open_t values (1)' },
    { queries: [{ query: 'begin' }, { query: 'insert into open_t values (1)' }] },
  ]) {
    expect(await lines(sql, alice, body)).toEqual([{ ok: 'BEGIN' }, { ok: 'INSERT 0 1' }, end]);
  }
  expect((await lines(sql, alice, { query: 'begin; insert into open_t values (1); commit' })).at(-1)).toEqual({ status: 'ok' });
  expect(outcomes(await sql.simple(alice, 'select count(*) from open_t'))).toEqual([[['1']]]);
});

/** A deferred constraint speaks only at the commit. */
test('nothing is said to be ok before it is committed', async ({ sql, person }) => {
  const alice = await person('committing');
  await sql.simple(
    alice,
    'create table deferred_t (a int unique deferrable initially deferred); insert into deferred_t values (1)',
  );
  const duplicate = 'insert into deferred_t values (1)';
  for (const body of [{ query: duplicate }, { queries: [{ query: duplicate }] }]) {
    const told = await lines(sql, alice, body);
    expect(told.at(-1)).toEqual({ error: expect.objectContaining({ code: '23505' }) as unknown });
    expect(told).not.toContainEqual({ status: 'ok' });
  }
  expect((await get(sql, alice, CSV, { query: `${duplicate} returning a` })).status).toBe(400);
});

test('what keeps a request from running is answered as for JSON', async ({ sql, startSql, person, auth }) => {
  const alice = await person('turned');
  for (const accept of [NDJSON, CSV]) {
    expect((await get(sql, alice, accept, { queries: [{ query: 'select 1; select 2' }] })).status).toBe(400);
    expect((await get(sql, alice, accept, { nothing: 1 })).status).toBe(422);
  }
  const denied = await person('turned_denied');
  auth.denied.add(denied.name);
  expect((await get(sql, denied, NDJSON, { query: 'select 1' })).status).toBe(401);
  const full = await startSql({ pool: { perRole: 1, waitMs: 50 } });
  const busy = await open(full, alice, NDJSON, {
    query: "select repeat('x', 1000), pg_sleep(0.001), generate_series(1, 100000)",
  });
  const refused = await get(full, alice, NDJSON, { query: 'select 1' });
  expect([refused.status, JSON.parse(refused.text)]).toEqual([500, expect.objectContaining({ code: '53300' })]);
  busy.destroy();
});

test('other forms than these are JSON, as ever', async ({ sql, person }) => {
  const alice = await person('forms');
  const body = { query: 'select 1' };
  const plain = await sql.send(alice, body);
  for (const accept of [
    '*/*',
    'application/json',
    'text/html',
    'image/*',
    `${NDJSON};q=0`,
    `application/json, ${CSV};q=0.9`,
    `application/json, ${EVENTS}`,
    `${EVENTS};q=0`,
    `${EVENTS}, */*;q=0.1`,
  ]) {
    const { type, text } = await get(sql, alice, accept, body);
    expect([accept, type, text]).toEqual([accept, 'application/json', plain.text]);
  }
});

test('CSV: what PostgreSQL prints, quoted where it must be; NULL is nothing, an empty string is quotes', async ({
  sql,
  person,
}) => {
  const alice = await person('csv');
  const query = `select 'a,b' as "x,y", 'say "é"' as quoted, E'two\\r\\nlines' as "li""nes", '' as empty, null as nothing, true as t,
    timestamp '2020-01-02 03:04:05' as at, 'pg_class'::regclass as c, '\\xff'::bytea as b, array[1, null] as arr, ' ' as space`;
  const { status, type, text } = await get(sql, alice, CSV, { query });
  expect([status, type]).toEqual([200, 'text/csv; charset=utf-8; header=present']);
  expect(text).toBe(
    '"x,y",quoted,"li""nes",empty,nothing,t,at,c,b,arr,space\r\n' +
      '"a,b","say ""é""","two\r\nlines","",,t,2020-01-02 03:04:05,pg_class,\\xff,"{1,NULL}", \r\n',
  );
  expect((await get(sql, alice, CSV, { query: 'select 1 as a where false;' })).text).toBe('a\r\n');
  expect((await get(sql, alice, CSV, { queries: [{ query: 'select $1::text as a', params: ['ß'] }] })).text).toBe('a\r\nß\r\n');
  expect((await get(sql, alice, CSV, { query: 'show server_encoding' })).text).toBe('server_encoding\r\nUTF8\r\n');
  const options = `?options=${encodeURIComponent('{"DateStyle":"German"}')}`;
  expect((await get(sql, alice, CSV, { query: "select date '2020-01-02' as d" }, options)).text).toBe('d\r\n02.01.2020\r\n');
});

test('CSV: a value of any size passes in pieces', async ({ startSql, person }) => {
  const sql = await startSql({ limits: { resultBytes: 134_217_728 } });
  const alice = await person('csv_large');
  const { text } = await get(sql, alice, CSV, { query: `select repeat('a"b', 5000000) as large, null as n, 'x' as x` });
  expect(text.length).toBe('large,n,x\r\n"",,"x"\r\n'.length + 20_000_000);
  expect(text.slice(0, 20)).toBe('large,n,x\r\n"a""ba""b');
  expect(text.endsWith('a""b",,"x"\r\n')).toBe(true);
});

test('CSV shows the rows of exactly one statement; anything else is refused before it runs', async ({ sql, person }) => {
  const alice = await person('csv_one');
  await sql.simple(alice, 'create table csv_t (a int)');
  for (const body of [
    { query: 'insert into csv_t values (1)' },
    { query: 'insert into csv_t values (1); select 1' },
    { query: 'select 1; select 2' },
    { queries: [{ query: 'select 1' }, { query: 'select 2' }] },
    { query: 'create table csv_u (a int)' },
    { query: '' },
    { query: 'selec' },
    { query: 'select nowhere' },
    { query: 'select 1 / 0' },
  ]) {
    const { status, type, text } = await get(sql, alice, CSV, body);
    expect([body, status, type]).toEqual([body, 400, 'application/json']);
    expect(JSON.parse(text)).toMatchObject({
      message: expect.any(String) as unknown,
      code: expect.stringMatching(/^(0A000|42601|42703|22012)$/) as unknown,
    });
  }
  expect(outcomes(await sql.simple(alice, "select count(*) from csv_t; select to_regclass('csv_u')"))).toEqual([
    [['0']],
    [[null]],
  ]);
  expect((await get(sql, alice, CSV, { query: 'insert into csv_t values (7) returning a' })).text).toBe('a\r\n7\r\n');
});

/** There is no place in CSV for an error: half a table must not be taken for a whole one. */
test('CSV that fails in the middle is a broken transfer', async ({ sql, person }) => {
  const alice = await person('csv_broken');
  const broken = get(sql, alice, CSV, { query: "select repeat('x', 1000), 1 / (5000 - i) from generate_series(1, 10000) i" });
  await expect(broken).rejects.toThrow();
});

test('rows leave before the query has ended', async ({ sql, person, database }) => {
  const alice = await person('early');
  const body = { query: "select i, repeat('x', 9000) from generate_series(1, 2) i union all select 3, pg_sleep(60)::text" };
  for (const accept of [NDJSON, CSV]) {
    const response = await open(sql, alice, accept, body);
    const [first] = (await once(response, 'data')) as [Buffer];
    expect(first.length).toBeGreaterThan(0);
    expect(await running(database, alice)).toBe(1);
    response.destroy();
    await eventually(async () => expect(await running(database, alice)).toBe(0), { timeoutMs: 2_000 });
  }
});

test('a reader who is slow slows the query, and who leaves ends it within two seconds', async ({
  startSql,
  person,
  database,
}) => {
  const sql = await startSql({ limits: { resultBytes: 10_737_418_240 } });
  const alice = await person('slow');
  for (const accept of [NDJSON, CSV]) {
    const response = await open(sql, alice, accept, { query: "select repeat('x', 1000), generate_series(1, 100000000)" });
    const stuck = "select from pg_stat_activity where usename = $1 and state = 'active' and wait_event = 'ClientWrite'";
    await eventually(async () => expect((await database.query(stuck, [alice.name])).rowCount).toBe(1));
    await once(response, 'data');
    response.destroy();
    await eventually(async () => expect(await running(database, alice)).toBe(0), { timeoutMs: 2_000 });
  }
  expect(outcomes(await sql.simple(alice, 'select 1'))).toEqual([[['1']]]);
});

test('a limit of rows, bytes or time ends the lines with its error', async ({ startSql, person }) => {
  const limits = { rowsMax: 5_000, statementTimeMs: 2_000 };
  const sql = await startSql({
    limits: { resultBytes: 1_048_576 },
    limitTable: { roles: new Map([['*', limits]]), groups: new Map(), keys: new Map() },
  });
  const alice = await person('bounded');
  const many = await lines(sql, alice, { query: 'select i from generate_series(1, 10000) i' });
  expect([many.length, many.at(-1)]).toEqual([5_002, { error: expect.objectContaining({ code: '53200' }) as unknown }]);
  const large = await lines(sql, alice, { query: "select repeat('x', 1000) from generate_series(1, 4000)" });
  expect(large.at(-1)).toMatchObject({ error: { message: 'result exceeds max size of 1.0 MiB', code: '53200' } });
  expect((await lines(sql, alice, { query: 'select pg_sleep(60)' })).at(-1)).toEqual({
    error: expect.objectContaining({ code: '57014' }) as unknown,
  });
  // Nothing has been sent of either yet.
  const tooLarge = await get(sql, alice, CSV, { query: "select repeat('x', 2000000)" });
  expect([tooLarge.status, JSON.parse(tooLarge.text)]).toEqual([400, expect.objectContaining({ code: '53200' })]);
  expect((await get(sql, alice, CSV, { query: 'select pg_sleep(60)' })).status).toBe(400);
  const timed = await startSql({ streamMs: 300 });
  expect((await lines(timed, alice, { query: 'set statement_timeout = 0; select pg_sleep(60)' })).at(-1)).toEqual({
    error: expect.objectContaining({ code: '57014' }) as unknown,
  });
});

test('who asks again at once meets nothing of what was streamed', async ({ startSql, person }) => {
  const sql = await startSql({ pool: { perRole: 1 } });
  const alice = await person('clean');
  await lines(sql, alice, {
    query: "begin; select pg_advisory_lock(7); set application_name = 'z'; create temp table z (a int)",
  });
  expect(
    outcomes(
      await sql.simple(
        alice,
        `select count(*) from pg_locks join pg_database d on d.oid = database
          where datname = current_database() and locktype = 'advisory'; show application_name`,
      ),
    ),
  ).toEqual([[['0']], [['postern']]]);
});

test('a revoked credential ends its stream', async ({ sql, person, auth, database }) => {
  const alice = await person('revoked_stream');
  const response = await open(sql, alice, NDJSON, {
    query: "select repeat('x', 9000) from generate_series(1, 2) union all select pg_sleep(60)::text",
  });
  await once(response, 'data');
  auth.revoke(alice.principal);
  let text = '';
  for await (const chunk of response) text += String(chunk);
  expect(JSON.parse(text.trim().split('\n').at(-1) ?? '')).toEqual({
    error: expect.objectContaining({ code: '57014' }) as unknown,
  });
  expect(await running(database, alice)).toBe(0);
});

test('SUBSCRIBE is shown as events to whoever takes them at all, and nothing else is', async ({ sql, alice }) => {
  const subscribe = { query: 'subscribe (values (1))' };
  for (const accept of [EVENTS, `application/json, ${EVENTS};q=0.1`]) {
    const { status, type, text } = await get(sql, alice, accept, subscribe);
    expect([status, type]).toEqual([200, 'text/event-stream; charset=utf-8']);
    expect(text).toContain('event: complete');
  }
  expect(await get(sql, alice, `${EVENTS}, ${CSV}`, { query: 'select 1 as a' })).toMatchObject({
    status: 200,
    text: 'a\r\n1\r\n',
  });
  expect((await get(sql, alice, EVENTS, { query: 'select 1' })).status).toBe(422);
  expect((await get(sql, alice, `application/json, ${EVENTS}`, { nothing: 1 })).status).toBe(422);
});

test('HEAD is answered as GET is, without a body, and begins nothing', async ({ sql, alice }) => {
  const head = async (path: string, method = 'HEAD') =>
    fetch(`${sql.origin}${path}`, { method, headers: await sql.headers(alice) });
  for (const path of ['/api/openapi.json', '/api/catalog/check', '/api/sql/statements', '/metrics/mz_usage']) {
    const told = await head(path);
    expect([path, told.status, told.headers.get('content-type'), await told.text()]).toEqual([
      path,
      200,
      (await head(path, 'GET')).headers.get('content-type'),
      '',
    ]);
  }
  for (const path of ['/api/sql/subscribe?query=values(1)', '/api/sql/listen?channel=a']) {
    const told = await head(path);
    expect([path, told.status, told.headers.get('content-type')]).toEqual([path, 200, 'text/event-stream; charset=utf-8']);
  }
  for (const [path, status] of [
    ['/api/sql/subscribe', 422],
    ['/api/sql/subscribe?query=subscribe', 400],
    ['/api/sql/subscribe?query=values(1)&options=1', 400],
    ['/api/sql/listen', 422],
  ] as const) {
    expect([path, (await head(path)).status, (await head(path, 'GET')).status]).toEqual([path, status, status]);
  }
  expect((await head('/api/sql/statements/none')).status).toBe(404);
  const refused = await head('/api/sql/statements', 'DELETE');
  expect([refused.status, refused.headers.get('allow')]).toEqual([405, 'GET, HEAD, POST']);
});
