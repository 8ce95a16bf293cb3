/** SQL over WebSocket: what is said in which order. */
import { eventually } from '@postern/testkit/eventually';
import { once } from 'node:events';
import pg from 'pg';
import { describe, expect } from 'vitest';

import { sqlTest as test } from './sql-test.ts';
import { last, openSocket, refusal, shortly } from './websocket-test.ts';

const OK = 'Ready I';

describe('the start-up', () => {
  test('tells all settings, then the key, then that it is ready', async ({ sql, alice, database }) => {
    await using socket = await openSocket(sql, alice);
    expect(new Set(socket.startup.slice(0, -2).map(({ type }) => type))).toEqual(new Set(['ParameterStatus']));
    expect(shortly(socket.startup.slice(-2))).toEqual(['Key', OK]);
    const names = socket.startup.flatMap((message) => (message.type === 'ParameterStatus' ? [message.payload.name] : []));
    expect(names).toEqual(
      expect.arrayContaining([
        'application_name',
        'client_encoding',
        'DateStyle',
        'default_transaction_read_only',
        'in_hot_standby',
        'integer_datetimes',
        'IntervalStyle',
        'is_superuser',
        'server_encoding',
        'server_version',
        'session_authorization',
        'standard_conforming_strings',
        'TimeZone',
      ]),
    );
    const { rows } = await database.query('select usename from pg_stat_activity where pid = $1', [socket.processId]);
    expect(rows).toEqual([{ usename: alice.name }]);
    expect(last(await socket.ask({ query: 'select pg_backend_pid()' }), 'Row')).toEqual([String(socket.processId)]);
  });

  test('sets the options; those that cannot be set are notices after it', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice, {
      options: { application_name: 'mine', no_such: '1', role: 'postgres', 'app.x': 'y' },
    });
    expect(shortly(socket.startup)).toContain('Parameter application_name=mine');
    const notices = [await socket.next(), await socket.next()];
    expect(notices).toEqual([
      {
        type: 'Notice',
        payload: { message: expect.stringContaining('no_such not set') as string, code: '01000', severity: 'notice' },
      },
      {
        type: 'Notice',
        payload: { message: 'startup setting role not set: it cannot be chosen here', code: '01000', severity: 'notice' },
      },
    ]);
    expect(last(await socket.ask({ query: "select current_setting('app.x'), current_user" }), 'Row')).toEqual(['y', alice.name]);
  });

  test('is refused with a status where there is no session to be had', async ({ startSql, person }) => {
    const sql = await startSql({ held: { perRole: 1 }, pool: { waitMs: 200 } });
    const carl = await person('carl');
    await using only = await openSocket(sql, carl);
    const refused = await refusal(sql, carl);
    expect(refused.status).toBe(500);
    expect(JSON.parse(refused.body)).toMatchObject({
      code: '53300',
      message: expect.stringContaining('max_connections limit') as string,
    });
    only.ws.close();
    await only.closed;
    await eventually(async () => expect((await refusal(sql, carl)).status).toBe(101));
    expect(await refusal(sql, carl, { options: { a: 1 } })).toEqual({ status: 400, body: 'Failed to deserialize "options" map' });
  });

  test('is for callers with an assertion of the right audience alone', async ({ sql, alice, auth }) => {
    const bad = { ...sql, headers: async () => ({ 'x-postern-principal': await auth.assertion(alice.principal, 'webhook') }) };
    expect((await refusal(bad, alice)).status).toBe(401);
    expect((await refusal({ ...sql, headers: async () => ({}) }, alice)).status).toBe(401);
  });
});

describe('a request', () => {
  const dialogue: readonly (readonly [what: string, request: unknown, answer: readonly string[]])[] = [
    ['a text that is no SQL', { query: 'bad sql' }, ['Starting ff', 'Error 42601', OK]],
    ['the same in extended mode', { queries: [{ query: 'bad sql' }] }, ['Starting ff', 'Error 42601', OK]],
    ['a text with a fault further on', { query: 'SELECT 1 1' }, ['Starting ff', 'Error 42601', OK]],
    ['NULL', { query: 'select NULL' }, ['Starting tf', 'Rows ?column?', 'Row [null]', 'Complete SELECT 1', OK]],
    [
      'a binary frame',
      Buffer.from(`{"query":"select 'binary'"}`),
      ['Starting tf', 'Rows ?column?', 'Row ["binary"]', 'Complete SELECT 1', OK],
    ],
    [
      'two statements',
      { query: "select 1,2; values ('a'),('b')" },
      [
        'Starting tf',
        'Rows ?column?,?column?',
        'Row ["1","2"]',
        'Complete SELECT 1',
        'Starting tf',
        'Rows column1',
        'Row ["a"]',
        'Row ["b"]',
        'Complete SELECT 2',
        OK,
      ],
    ],
    ['SET', { query: 'SET application_name TO a' }, ['Starting ff', 'Complete SET', 'Parameter application_name=a', OK]],
    [
      'a parameter',
      { queries: [{ query: 'select $1::int', params: ['2'] }] },
      ['Starting tf', 'Rows int4', 'Row ["2"]', 'Complete SELECT 1', OK],
    ],
    [
      'NULL as parameter',
      { queries: [{ query: 'select $1::int', params: [null] }] },
      ['Starting tf', 'Rows int4', 'Row [null]', 'Complete SELECT 1', OK],
    ],
    [
      'a parameter of another kind',
      { queries: [{ query: 'select $1::int', params: ['z'] }] },
      ['Starting ff', 'Error 22P02', OK],
    ],
    ['a number as parameter', { queries: [{ query: 'select $1::int', params: [2] }] }, ['Error XX000', OK]],
    ['too few parameters', { queries: [{ query: 'select $1::int', params: [] }] }, ['Starting ff', 'Error 08P01', OK]],
    ['no rows', { query: 'select 1 as a where false' }, ['Starting tf', 'Rows a', 'Complete SELECT 0', OK]],
    [
      'no rows in extended mode',
      { queries: [{ query: 'select 1 as a where false' }] },
      ['Starting tf', 'Rows a', 'Complete SELECT 0', OK],
    ],
    ['nothing', { query: '' }, [OK]],
    ['only semicolons', { query: ';;;' }, [OK]],
    ['no queries', { queries: [] }, [OK]],
    ['no JSON', 'select 1', ['Error XX000', OK]],
    ['another shape', { sql: 'select 1' }, ['Error XX000', OK]],
    ['an array', [], ['Error XX000', OK]],
    ['null', 'null', ['Error XX000', OK]],
    ['two statements in one query', { queries: [{ query: 'select 1' }, { query: 'select 1; select 2' }] }, ['Error XX000', OK]],
    ['no statement in a query', { queries: [{ query: '' }] }, ['Error XX000', OK]],
    ['what fails before it has rows', { query: 'select 1/0' }, ['Starting ff', 'Error 22012', OK]],
    [
      'what fails before its first row',
      { query: 'select 1/(a-1) as b from generate_series(1,2) a' },
      ['Starting tf', 'Error 22012', OK],
    ],
    [
      'what fails after some rows',
      { query: 'select 6/(a-3) as b from generate_series(1,5) a' },
      ['Starting tf', 'Rows b', 'Row ["-3"]', 'Row ["-6"]', 'Error 22012', OK],
    ],
    [
      'what follows on an error',
      { query: 'select 1 as a; select nothing; select 2' },
      ['Starting tf', 'Rows a', 'Row ["1"]', 'Complete SELECT 1', 'Starting ff', 'Error 42703', OK],
    ],
    [
      'queries behind one that fails',
      { queries: [{ query: 'select 1 as a' }, { query: 'select nothing' }, { query: 'select 2' }] },
      ['Starting tf', 'Rows a', 'Row ["1"]', 'Complete SELECT 1', 'Starting ff', 'Error 42703', OK],
    ],
    [
      'SHOW',
      { query: 'show integer_datetimes' },
      ['Starting tf', 'Rows integer_datetimes', 'Row ["on"]', 'Complete SELECT 1', OK],
    ],
    ['what this API does not take', { query: 'declare c cursor for select 1' }, ['Starting ff', 'Error XX000', OK]],
    ['COPY', { query: 'copy (select 1) to stdout' }, ['Starting ff', 'Error XX000', OK]],
    ['COMMIT outside of a transaction', { query: 'commit' }, ['Notice 25P01', 'Starting ff', 'Complete COMMIT', OK]],
    [
      'a notice',
      { query: "do $$ begin raise notice 'hello'; end $$; select 1 as a" },
      ['Notice 00000', 'Starting ff', 'Complete DO', 'Starting tf', 'Rows a', 'Row ["1"]', 'Complete SELECT 1', OK],
    ],
    [
      'values of several kinds',
      { query: `select 1.50 n, '{"a":1.10}'::jsonb j, array[true,null] b, '\\x0102'::bytea y, 'NaN'::float8 f` },
      ['Starting tf', 'Rows n,j,b,y,f', 'Row ["1.50",{"a":1.1},[true,null],[1,2],"NaN"]', 'Complete SELECT 1', OK],
    ],
  ];

  for (const path of ['/api/experimental/sql', '/api/v1/sql']) {
    test.for(dialogue)(`of %s is answered as it is meant on ${path}`, async ([, request, answer], { sql, alice }) => {
      await using socket = await openSocket(sql, alice, { path });
      expect(shortly(await socket.ask(request))).toEqual(answer);
      // Exactly one ReadyForQuery, and the connection lives.
      expect(shortly(await socket.ask({ query: 'select 7 as a' })).slice(1)).toEqual([
        'Rows a',
        'Row ["7"]',
        'Complete SELECT 1',
        OK,
      ]);
    });
  }

  test("has PostgreSQL's own errors", async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    expect(last(await socket.ask({ query: 'SELECT 1 1' }), 'Error')).toEqual({
      message: 'syntax error at or near "1"',
      code: '42601',
      position: 10,
    });
    expect(last(await socket.ask({ query: "select 'é', nocol" }), 'Error')).toMatchObject({ code: '42703', position: 13 });
  });

  test('describes its columns', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    expect(last(await socket.ask({ query: 'select NULL' }), 'Rows')).toEqual({
      columns: [{ name: '?column?', type_oid: 25, type_len: -1, type_mod: -1 }],
    });
  });

  /** Unknown keys, and keys that are something in JavaScript, are neither taken over nor an error of their own. */
  test('with keys of the prototype is what it says (imm-128)', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    for (const extra of [
      '"__proto__":{"queries":[{"query":"select 2"}]}',
      '"constructor":{"prototype":{"x":1}}',
      '"toString":null',
    ]) {
      expect(shortly(await socket.ask(`{${extra},"query":"select 1 as a"}`))).toContain('Row ["1"]');
      expect(shortly(await socket.ask(`{${extra}}`))).toEqual(['Error XX000', OK]);
    }
    expect(shortly(await socket.ask('{"queries":{"length":1,"0":{"query":"select 1"}}}'))).toEqual(['Error XX000', OK]);
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  test('in fragments, in any order of control frames, is one request', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    const text = Buffer.from('{"query":"select \'héllo\' as a"}');
    for (let at = 0; at < text.length; at += 1) {
      socket.ws.send(text.subarray(at, at + 1), { fin: at === text.length - 1, binary: false });
      if (at % 7 === 0) socket.ws.ping();
    }
    expect(shortly(await socket.untilReady())).toContain('Row ["héllo"]');
  });

  test('of 5 MiB is taken; one byte more ends the connection with 1009', async ({ sql, alice }) => {
    const padded = (length: number): string => {
      const head = '{"query":"select 1 as a","pad":"';
      return `${head}${'x'.repeat(length - head.length - 2)}"}`;
    };
    await using socket = await openSocket(sql, alice);
    expect(shortly(await socket.ask(padded(5_242_880)))).toContain('Row ["1"]');
    socket.send(padded(5_242_881));
    expect(await socket.closed).toMatchObject({ code: 1009 });
  });

  test('of bytes that are no text ends the connection, or is an error if they claim to be none', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    const bytes = Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]);
    expect(shortly(await socket.ask(bytes))).toEqual(['Error XX000', OK]);
    socket.ws.send(bytes, { binary: false });
    expect(await socket.closed).toMatchObject({ code: 1007 });
  });

  test('does not take compression (imm-126)', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    expect(socket.ws.extensions).toBe('');
  });
});

describe('transactions', () => {
  test('live across requests', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    expect(shortly(await socket.ask({ query: 'BEGIN; SELECT 1 as a' })).at(-1)).toBe('Ready T');
    expect(shortly(await socket.ask({ query: 'begin' }))).toEqual(['Notice 25001', 'Starting ff', 'Complete BEGIN', 'Ready T']);
    expect(shortly(await socket.ask({ queries: [{ query: 'select nothing' }] }))).toEqual([
      'Starting ff',
      'Error 42703',
      'Ready E',
    ]);
    expect(shortly(await socket.ask({ query: 'select 1' }))).toEqual(['Starting ff', 'Error 25P02', 'Ready E']);
    expect(shortly(await socket.ask({ query: 'bad sql' }))).toEqual(['Starting ff', 'Error 42601', 'Ready E']);
    expect(shortly(await socket.ask({ query: 'ROLLBACK; SELECT 2 as a' }))).toEqual([
      'Starting ff',
      'Complete ROLLBACK',
      'Starting tf',
      'Rows a',
      'Row ["2"]',
      'Complete SELECT 1',
      OK,
    ]);
  });

  test('hide warnings from who does not want them', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice, { options: { client_min_messages: 'error' } });
    expect(shortly(await socket.ask({ query: 'begin; begin; commit; commit' }))).not.toContainEqual(
      expect.stringContaining('Notice'),
    );
  });

  test('restore settings, and tell of it', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice, { options: { application_name: 'before' } });
    expect(shortly(await socket.ask({ query: "begin; set local application_name = 'within'" }))).toContain(
      'Parameter application_name=within',
    );
    expect(shortly(await socket.ask({ query: 'commit' }))).toEqual([
      'Starting ff',
      'Complete COMMIT',
      'Parameter application_name=before',
      OK,
    ]);
    await socket.ask({ query: "begin; set application_name = 'within'" });
    expect(shortly(await socket.ask({ query: 'select 1/0' }))).toEqual([
      'Starting ff',
      'Error 22012',
      'Parameter application_name=before',
      'Ready E',
    ]);
    await socket.ask({ query: 'rollback' });
    await socket.ask({ query: "set application_name = 'other'" });
    expect(shortly(await socket.ask({ query: 'discard all' }))).toContain('Parameter application_name=postern');
  });

  /** In extended mode PostgreSQL says that a statement is complete before it has been committed. */
  test('that fail at their commit are never told to be complete', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    await socket.ask({ query: 'create temp table d (a int unique deferrable initially deferred)' });
    for (const query of ['insert into d values (1), (1)', 'insert into d values (1), (1) returning a']) {
      const told = shortly(await socket.ask({ queries: [{ query }] }));
      expect(told.slice(-2)).toEqual(['Error 23505', OK]);
      expect(told).not.toContainEqual(expect.stringContaining('Complete'));
    }
    expect(shortly(await socket.ask({ query: 'select count(*) as n from d' }))).toContain('Row ["0"]');
  });

  test('hide types that only they can see', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    await socket.ask({ query: 'create type shape_of_two as (a int)' });
    await socket.ask({ query: 'begin' });
    await socket.ask({ query: 'alter type shape_of_two add attribute b text' });
    const value = { query: "select row(1,'x')::shape_of_two" };
    expect(last(await socket.ask(value), 'Row')).toEqual(['(1,x)']);
    await socket.ask({ query: 'commit' });
    expect(last(await socket.ask(value), 'Row')).toEqual([{ a: '1', b: 'x' }]);
  });

  test('that are left idle too long are told of in answer to the next request', async ({ sql, alice, database }) => {
    await using socket = await openSocket(sql, alice, { options: { idle_in_transaction_session_timeout: '100' } });
    await socket.ask({ query: 'begin' });
    await eventually(async () => {
      const { rowCount } = await database.query('select from pg_stat_activity where pid = $1', [socket.processId]);
      expect(rowCount).toBe(0);
    });
    expect(socket.waiting()).toEqual([]);
    expect(socket.ws.readyState).toBe(socket.ws.OPEN);
    socket.send({ query: 'select 1' });
    const [told = ''] = shortly([await socket.next()]);
    // The news may come a moment after the backend is gone: then it meets the request that has begun, or is lost to its packet.
    if (told !== 'Starting ff') expect(told).toBe('Error 25P03');
    else expect(['Error 25P03', 'Error 08006']).toEqual(expect.arrayContaining(shortly([await socket.next()])));
    expect(await socket.closed).toMatchObject({ code: 1011 });
  });
});

describe('requests one behind the other', () => {
  test('are answered in their order, each with one ReadyForQuery', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    for (let index = 0; index < 50; index += 1) {
      socket.send(
        index % 3 === 0
          ? { query: `select ${index} as a; select ${index} as a` }
          : { queries: [{ query: 'select $1 as a', params: [String(index)] }] },
      );
    }
    for (let index = 0; index < 50; index += 1) {
      const answer = shortly(await socket.untilReady());
      expect(answer.filter((line) => line.startsWith('Row '))).toEqual(Array(index % 3 === 0 ? 2 : 1).fill(`Row ["${index}"]`));
    }
    expect(socket.waiting()).toEqual([]);
  });

  test('are read only as far as they may wait, and all are answered', async ({ sql, alice, database }) => {
    const locker = new pg.Client({ connectionString: database.url });
    await locker.connect();
    await locker.query('select pg_advisory_lock(4711)');
    await using socket = await openSocket(sql, alice);
    socket.send({ query: 'select pg_advisory_lock(4711)' });
    const filler = 'x'.repeat(100_000);
    // More than may wait, in number and in bytes, and more than the buffers of sockets hold.
    for (let index = 0; index < 300; index += 1) socket.send({ query: `select ${index} as a`, filler });
    let before = Infinity;
    await eventually(
      () => {
        const isStill = socket.ws.bufferedAmount === before;
        before = socket.ws.bufferedAmount;
        return isStill;
      },
      { intervalMs: 200 },
    );
    expect(before).toBeGreaterThan(10_000_000);
    await locker.end();
    await socket.untilReady();
    for (let index = 0; index < 300; index += 1) expect(shortly(await socket.untilReady())).toContain(`Row ["${index}"]`);
  });

  test('are accompanied by pings while one runs', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    socket.send({ query: 'select pg_sleep(30)' });
    await once(socket.ws, 'ping');
    await once(socket.ws, 'ping');
    socket.send({ cancel: true });
    expect(shortly(await socket.untilReady()).slice(-2)).toEqual(['Error 57014', OK]);
  });
});

describe('a session', () => {
  test('of settings that would have texts misread is not kept', async ({ sql, alice }) => {
    for (const query of [
      "select set_config('client_encoding','LATIN1',false)",
      "select set_config('standard_conforming_strings','off',false)",
    ]) {
      await using socket = await openSocket(sql, alice);
      const answer = await socket.ask({ query });
      expect(shortly(answer)).toContain('Error XX000');
      expect(await socket.closed).toMatchObject({ code: 1008 });
    }
    await using socket = await openSocket(sql, alice);
    expect(shortly(await socket.ask({ query: 'set client_encoding to latin1' }))).toEqual(['Starting ff', 'Error XX000', OK]);
  });

  /** Bytes that are not UTF-8 in a text frame end the connection in every client. */
  test('never sends bytes that are no text', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    const query =
      "select 1 as a; select set_config('client_encoding','LATIN1',true); select 'gut' as b union all select 'für'; select 3";
    socket.send({ query });
    const answer = shortly(await socket.untilReady());
    expect(answer).toContain('Row ["1"]');
    expect(answer).toContain('Row ["gut"]');
    expect(answer).toContain('Error 22021');
    expect(answer.join(' ')).not.toContain('\ufffd');
    expect(answer.filter((line) => line.startsWith('Error'))).toHaveLength(1);
  });

  /** A part of the row has been sent as the beginning of a message: there is no end of it that would be true. */
  test('is closed if a large row turns out to be no text', async ({ sql, alice }) => {
    const latin = (value: string): string => `select set_config('client_encoding','LATIN1',true); select ${value} as a`;
    await using socket = await openSocket(sql, alice);
    const early = shortly(await socket.ask({ query: latin("repeat('ü', 3000000)") }));
    expect(early.slice(-2)).toEqual(['Error 22021', OK]);
    expect(early.filter((line) => line.startsWith('Row '))).toEqual(['Row ["LATIN1"]']);
    socket.send({ query: latin("repeat('x', 3000000) || 'ü'") });
    expect(await socket.closed).toMatchObject({ code: 1011, reason: 'a row that was begun cannot be finished' });
  });

  test('sends a large row of long characters whole, in whatever pieces', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    for (const length of [120, 126, 20_000, 65_500, 65_536, 400_000, 3_000_000]) {
      const [row] = last(await socket.ask({ query: `select repeat('€', ${length}) as a, ${length} as b` }), 'Row') as [string];
      expect(row === '€'.repeat(length), `${length} characters`).toBe(true);
    }
  });

  /** Users of one pool must not become one another. */
  test("is the caller's own login, whatever is tried (imm-073)", async ({ sql, alice, bob }) => {
    await using socket = await openSocket(sql, alice);
    for (const query of [
      'reset role',
      'set role postgres',
      `set session authorization "${bob.name}"`,
      "select set_config('role', 'postgres', false)",
      'discard all',
      'reset session authorization',
    ]) {
      await socket.ask({ query });
      expect(last(await socket.ask({ query: 'select current_user, session_user' }), 'Row')).toEqual([alice.name, alice.name]);
    }
  });

  test('leaves nothing to others when it ends (imm-074)', async ({ sql, alice, database }) => {
    const first = await openSocket(sql, alice);
    await first.ask({
      query: `begin; create temp table left_over (a int); select pg_advisory_lock(77); listen left_over; set app.left = 'over'; prepare p as select 1`,
    });
    first.ws.close();
    await first.closed;
    await eventually(async () => {
      const { rowCount } = await database.query('select from pg_stat_activity where pid = $1', [first.processId]);
      expect(rowCount).toBe(0);
    });
    await using second = await openSocket(sql, alice);
    expect(second.processId).not.toBe(first.processId);
    expect(second.secretKey).not.toBe(first.secretKey);
    const state = await second.ask({
      query: `select (select count(*) from pg_prepared_statements) p, (select count(*) from pg_listening_channels()) l,
                     current_setting('app.left', true) s, to_regclass('pg_temp.left_over') t, pg_try_advisory_lock(77) k`,
    });
    expect(last(state, 'Row')).toEqual(['0', '0', null, null, true]);
  });

  test('hears of its channels on the versioned path, and works on without on the other', async ({ sql, alice, bob }) => {
    await using listening = await openSocket(sql, alice);
    await using silent = await openSocket(sql, alice, { path: '/api/experimental/sql' });
    await listening.ask({ query: 'listen news' });
    await silent.ask({ query: 'listen news' });
    await using other = await openSocket(sql, bob);
    await other.ask({ query: "notify news, 'one'" });
    expect(await listening.next()).toEqual({
      type: 'Notification',
      payload: { channel: 'news', payload: 'one', process_id: other.processId },
    });
    // Its own comes with the request.
    expect(shortly(await listening.ask({ query: "notify news, 'own'" }))).toContain('Notification news own');
    expect(shortly(await silent.ask({ query: 'select 1 as a' }))).toEqual([
      'Starting tf',
      'Rows a',
      'Row ["1"]',
      'Complete SELECT 1',
      OK,
    ]);
  });
});

test('the cost guard holds on a socket as it does over HTTP, and what it refuses fails the transaction', async ({
  startSql,
  alice,
}) => {
  const sql = await startSql({
    limitTable: { roles: new Map([['*', { estimatedCostMax: 500, rowsMax: 10 }]]), groups: new Map(), keys: new Map() },
  });
  await using socket = await openSocket(sql, alice);
  const heavy = { query: 'select 1 from generate_series(1, 100000) a, generate_series(1, 100000) b' };
  await socket.ask({ query: 'begin' });
  expect(shortly(await socket.ask(heavy))).toEqual(['Starting ff', 'Error 54000', 'Ready E']);
  expect(shortly(await socket.ask({ query: 'rollback' })).at(-1)).toBe(OK);
  expect(shortly(await socket.ask({ query: 'select a from generate_series(1, 11) a' })).slice(-2)).toEqual(['Error 53200', OK]);
  expect(shortly(await socket.ask({ query: 'select 1 as a' }))).toContain('Row ["1"]');
});

test('what a transaction has set is no way around the cost guard when it ends', async ({ startSql, alice, database }) => {
  const sql = await startSql({
    limitTable: { roles: new Map([['*', { estimatedCostMax: 5_000 }]]), groups: new Map(), keys: new Map() },
  });
  await database.query('create schema little; create table little.counted (n int); insert into little.counted values (1)');
  await database.query('create table public.counted as select n from generate_series(1, 50000) n');
  await database.query('analyze little.counted; analyze public.counted');
  await database.query('grant usage on schema little to public; grant select on little.counted, public.counted to public');
  const heavy = 'select count(*) from counted a, counted b';
  await using socket = await openSocket(sql, alice);
  await socket.ask({ query: 'set search_path to public' });
  for (const end of ['rollback', 'commit', 'rollback to s']) {
    await socket.ask({ query: 'begin; savepoint s; set local search_path to little' });
    expect(shortly(await socket.ask({ query: heavy }))).toContain('Row ["1"]');
    expect(shortly(await socket.ask({ query: `${end}; ${heavy}` })).slice(-2)).toEqual(['Error 54000', 'Ready E']);
    // Nothing of it has run, and it can be said in two steps.
    expect(shortly(await socket.ask({ query: `rollback; select 1` })).slice(-2)).toEqual(['Error 54000', 'Ready E']);
    expect(shortly(await socket.ask({ query: 'rollback' })).at(-1)).toBe(OK);
  }
  // What was prepared sets it when it is run, under whatever name.
  await socket.ask({ query: 'set search_path to little' });
  await socket.ask({ query: "prepare p as select set_config('search_path', 'public', false)" });
  for (const run of ['execute p', 'explain analyze execute p']) {
    expect([run, ...shortly(await socket.ask({ query: `${run}; ${heavy}` })).slice(-2)]).toEqual([run, 'Error 54000', OK]);
    expect(shortly(await socket.ask({ query: heavy }))).toContain('Row ["1"]');
    expect(shortly(await socket.ask({ query: run })).at(-1)).toBe(OK);
    expect(shortly(await socket.ask({ query: heavy })).slice(-2)).toEqual(['Error 54000', OK]);
    await socket.ask({ query: 'set search_path to little' });
  }
});
