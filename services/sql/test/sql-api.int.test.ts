/** Requests and their answers, as the reference's own test data has them, with PostgreSQL's decisions. */
import { describe, expect } from 'vitest';

import type { Entry } from './sql-test.ts';
import { outcomes, sqlTest as test } from './sql-test.ts';

describe('simple mode', () => {
  test('a row comes with its column, its tag and no notices', async ({ sql, alice }) => {
    expect((await sql.send(alice, { query: 'select 1+2 as col' })).results).toEqual([
      {
        tag: 'SELECT 1',
        rows: [['3']],
        desc: { columns: [{ name: 'col', type_oid: 23, type_len: 4, type_mod: -1 }] },
        notices: [],
      },
    ]);
  });

  test('each statement has its entry, and the first error is the last one', async ({ sql, alice }) => {
    expect(outcomes(await sql.simple(alice, 'select 1; select 2'))).toEqual([[['1']], [['2']]]);
    const [first, second, ...others] = await sql.simple(alice, 'select 1; select * from noexist; select 2');
    expect(first?.rows).toEqual([['1']]);
    expect(second?.error).toEqual({ message: 'relation "noexist" does not exist', code: '42P01', position: 25 });
    expect(others).toEqual([]);
  });

  test('a rule that gives one statement several results gives it several entries', async ({ sql, alice }) => {
    await sql.simple(
      alice,
      `create table ruled (a int);
       create rule one as on insert to ruled do also select 1 as x;
       create rule two as on insert to ruled do also select 10 / (new.a - 1) as y`,
    );
    expect(outcomes(await sql.simple(alice, 'insert into ruled values (2); select 5'))).toEqual([[['1']], [['10']], [['5']]]);
    expect(outcomes(await sql.simple(alice, 'select 5; insert into ruled values (1); select 5'))).toEqual([[['5']], '22012']);
  });

  test('an answer is JSON of known length', async ({ sql, alice }) => {
    const { status, headers, text } = await sql.send(alice, { query: '' });
    expect([status, text]).toEqual([200, '{"results":[]}']);
    expect(headers.get('content-type')).toBe('application/json');
    expect(headers.get('content-length')).toBe('14');
  });

  test.for(['', ';', ';;;', ' -- nothing', '/* no /* thing */ */;'])('%j holds nothing', async (query, { sql, alice }) => {
    expect(await sql.simple(alice, query)).toEqual([]);
  });

  test('statements between semicolons count, empty ones do not', async ({ sql, alice }) => {
    expect(outcomes(await sql.simple(alice, ';;select 1;;;select $$;$$;'))).toEqual([[['1']], [[';']]]);
  });

  test('views, notices, inserts and deletes tell what they did', async ({ sql, alice }) => {
    expect(outcomes(await sql.simple(alice, 'create view api_v as select 1'))).toEqual(['CREATE VIEW']);
    expect(await sql.simple(alice, 'create table if not exists api_t (a int); create table if not exists api_t (a int)')).toEqual(
      [
        { ok: 'CREATE TABLE', notices: [] },
        {
          ok: 'CREATE TABLE',
          notices: [{ message: 'relation "api_t" already exists, skipping', code: '42P07', severity: 'notice' }],
        },
      ],
    );
    expect(outcomes(await sql.simple(alice, 'insert into api_t values (1)'))).toEqual(['INSERT 0 1']);
    expect(outcomes(await sql.simple(alice, 'delete from api_t; delete from api_t'))).toEqual(['DELETE 1', 'DELETE 0']);
  });

  test('several definitions in one string are allowed', async ({ sql, alice }) => {
    expect(outcomes(await sql.simple(alice, 'create view api_v1 as select 1; create view api_v2 as select 2'))).toEqual([
      'CREATE VIEW',
      'CREATE VIEW',
    ]);
  });

  test('what must stand alone is refused in company, with the error of the server', async ({ sql, alice }) => {
    expect(outcomes(await sql.simple(alice, 'vacuum; select 1'))).toEqual(['25001']);
  });

  test.for([
    ['show search_path', 'SELECT 1'],
    ['explain (costs off) select 1', 'SELECT 1'],
    ['values (1), (2)', 'SELECT 2'],
    ['table pg_am limit 0', 'SELECT 0'],
  ] as const)('%s is tagged %s', async ([query, tag], { sql, alice }) => {
    const [entry] = await sql.simple(alice, query);
    expect(entry?.tag).toBe(tag);
  });

  test('rows that a change returns are rows', async ({ sql, alice }) => {
    const entries = await sql.simple(
      alice,
      'create temp table r (a int); insert into r values (1), (2) returning a; update r set a = 3 returning a',
    );
    expect(entries.map(({ tag }) => tag)).toEqual([undefined, 'SELECT 2', 'SELECT 2']);
  });

  test('a parameter without a value is the error of the server', async ({ sql, alice }) => {
    expect(outcomes(await sql.simple(alice, 'select $1'))).toEqual(['42P02']);
  });

  test('a syntax error is the error of the server, at its position in characters, and nothing runs', async ({ sql, alice }) => {
    await sql.simple(alice, 'create table if not exists api_syntax (a int)');
    expect(await sql.simple(alice, 'SELECT 1 1')).toEqual([
      { error: { message: 'syntax error at or near "1"', code: '42601', position: 10 }, notices: [] },
    ]);
    const [entry] = await sql.simple(alice, "select 'é', nocol");
    expect(entry?.error).toMatchObject({ code: '42703', position: 13 });
    expect(outcomes(await sql.simple(alice, 'insert into api_syntax values (1); selec 1'))).toEqual(['42601']);
    expect(outcomes(await sql.simple(alice, 'select count(*) from api_syntax'))).toEqual([[['0']]]);
    expect(outcomes(await sql.simple(alice, 'subscribe t'))).toEqual(['42601']);
    expect(outcomes(await sql.simple(alice, "select 'open"))).toEqual(['42601']);
  });

  test('detail and hint of an error are passed on', async ({ sql, alice }) => {
    const [, , unique] = await sql.simple(
      alice,
      'create temp table u (a int unique); insert into u values (1); insert into u values (1)',
    );
    expect(unique?.error).toMatchObject({ code: '23505', detail: 'Key (a)=(1) already exists.' });
    const [unknown] = await sql.simple(alice, 'select nofunction(1)');
    expect(unknown?.error).toMatchObject({ code: '42883', hint: expect.stringContaining('might need to add') as string });
  });

  test('a notice raised while running comes with its entry, in lower case', async ({ sql, alice }) => {
    const [first, second] = await sql.simple(
      alice,
      "do $$ begin raise warning 'w' using detail = 'd', hint = 'h'; end $$; select 1",
    );
    expect(first?.notices).toEqual([{ message: 'w', code: '01000', severity: 'warning', detail: 'd', hint: 'h' }]);
    expect(second?.notices).toEqual([]);
  });
});

describe('transactions', () => {
  test.for([
    ['begin; select 1; commit; select 2;', ['BEGIN', [['1']], 'COMMIT', [['2']]]],
    ['begin; select 1/0; commit; select 2;', ['BEGIN', '22012']],
  ] as const)('%s', async ([query, expected], { sql, alice }) => {
    expect(outcomes(await sql.simple(alice, query))).toEqual(expected);
  });

  test.for([
    ['insert into x values (1); select 1/0; insert into x values (2)', ['INSERT 0 1', '22012'], []],
    [
      'begin; insert into x values (1); commit; insert into x values (2); select 1/0;',
      ['BEGIN', 'INSERT 0 1', 'COMMIT', 'INSERT 0 1', '22012'],
      ['1'],
    ],
    [
      'insert into x values (1); begin; insert into x values (2); insert into x values (3); commit;',
      ['INSERT 0 1', 'BEGIN', 'INSERT 0 1', 'INSERT 0 1', 'COMMIT'],
      ['1', '2', '3'],
    ],
    ['begin; insert into x values (1)', ['BEGIN', 'INSERT 0 1'], []],
    [
      'begin; insert into x values (1); rollback; insert into x values (2)',
      ['BEGIN', 'INSERT 0 1', 'ROLLBACK', 'INSERT 0 1'],
      ['2'],
    ],
    [
      'begin; savepoint s; insert into x values (1); rollback to s; commit',
      ['BEGIN', 'SAVEPOINT', 'INSERT 0 1', 'ROLLBACK', 'COMMIT'],
      [],
    ],
  ] as const)('%s leaves what it committed', async ([query, expected, kept], { sql, alice }) => {
    await sql.simple(alice, 'drop table if exists x; create table x (a int)');
    expect(outcomes(await sql.simple(alice, query))).toEqual(expected);
    expect(outcomes(await sql.simple(alice, 'select a from x order by a'))).toEqual([kept.map((value) => [value])]);
  });

  test('that a transaction was left open and is rolled back is told with the last statement', async ({ sql, alice }) => {
    const undone = { message: 'a transaction was left open and has been rolled back', code: '40000', severity: 'warning' };
    const noticesOf = (entries: readonly Entry[]): unknown[] => entries.map(({ notices }) => notices);
    expect(noticesOf(await sql.simple(alice, 'begin; create table left_open (a int); select 1'))).toEqual([[], [], [undone]]);
    expect(noticesOf(await sql.extended(alice, ['begin'], ['create table left_open (a int)']))).toEqual([[], [undone]]);
    expect(noticesOf(await sql.simple(alice, 'begin; select 1; commit'))).toEqual([[], [], []]);
    expect(noticesOf(await sql.simple(alice, 'begin; select 1/0'))).toEqual([[], []]);
  });

  test('each extended query is committed before the next begins', async ({ sql, alice }) => {
    await sql.simple(alice, 'drop table if exists y; create table y (a int)');
    expect(
      outcomes(await sql.extended(alice, ['insert into y values (1)'], ['select 1/0'], ['insert into y values (2)'])),
    ).toEqual(['INSERT 0 1', '22012']);
    expect(outcomes(await sql.simple(alice, 'select a from y'))).toEqual([[['1']]]);
  });

  test('a transaction may span extended queries; an error or the end of the request undoes it', async ({ sql, alice }) => {
    await sql.simple(alice, 'drop table if exists z; create table z (a int)');
    expect(
      outcomes(await sql.extended(alice, ['begin'], ['insert into z values (1)'], ['select 1/0'], ['select 1'], ['commit'])),
    ).toEqual(['BEGIN', 'INSERT 0 1', '22012']);
    expect(outcomes(await sql.extended(alice, ['begin'], ['insert into z values ($1)', ['2']]))).toEqual(['BEGIN', 'INSERT 0 1']);
    expect(outcomes(await sql.simple(alice, 'select a from z'))).toEqual([[]]);
    expect(outcomes(await sql.extended(alice, ['begin'], ['insert into z values (3)'], ['commit']))).toEqual([
      'BEGIN',
      'INSERT 0 1',
      'COMMIT',
    ]);
    expect(outcomes(await sql.simple(alice, 'select a from z'))).toEqual([[['3']]]);
  });

  /** The extended protocol says that the insert is done, and only then that it could not be committed. */
  test('a constraint that fails at the commit replaces ok and rows, in both modes', async ({ sql, alice }) => {
    await sql.simple(alice, 'drop table if exists d; create table d (a int unique deferrable initially deferred)');
    expect(outcomes(await sql.extended(alice, ['select 1'], ['insert into d values (1), (1)'], ['select 2']))).toEqual([
      [['1']],
      '23505',
    ]);
    expect(outcomes(await sql.extended(alice, ['insert into d values (1), (1) returning a']))).toEqual(['23505']);
    expect(outcomes(await sql.simple(alice, 'insert into d values (1), (1) returning a'))).toEqual(['23505']);
    expect(outcomes(await sql.simple(alice, 'insert into d values (1), (1)'))).toEqual(['23505']);
    expect(outcomes(await sql.simple(alice, 'begin; insert into d values (1), (1); commit; select 1'))).toEqual([
      'BEGIN',
      'INSERT 0 2',
      '23505',
    ]);
    expect(outcomes(await sql.simple(alice, 'select count(*) from d'))).toEqual([[['0']]]);
  });

  test('in an aborted transaction everything else is refused', async ({ sql, alice }) => {
    expect(outcomes(await sql.extended(alice, ['begin'], ['select 1/0']))).toEqual(['BEGIN', '22012']);
    expect(
      outcomes(await sql.simple(alice, 'do $$ begin perform 1/0; exception when others then null; end $$; select 1')),
    ).toEqual(['DO', [['1']]]);
  });
});

describe('extended mode', () => {
  test.for([
    ['select $1+$2::int as col', ['1', '2'], ['3']],
    ['select $1+$2::int as col', ['1', null], [null]],
    ['select length($1), length($2)', ['abc', "'abc'"], ['3', '5']],
    ['select length($1), length($2)', ['sum(a)', 'SELECT * FROM t;'], ['6', '16']],
    ['select $1::decimal+2 as col', ['nan'], ['NaN']],
    ['select $1::text', ["'; drop table x; --"], ["'; drop table x; --"]],
    ['select $1::text', [''], ['']],
    ['select 1', [], ['1']],
  ] as const)('%s with %j', async ([query, params, row], { sql, alice }) => {
    expect(outcomes(await sql.extended(alice, [query, params]))).toEqual([[row]]);
  });

  test('parameters default to none', async ({ sql, alice }) => {
    expect(outcomes(await sql.extended(alice, ['select 1']))).toEqual([[['1']]]);
    expect(await sql.extended(alice)).toEqual([]);
  });

  test('a query that is not one statement turns the whole request away before anything runs', async ({ sql, alice }) => {
    await sql.simple(alice, 'create table if not exists api_w (a int)');
    const insert = { query: 'insert into api_w values (1)' };
    for (const [odd, count] of [
      ['', 0],
      [';', 0],
      ['select 1; select 2', 2],
      ['select 1; copy api_w to stdout', 2],
    ] as const) {
      const { status, text, headers } = await sql.send(alice, { queries: [insert, { query: odd }] });
      expect([status, text]).toEqual([400, `each query must contain exactly 1 statement, but "${odd}" contains ${count}`]);
      expect(headers.get('content-type')).toContain('text/plain');
    }
    expect(outcomes(await sql.simple(alice, 'select count(*) from api_w'))).toEqual([[['0']]]);
  });

  test('one statement may be written with semicolons and comments around it', async ({ sql, alice }) => {
    expect(outcomes(await sql.extended(alice, ['; /* a; */ select 1 -- ;\n;;']))).toEqual([[['1']]]);
  });

  test('a parse error surfaces at its turn, at its position in its own query', async ({ sql, alice }) => {
    const entries = await sql.extended(alice, ['select 1'], ['select 1 1'], ['select 2']);
    expect(outcomes(entries)).toEqual([[['1']], '42601']);
    expect(entries[1]?.error?.position).toBe(10);
  });

  test('wrong parameters are errors of the server', async ({ sql, alice }) => {
    expect(outcomes(await sql.extended(alice, ['select 1'], ['select $1::int, $2::int', ['1']], ['select 2']))).toEqual([
      [['1']],
      '08P01',
    ]);
    expect(outcomes(await sql.extended(alice, ['select $1::int', ['x']]))).toEqual(['22P02']);
    expect(outcomes(await sql.extended(alice, ['select 1', ['x']]))).toEqual(['08P01']);
  });

  test('text that PostgreSQL cannot hold is an error of its query, not of the request', async ({ sql, alice }) => {
    expect(outcomes(await sql.simple(alice, "select 'a\0b'"))).toEqual(['22021']);
    expect(outcomes(await sql.extended(alice, ['select 1'], ['select $1::text', ['a\0b']]))).toEqual([[['1']], '22021']);
    expect((await sql.send(alice, '{"query":"select \'\\ud800\'"}', { raw: true })).results[0]?.error?.code).toBe('22021');
    expect(outcomes(await sql.extended(alice, ['select 1'], ["select '\0'"], ['select 2']))).toEqual([[['1']], '22021']);
  });

  test('more parameters than the protocol carries are an error of the query', async ({ sql, alice }) => {
    expect(outcomes(await sql.extended(alice, ['select 1', Array.from({ length: 65_536 }, () => null)]))).toEqual(['08P01']);
  });
});

describe('statements that are not for this API', () => {
  test.for([
    ['fetch c', 'FETCH c'],
    ['move c', 'MOVE c'],
    ['declare c cursor for select 1', 'DECLARE c CURSOR FOR SELECT 1'],
    ['close  all', 'CLOSE ALL'],
    ['copy api_f to stdout', 'COPY api_f TO STDOUT'],
    ['copy api_f /* x */ from stdin', 'COPY api_f FROM STDIN'],
    ["set client_encoding to 'latin1'", "SET client_encoding TO 'latin1'"],
    ['set standard_conforming_strings to off', 'SET standard_conforming_strings TO off'],
  ] as const)('%s', async ([query, printed], { sql, alice }) => {
    await sql.simple(alice, 'create table if not exists api_f (a int)');
    const refused = [{ error: { message: `unsupported via this API: ${printed}`, code: 'XX000' }, notices: [] }];
    expect(await sql.simple(alice, query)).toEqual(refused);
    // In simple mode nothing of the string runs; in extended mode what came before has.
    expect(await sql.simple(alice, `insert into api_f values (1); ${query}; select 1`)).toEqual(refused);
    expect(outcomes(await sql.simple(alice, 'select count(*) from api_f'))).toEqual([[['0']]]);
    const [ok, error, ...others] = await sql.extended(alice, ['insert into api_f values (1)'], [query], ['select 1']);
    expect([ok?.ok, error, others]).toEqual(['INSERT 0 1', refused[0], []]);
    await sql.simple(alice, 'truncate api_f');
  });

  test('COPY of files is a matter of rights', async ({ sql, alice }) => {
    expect(outcomes(await sql.simple(alice, "copy (select 1) to '/tmp/postern-never'"))).toEqual(['42501']);
    expect(outcomes(await sql.simple(alice, "copy (select 1) to program 'true'"))).toEqual(['42501']);
  });

  test('they cannot be hidden in quotes, comments, procedures or prepared statements', async ({ sql, alice }) => {
    expect(outcomes(await sql.simple(alice, "select 'copy t to stdout; fetch c' as a, $$;fetch c;$$ as b"))).toEqual([
      [['copy t to stdout; fetch c', ';fetch c;']],
    ]);
    expect(outcomes(await sql.simple(alice, 'prepare p as copy (select 1) to stdout'))).toEqual(['42601']);
    const [entry] = await sql.simple(alice, "do $$ begin execute 'copy (select 1) to stdout'; end $$");
    expect(entry?.error?.code).toMatch(/^(0A000|42P10|42601|XX000)$/);
    // set_config is not seen by the grammar; the session does not live on as it would then be.
    expect(
      outcomes(
        await sql.extended(
          alice,
          ["select set_config('standard_conforming_strings', 'off', false)"],
          ["select 'a\\', '; fetch c; --'"],
        ),
      ),
    ).toEqual([[['off']], 'XX000']);
    expect(outcomes(await sql.simple(alice, "select 'a\\'"))).toEqual([[['a\\']]]);
  });

  test('a result that is not UTF-8 is an error, not broken JSON', async ({ sql, alice }) => {
    const { text, results } = await sql.send(alice, {
      query: "select set_config('client_encoding', 'latin1', false); select 'é'",
    });
    expect(results.at(-1)?.error?.code).toBe('22021');
    expect(text).not.toContain('\ufffd');
  });

  test('stacked statements cannot enter through a parameter or one query (imm-070)', async ({ sql, alice }) => {
    await sql.simple(alice, "drop table if exists stacked; create table stacked (a text); insert into stacked values ('kept')");
    const payloads = [
      "'; drop table stacked; --",
      '1; commit; drop table stacked',
      '$$; delete from stacked; $$',
      "\\'; truncate stacked; --",
      "') or true; delete from stacked; --",
      'x\u2019; delete from stacked; --',
      '/*',
    ];
    for (const payload of payloads) {
      expect(outcomes(await sql.extended(alice, ['select $1::text', [payload]]))).toEqual([[[payload]]]);
      const stacked = await sql.send(alice, {
        queries: [{ query: `select 1; ${payload}` }, { query: `commit; ${payload}; select 1` }],
      });
      expect(stacked.status === 400 || stacked.results[0]?.error !== undefined).toBe(true);
    }
    expect(outcomes(await sql.simple(alice, 'select a from stacked'))).toEqual([[['kept']]]);
  });
});

describe('settings', () => {
  test('a SET tells the setting that was reported', async ({ sql, alice }) => {
    expect(await sql.simple(alice, "set application_name = 'x'")).toEqual([
      { ok: 'SET', notices: [], parameters: [{ name: 'application_name', value: 'x' }] },
    ]);
    expect(await sql.extended(alice, ["set timezone = 'Asia/Tokyo'"], ['select 1'], ['set work_mem = 64'])).toMatchObject([
      { ok: 'SET', parameters: [{ name: 'TimeZone', value: 'Asia/Tokyo' }] },
      { rows: [['1']] },
      { ok: 'SET' },
    ]);
  });

  test('in a longer string each setting is told with the statement that made it', async ({ sql, alice }) => {
    const entries = await sql.simple(alice, "set application_name = 'x'; select 1; set timezone = 'Asia/Tokyo'; select 2");
    expect(entries.map(({ parameters }) => parameters)).toEqual([
      [{ name: 'application_name', value: 'x' }],
      undefined,
      [{ name: 'TimeZone', value: 'Asia/Tokyo' }],
      undefined,
    ]);
  });

  test('a setting that comes back at the end of a transaction is told with that end', async ({ sql, alice }) => {
    const entries = await sql.extended(alice, ['begin'], ["set application_name = 'x'"], ['rollback']);
    expect(entries.map(({ parameters }) => parameters)).toEqual([
      undefined,
      [{ name: 'application_name', value: 'x' }],
      [{ name: 'application_name', value: 'postern' }],
    ]);
  });

  const options = (value: unknown): string => `?options=${encodeURIComponent(JSON.stringify(value))}`;

  test('options are settings of the session, for one request', async ({ sql, alice }) => {
    const query = options({ application_name: 'from options', work_mem: '77kB' });
    const { results } = await sql.send(alice, { query: 'show application_name; show work_mem' }, { query });
    expect(results.map(({ rows, notices }) => [rows, notices])).toEqual([
      [[['from options']], []],
      [[['77kB']], []],
    ]);
    expect(outcomes(await sql.simple(alice, 'show application_name'))).toEqual([[['postern']]]);
  });

  test('an option that cannot be set is a notice of the first result', async ({ sql, alice }) => {
    const query = options({
      nosuch: 'x',
      work_mem: 'plenty',
      role: 'postgres',
      SESSION_authorization: 'postgres',
      application_name: 'a',
    });
    const { results } = await sql.send(alice, { query: 'show application_name; select 1' }, { query });
    expect(results[0]?.rows).toEqual([['a']]);
    expect(results[0]?.notices.map(({ message }) => message)).toEqual([
      'startup setting nosuch not set: unrecognized configuration parameter "nosuch"',
      'startup setting work_mem not set: invalid value for parameter "work_mem": "plenty"',
      'startup setting role not set: it cannot be chosen here',
      'startup setting SESSION_authorization not set: it cannot be chosen here',
    ]);
    expect(results[0]?.notices[0]?.severity).toBe('notice');
    expect(results[1]?.notices).toEqual([]);
  });

  test.for(['?options=', '?other=1', '?options=%zz', '?options=1&options=2'])(
    '%s sets nothing',
    async (query, { sql, alice }) => {
      expect((await sql.send(alice, { query: 'select 1' }, { query })).results).toMatchObject([{ rows: [['1']], notices: [] }]);
    },
  );

  test.for(['?options=x', '?options=[]', '?options=%7B%22a%22%3A1%7D', '?options=null'])(
    '%s is refused',
    async (query, { sql, alice }) => {
      const { status, text } = await sql.send(alice, { query: 'select 1' }, { query });
      expect([status, text]).toEqual([400, 'Failed to deserialize "options" map']);
    },
  );
});

describe('the body', () => {
  const text = (status: number): readonly unknown[] => [status, 'text/plain; charset=utf-8'];

  test('is JSON of one of two shapes, and says so', async ({ sql, alice }) => {
    const status = async (body: unknown, init: RequestInit & { readonly raw?: boolean } = {}): Promise<unknown[]> => {
      const reply = await sql.send(alice, body, init);
      return [reply.status, reply.headers.get('content-type')];
    };
    expect(await status('{"query":', { raw: true })).toEqual(text(400));
    expect(await status('', { raw: true })).toEqual(text(400));
    expect(await status(Buffer.from('{"query":"select \'\xff\'"}', 'latin1'), { raw: true })).toEqual(text(400));
    expect(await status({ query: 1 })).toEqual(text(422));
    expect(await status([])).toEqual(text(422));
    expect(await status(null)).toEqual(text(422));
    expect(await status({ queries: [{ query: 'select $1', params: [1] }] })).toEqual(text(422));
    expect(await status({ queries: [{ query: 'select $1', params: [true] }] })).toEqual(text(422));
    expect(await status({ queries: [{ query: 'select $1', params: null }] })).toEqual(text(422));
    expect(await status({ queries: 'select 1' })).toEqual(text(422));
    expect(await status({ query: 'select 1' }, { headers: { 'content-type': 'text/plain' } })).toEqual(text(415));
    expect(await status({ query: 'select 1' }, { headers: { 'content-type': '' } })).toEqual(text(415));
    expect(await status({ query: 'select 1' }, { headers: { 'content-encoding': 'gzip' } })).toEqual(text(415));
    expect((await status({ query: 'select 1' }, { headers: { 'content-type': 'Application/JSON; charset=utf-8' } }))[0]).toBe(
      200,
    );
  });

  test('may hold other keys; query wins over queries', async ({ sql, alice }) => {
    expect((await sql.send(alice, { query: 'select 1', queries: [{ query: 'select 2' }], other: {} })).results).toMatchObject([
      { rows: [['1']] },
    ]);
    expect((await sql.send(alice, { query: 5, queries: [{ query: 'select 2', more: 1 }] })).results).toMatchObject([
      { rows: [['2']] },
    ]);
  });

  test('cannot change what objects are (imm-128)', async ({ sql, alice }) => {
    const body =
      '{"__proto__":{"query":"select 666"},"constructor":{"prototype":{"query":"x"}},"queries":[{"query":"select 1","__proto__":{"params":["1"]}}]}';
    expect((await sql.send(alice, body, { raw: true })).results).toMatchObject([{ rows: [['1']] }]);
    expect((await sql.send(alice, '{"query":"select 1","query":"select 2"}', { raw: true })).results).toMatchObject([
      { rows: [['2']] },
    ]);
    expect(({} as Record<string, unknown>)['query']).toBeUndefined();
    const options = `?options=${encodeURIComponent('{"__proto__":"x"}')}`;
    expect((await sql.send(alice, { query: 'select 1' }, { query: options })).results[0]?.rows).toEqual([['1']]);
  });

  test('may have 5 MiB and not a byte more, also when its length is not told before', async ({ sql, alice }) => {
    const padded = (bytes: number): string => '{"query":"select 1"}'.padEnd(bytes, ' ');
    const stream = (body: string): ReadableStream<Uint8Array> =>
      new ReadableStream({
        start(controller) {
          for (let at = 0; at < body.length; at += 500_000)
            controller.enqueue(new TextEncoder().encode(body.slice(at, at + 500_000)));
          controller.close();
        },
      });
    const limit = 5 * 1_024 * 1_024;
    expect((await sql.send(alice, padded(limit), { raw: true })).results).toMatchObject([{ rows: [['1']] }]);
    expect((await sql.send(alice, padded(limit + 1), { raw: true })).status).toBe(413);
    const chunked = { raw: true, duplex: 'half' } as const;
    expect((await sql.send(alice, stream(padded(limit)), chunked)).status).toBe(200);
    const refused = await sql.send(alice, stream(padded(limit + 1)), chunked);
    expect([refused.status, refused.headers.get('content-type')]).toEqual(text(413));
  });

  test('may carry large parameters, but no more SQL than can be examined', async ({ sql, alice }) => {
    expect(outcomes(await sql.extended(alice, ['select length($1)', ['x'.repeat(4_000_000)]]))).toEqual([[['4000000']]]);
    const [entry] = await sql.simple(alice, `select '${'x'.repeat(1_100_000)}'`);
    expect(entry?.error?.code).toBe('54000');
    expect(entry?.error?.message).toMatch(/^statement batch size cannot exceed/);
    expect(outcomes(await sql.simple(alice, `select length('${'x'.repeat(900_000)}')`))).toEqual([[['900000']]]);
  });

  // Each of them is a round trip of its own: a busy machine takes its time.
  test(
    'may hold ten thousand queries, and with one more none of them runs',
    { timeout: 300_000 },
    async ({ startSql, alice }) => {
      const sql = await startSql({ limits: { requestMs: 300_000 } });
      const queries = (count: number): [string][] => Array.from({ length: count }, () => ['select 1']);
      const entries = await sql.extended(alice, ...queries(10_000));
      expect(entries).toHaveLength(10_000);
      expect(entries.at(-1)?.rows).toEqual([['1']]);
      expect(await sql.extended(alice, ...queries(10_001))).toEqual([
        { error: { message: 'a request takes at most 10000 queries, but 10001 were supplied', code: '54000' }, notices: [] },
      ]);
    },
  );

  test('holds no more statements in one string than queries in a request', async ({ sql, alice }) => {
    expect(await sql.simple(alice, `create table of_many (); ${'select;'.repeat(10_000)}`)).toEqual([
      { error: { message: 'a string takes at most 10000 statements, but 10001 were supplied', code: '54000' }, notices: [] },
    ]);
    expect(await sql.simple(alice, 'select;'.repeat(10_000))).toHaveLength(10_000);
    expect(outcomes(await sql.simple(alice, 'create table of_many ()'))).toEqual(['CREATE TABLE']);
  });

  test('may be nested as deep as it likes: the service answers and goes on', async ({ sql, alice }) => {
    const deep = 300_000;
    expect(outcomes(await sql.simple(alice, `select 1${'+1'.repeat(deep)}`))).toEqual(['54001']);
    expect(outcomes(await sql.simple(alice, `select ${'('.repeat(deep)}1`))).toHaveLength(1);
    expect((await sql.send(alice, '['.repeat(2_000_000), { raw: true })).status).toBe(400);
    expect(outcomes(await sql.simple(alice, `select 1${'+1'.repeat(1_200)}`))).toEqual([[['1201']]]);
    expect(outcomes(await sql.simple(alice, 'select 1'))).toEqual([[['1']]]);
  });
});

describe('the door', () => {
  test('admits nobody without a signed principal for this service (imm-007)', async ({ sql, alice, auth }) => {
    const status = async (headers: Record<string, string>): Promise<number> => {
      const response = await fetch(`${sql.origin}/api/sql`, {
        method: 'POST',
        body: '{"query":"select 1"}',
        headers: { 'content-type': 'application/json', ...headers },
      });
      await response.arrayBuffer();
      return response.status;
    };
    const good = await auth.assertion(alice.principal);
    expect(await status({})).toBe(401);
    expect(await status({ 'x-postern-principal': 'alice' })).toBe(401);
    expect(await status({ 'x-postern-principal': `${good.slice(0, -4)}AAAA` })).toBe(401);
    expect(await status({ 'x-postern-principal': await auth.assertion(alice.principal, 'mcp') })).toBe(401);
    expect(await status({ 'x-postern-principal': `${good},${good}` })).toBe(401);
    expect(await status({ 'x-postern-principal': good })).toBe(200);
  });

  test('has one route', async ({ sql, alice }) => {
    const headers = await sql.headers(alice);
    expect((await fetch(`${sql.origin}/api/other`, { method: 'POST', headers, body: '{}' })).status).toBe(404);
    const wrong = await fetch(`${sql.origin}/api/sql`, { headers });
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'POST']);
  });
});
