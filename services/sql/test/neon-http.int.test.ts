/** `POST /sql` with the Neon driver and without, next to `pg` over TCP. */
import { eventually } from '@postern/testkit/eventually';
import { describe, expect } from 'vitest';

import { errorOf, neonFor, overTcp, plain, plainValue, post, RAW } from './neon-test.ts';
import type { Limits } from '../src/domain/guard.ts';
import { sqlTest as test } from './sql-test.ts';

interface Result {
  readonly command: string | null;
  readonly rowCount: number | null;
  readonly rows: readonly unknown[];
  readonly fields: readonly { readonly name: string; readonly dataTypeID: number }[];
  readonly rowAsArray: boolean;
}

const resultOf = (json: unknown): Result => json as Result;
const resultsOf = (json: unknown): readonly Result[] => (json as { readonly results: readonly Result[] }).results;

describe('one query', () => {
  test('has the shape that the driver expects, column by column', async ({ sql, alice }) => {
    const { status, headers, json } = await post(sql, alice, { query: 'select 1 as n, null as z', params: [] }, { headers: RAW });
    expect([status, headers.get('content-type')]).toEqual([200, 'application/json']);
    expect(json).toEqual({
      command: 'SELECT',
      rowCount: 1,
      fields: [
        { name: 'n', dataTypeID: 23, tableID: 0, columnID: 0, dataTypeSize: 4, dataTypeModifier: -1, format: 'text' },
        { name: 'z', dataTypeID: 25, tableID: 0, columnID: 0, dataTypeSize: -1, dataTypeModifier: -1, format: 'text' },
      ],
      rows: [['1', null]],
      rowAsArray: true,
    });
  });

  test('runs as the caller, whatever content type the driver does not name', async ({ sql, alice }) => {
    const answer = await post(sql, alice, { query: 'select current_user, session_user' }, { headers: RAW });
    expect(resultOf(answer.json).rows).toEqual([[alice.name, alice.name]]);
  });

  test.for([
    ['select 1 where false', 'SELECT', 0],
    ['select', 'SELECT', 1],
    ['create table neon_tags (a int primary key, b text)', 'CREATE', null],
    ["insert into neon_tags values (1, 'x'), (2, 'y')", 'INSERT', 2],
    ['insert into neon_tags values (1) on conflict do nothing', 'INSERT', 0],
    ['update neon_tags set b = b returning a', 'UPDATE', 2],
    ['delete from neon_tags where a = 2', 'DELETE', 1],
    ['merge into neon_tags t using (values (1)) s(a) on t.a = s.a when matched then do nothing', 'MERGE', 0],
    ['create table neon_made as select 1', 'SELECT', 1],
    ['refresh materialized view neon_none', undefined, undefined],
    ['begin', 'BEGIN', null],
    ['show server_version_num', 'SHOW', null],
    ['explain (costs off) select 1', 'EXPLAIN', null],
    ['set search_path to public', 'SET', null],
    ['listen neon_channel', 'LISTEN', null],
    ['notify neon_channel', 'NOTIFY', null],
    ['do $$ begin end $$', 'DO', null],
    ['truncate neon_tags', 'TRUNCATE', null],
    ['drop table neon_tags, neon_made', 'DROP', null],
    ['', null, null],
    ['-- nothing', null, null],
  ] as const)(
    '%s is told with the command and count that pg tells',
    async ([query, command, rowCount], { sql, alice, database }) => {
      await using direct = await overTcp(database.url, alice);
      const answer = await post(sql, alice, { query }, { headers: RAW });
      if (command === undefined) return expect(answer.status).toBe(400);
      expect({ command: resultOf(answer.json).command, rowCount: resultOf(answer.json).rowCount }).toEqual({ command, rowCount });
      if (/neon_tags|neon_made/.test(query)) return undefined;
      const same = await direct.query({ text: query, values: [] });
      expect([same.command, same.rowCount]).toEqual([command, rowCount]);
      return undefined;
    },
  );

  /** imm-070: two statements in one text are one too many. */
  test.for([
    'select 1; select 2',
    'select 1; drop table neon_stacked',
    'COMMIT; drop table neon_stacked; begin',
    'select 1;;select 2',
  ])('%s is a fault in the protocol, and nothing of it runs (imm-070)', async (query, { sql, alice }) => {
    await post(sql, alice, { query: 'create table if not exists neon_stacked (a int)' });
    for (const params of [[], ['1']]) {
      const { status, json } = await post(sql, alice, { query, params });
      expect([status, json]).toMatchObject([
        400,
        { code: '42601', message: 'cannot insert multiple commands into a prepared statement' },
      ]);
    }
    expect((await post(sql, alice, { queries: [{ query }] })).json).toMatchObject({
      code: expect.stringMatching(/42601|2D000/) as string,
    });
    expect((await post(sql, alice, { query: 'table neon_stacked' })).status).toBe(200);
  });

  test('a hundred ways to stack statements change nothing, in a read-only batch neither (imm-070)', async ({
    sql,
    alice,
    database,
  }) => {
    await post(sql, alice, { query: 'create table if not exists neon_corpus as select 1 as a' });
    const heads = ['select 1', 'COMMIT', 'ROLLBACK', 'end', 'select $$;$$'];
    const separators = [';', ';;', ' ; -- x\n', ';/* ; */'];
    const tails = [
      'drop table neon_corpus',
      'truncate neon_corpus',
      'insert into neon_corpus values (2)',
      "select set_config('transaction_read_only', 'off', false); delete from neon_corpus",
      "copy neon_corpus from program 'echo 3'",
    ];
    const corpus = heads.flatMap((head) => separators.flatMap((separator) => tails.map((tail) => `${head}${separator}${tail}`)));
    expect(corpus.length).toBe(100);
    const written = async () =>
      (
        await database.query(
          `select (select md5(string_agg(relname, ',' order by oid)) from pg_class where relnamespace = 'public'::regnamespace) as all,
            (select string_agg(a::text, ',') from neon_corpus) as rows`,
        )
      ).rows;
    const before = await written();
    for (const query of corpus) {
      const alone = await post(sql, alice, { query });
      const second = query.slice(query.indexOf(';') + 1);
      const batch = { queries: [{ query: query.split(';', 1)[0] ?? '' }, { query: second }] };
      const readOnly = await post(sql, alice, batch, { headers: { 'neon-batch-read-only': 'true' } });
      expect([query, alone.status, readOnly.status]).toEqual([query, 400, 400]);
    }
    expect(await written()).toEqual(before);
  });

  test.for(['copy pg_class to stdout', 'COPY (select 1) to stdout', '/* a /* b */ */ ; -- c\n copy neon_x from stdin'])(
    '%s is refused, and the session goes on',
    async (query, { sql, alice }) => {
      for (const body of [{ query }, { queries: [{ query: 'select 1' }, { query }] }]) {
        const { status, json } = await post(sql, alice, body);
        expect([status, json]).toMatchObject([400, { code: '0A000', message: expect.stringContaining('COPY') as string }]);
      }
      expect((await post(sql, alice, { query: 'select 1' })).status).toBe(200);
    },
  );

  test('COPY of a file or to a program is a matter of rights (imm-072)', async ({ sql, alice }) => {
    for (const query of ["copy pg_class to program 'cat'", "copy pg_class to '/tmp/x'", 'select lo_import($$/etc/passwd$$)']) {
      expect((await post(sql, alice, { query })).json).toMatchObject({ code: '42501' });
    }
  });

  test('nothing is left of it for the next one (imm-074)', async ({ sql, alice }) => {
    const leftovers = [
      "set work_mem = '77MB'",
      'begin',
      'create temp table neon_left (a int)',
      'prepare neon_left as select 1',
      'listen neon_left',
      'select pg_advisory_lock(7)',
      "select set_config('TimeZone', 'Asia/Tokyo', false)",
    ];
    for (const query of leftovers) {
      expect((await post(sql, alice, { query })).status).toBe(200);
      const { json } = await post(
        sql,
        alice,
        {
          query: `select current_setting('work_mem') = '77MB', current_setting('TimeZone') = 'Asia/Tokyo',
                  to_regclass('pg_temp.neon_left') is null, (select count(*) from pg_prepared_statements)::int,
                  (select count(*) from pg_listening_channels())::int,
                  (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())::int`,
        },
        { headers: { 'neon-array-mode': 'true' } },
      );
      expect(resultOf(json).rows).toEqual([[false, false, true, 0, 0, 0]]);
    }
  });

  test.for([
    'set role postgres',
    'set session authorization postgres',
    "select set_config('role', 'postgres', false)",
    "select set_config('session_authorization', 'postgres', false)",
  ])('%s gains nothing (imm-073)', async (query, { sql, alice }) => {
    expect((await post(sql, alice, { query })).json).toMatchObject({ code: '42501' });
    const { json } = await post(sql, alice, { query: 'select current_user as u' });
    expect(resultOf(json).rows).toEqual([{ u: alice.name }]);
  });
});

describe('modes', () => {
  const query = "select 1 as a, 'x' as a, true as b";

  test('array mode keeps columns of one name apart, object mode does as pg does', async ({ sql, alice }) => {
    expect(resultOf((await post(sql, alice, { query }, { headers: RAW })).json)).toMatchObject({
      rowAsArray: true,
      rows: [['1', 'x', 't']],
    });
    const { json } = await post(sql, alice, { query }, { headers: { 'neon-raw-text-output': 'true' } });
    expect(resultOf(json)).toMatchObject({ rowAsArray: false, rows: [{ a: 'x', b: 't' }] });
  });

  test('only the word true counts, and a query has the last word', async ({ sql, alice }) => {
    for (const value of ['TRUE', '1', 'yes', 'true, true', '']) {
      const headers = { 'neon-raw-text-output': value, 'neon-array-mode': value };
      expect(resultOf((await post(sql, alice, { query }, { headers })).json).rows).toEqual([{ a: 'x', b: true }]);
    }
    const { json } = await post(sql, alice, { query, arrayMode: false }, { headers: RAW });
    expect(resultOf(json).rowAsArray).toBe(false);
    const batch = await post(
      sql,
      alice,
      { queries: [{ query }, { query, arrayMode: true }, { query, arrayMode: false }] },
      { headers: { 'neon-array-mode': 'true' } },
    );
    expect(resultsOf(batch.json).map(({ rows }) => rows)).toEqual([[[1, 'x', true]], [[1, 'x', true]], [{ a: 'x', b: true }]]);
  });

  test('without raw text, numbers that a double holds, booleans and JSON are values of JSON', async ({ sql, alice }) => {
    await post(sql, alice, { query: "create type neon_mood as enum ('good', 'so, so')" });
    const { json } = await post(
      sql,
      alice,
      {
        query: `select 1::int2, 2::int4, 9007199254740993::int8, 1.50::numeric, 0.1::float4, -1e-7::float8, 'NaN'::float8,
          '-Infinity'::float4, true, null::bool, '{"a": [1, null]}'::json, '"x"'::jsonb, '7'::jsonb, '\\x00ff'::bytea,
          '2020-01-02'::date, array[1, null, 3], array[[true], [false]], '[2:3]={4,5}'::int4[], array['a,b', 'c"d', null, 'NULL'],
          array['{"a": 1}'::jsonb], '{1.5,NaN}'::float8[], array[1::int8], array[]::int4[], array['so, so'::neon_mood],
          array[point(1, 2)], '{(2,2),(1,1);(3,3),(2,2)}'::box[], row(1, 2), '[1,2)'::int4range`,
      },
      { headers: { 'neon-array-mode': 'true' } },
    );
    const numbers = [1, 2, '9007199254740993', '1.50', 0.1, -1e-7, 'NaN', '-Infinity'];
    const others = [true, null, { a: [1, null] }, 'x', 7, '\\x00ff', '2020-01-02'];
    const arrays = [[1, null, 3], [[true], [false]], [4, 5], ['a,b', 'c"d', null, 'NULL'], [{ a: 1 }], [1.5, 'NaN'], ['1'], []];
    const made = [['so, so'], ['(1,2)'], ['(2,2),(1,1)', '(3,3),(2,2)'], '(1,2)', '[1,2)'];
    expect(resultOf(json).rows[0]).toEqual([...numbers, ...others, ...arrays, ...made]);
  });
});

describe('parameters', () => {
  test.for([
    ['text', 'a "quoted" \\ text\n\té', 'a "quoted" \\ text\n\té'],
    ['int4', 42, '42'],
    ['float8', -0.5, '-0.5'],
    ['bool', true, 't'],
    ['text', null, null],
    ['jsonb', { a: [1, 'x'], b: null }, '{"a": [1, "x"], "b": null}'],
    ['int4[]', [1, null, 3], '{1,NULL,3}'],
    ['bool[]', [[true], [false]], '{{t},{f}}'],
    ['text[]', ['a,b', 'c"d\\', '', 'NULL', null], '{"a,b","c\\"d\\\\","","NULL",NULL}'],
    ['jsonb[]', [{ a: 'x"y' }], '{"{\\"a\\": \\"x\\\\\\"y\\"}"}'],
    ['bytea', '\\x00ff', '\\x00ff'],
  ] as const)('%s %j arrives', async ([type, value, text], { sql, alice }) => {
    const { json } = await post(sql, alice, { query: `select $1::${type}`, params: [value] }, { headers: RAW });
    expect(resultOf(json).rows).toEqual([[text]]);
  });

  test('a number that JSON has lost digits of is refused rather than stored', async ({ sql, alice }) => {
    for (const number of ['9007199254740993', '[[1e400]]', '{"a": -12345678901234567890}']) {
      const { status, json } = await post(sql, alice, `{"query":"select $1::text","params":[${number}]}`);
      expect([status, json]).toMatchObject([400, { message: expect.stringContaining('must be sent as a string') as string }]);
    }
  });

  test('too many, a NUL or half a surrogate are errors of the database', async ({ sql, alice }) => {
    const many = Array.from({ length: 65_536 }, () => null);
    expect((await post(sql, alice, { query: 'select 1', params: many })).json).toMatchObject({ code: '08P01' });
    for (const params of [['\0'], ['\ud800']]) {
      expect((await post(sql, alice, { query: 'select $1', params })).json).toMatchObject({ code: '22021' });
    }
    expect((await post(sql, alice, { query: 'select 1', params: ['1'] })).json).toMatchObject({ code: '08P01' });
  });
});

describe('a request that is none', () => {
  test.for([
    ['{', 'the body is not JSON'],
    ['{"query":1}', 'the body is neither'],
    ['{"queries":[{"params":[]}]}', 'the body is neither'],
    ['[]', 'the body is neither'],
  ] as const)('%s is 400 in JSON, which the driver reads', async ([body, message], { sql, alice }) => {
    const { status, json } = await post(sql, alice, body);
    expect([status, json]).toMatchObject([400, { message: expect.stringContaining(message) as string, code: null }]);
  });

  test('another database does not exist', async ({ sql, alice, database }) => {
    const ask = async (name: string) =>
      post(sql, alice, { query: 'select 1' }, { headers: { 'x-postern-database': encodeURIComponent(name) } });
    const { status, json } = await ask('pöstgres');
    expect([status, json]).toMatchObject([
      400,
      { code: '3D000', severity: 'FATAL', message: 'database "pöstgres" does not exist' },
    ]);
    expect((await ask(new URL(database.url).pathname.slice(1))).status).toBe(200);
  });

  test('a body of more than 5 MiB is 413', async ({ sql, alice }) => {
    expect((await post(sql, alice, { query: 'select $1', params: ['x'.repeat(5_242_880)] })).status).toBe(413);
    const { json } = await post(sql, alice, { query: 'select length($1)', params: ['x'.repeat(5_000_000)] }, { headers: RAW });
    expect(resultOf(json).rows).toEqual([['5000000']]);
  });
});

describe('a batch', () => {
  test('is one transaction: what fails takes all of it back', async ({ sql, alice }) => {
    await post(sql, alice, { query: 'create table neon_batch (a int primary key)' });
    const insert = (a: number) => ({ query: 'insert into neon_batch values ($1) returning a, txid_current()', params: [a] });
    const done = await post(sql, alice, { queries: [insert(1), insert(2), { query: 'table neon_batch' }] }, { headers: RAW });
    const [first, second, third] = resultsOf(done.json);
    expect(second?.rows).toEqual([['2', (first?.rows[0] as string[] | undefined)?.[1]]]);
    expect(third).toMatchObject({ command: 'SELECT', rowCount: 2, rows: [['1'], ['2']] });
    const { status, json } = await post(sql, alice, { queries: [insert(3), insert(1), insert(4)] });
    expect([status, json]).toMatchObject([400, { code: '23505', constraint: 'neon_batch_pkey', table: 'neon_batch' }]);
    expect(resultOf((await post(sql, alice, { query: 'select count(*)::int as n from neon_batch' })).json).rows).toEqual([
      { n: 2 },
    ]);
  });

  test('may be empty', async ({ sql, alice }) => {
    expect((await post(sql, alice, { queries: [] })).json).toEqual({ results: [] });
  });

  test('of which the commit fails has no results', async ({ sql, alice }) => {
    await post(sql, alice, {
      queries: [
        { query: 'create table neon_parent (a int primary key)' },
        { query: 'create table neon_child (a int references neon_parent deferrable initially deferred)' },
      ],
    });
    const orphan = { query: 'insert into neon_child values (9) returning a' };
    for (const body of [orphan, { queries: [orphan, { query: 'select 1' }] }]) {
      const { status, json } = await post(sql, alice, body);
      expect([status, json]).toMatchObject([400, { code: '23503', table: 'neon_child' }]);
      expect(json).not.toHaveProperty('rows');
      expect(json).not.toHaveProperty('results');
    }
    expect(resultOf((await post(sql, alice, { query: 'table neon_child' })).json).rowCount).toBe(0);
  });

  test.for(['ReadUncommitted', 'ReadCommitted', 'RepeatableRead', 'Serializable'] as const)(
    'has the isolation level %s, and says so',
    async (level, { sql, alice }) => {
      const { headers, json } = await post(
        sql,
        alice,
        {
          queries: [
            { query: 'select upper(replace(current_setting($1), $2, $3)) as level', params: ['transaction_isolation', ' ', ''] },
          ],
        },
        { headers: { 'neon-batch-isolation-level': level } },
      );
      expect(resultsOf(json)[0]?.rows).toEqual([{ level: level.toUpperCase() }]);
      expect(headers.get('neon-batch-isolation-level')).toBe(level);
      expect(headers.get('neon-batch-read-only')).toBeNull();
    },
  );

  test('an isolation level that is not spelled so is 400, and nothing runs', async ({ sql, alice }) => {
    for (const level of ['serializable', 'READ COMMITTED', 'Serializable ,Serializable', 'constructor', 'Serializable; drop']) {
      const headers = { 'neon-batch-isolation-level': level };
      const { status, json } = await post(sql, alice, { queries: [{ query: 'create table neon_never (a int)' }] }, { headers });
      expect([status, json]).toMatchObject([400, { message: 'invalid isolation level' }]);
    }
    expect((await post(sql, alice, { query: 'table neon_never' })).json).toMatchObject({ code: '42P01' });
  });

  test('that is read only writes nothing, whatever it says first (imm-072)', async ({ sql, alice }) => {
    await post(sql, alice, { query: 'create table if not exists neon_read_only (a int)' });
    const headers = {
      'neon-batch-read-only': 'true',
      'neon-batch-deferrable': 'true',
      'neon-batch-isolation-level': 'Serializable',
    };
    const write = { query: 'insert into neon_read_only values (1)' };
    for (const first of [
      'select 1',
      'set transaction read write',
      "select set_config('transaction_read_only', 'off', true)",
      'set transaction_read_only = off',
      'begin read write',
    ]) {
      const { status, json } = await post(sql, alice, { queries: [{ query: first }, write] }, { headers });
      expect([first, status]).toEqual([first, 400]);
      expect((json as { readonly code: string }).code).toMatch(/25006|25001/);
    }
    const read = await post(sql, alice, { queries: [{ query: 'show transaction_deferrable' }] }, { headers });
    expect(resultsOf(read.json)[0]?.rows).toEqual([{ transaction_deferrable: 'on' }]);
    for (const [name, value] of Object.entries(headers)) expect(read.headers.get(name)).toBe(value);
    expect(resultOf((await post(sql, alice, { query: 'table neon_read_only' })).json).rowCount).toBe(0);
  });

  test.for([
    ['commit', false],
    ['/* x */ END', false],
    ['rollback', false],
    ['abort work', false],
    ["prepare transaction 'x'", false],
    ['rollback and chain', false],
    ['savepoint a', true],
    ['prepare transaction_of_mine as select 1', true],
  ] as const)(
    '%s in it: allowed is %s, for it would end the transaction (imm-070)',
    async ([query, isAllowed], { sql, alice }) => {
      const { status, json } = await post(sql, alice, { queries: [{ query }, { query: 'create temp table neon_t (a int)' }] });
      expect([status, json]).toMatchObject(isAllowed ? [200, {}] : [400, { code: '2D000' }]);
    },
  );

  test('goes back to its savepoints, and has cursors', async ({ sql, alice }) => {
    const queries = [
      'create temp table neon_s (a int)',
      'savepoint one',
      'insert into neon_s values (1)',
      'rollback work to savepoint one',
      'declare c cursor for select generate_series(1, 5)',
      'fetch 2 from c',
      'select count(*)::int from neon_s',
    ].map((query) => ({ query }));
    const { json } = await post(sql, alice, { queries }, { headers: RAW });
    const told = resultsOf(json).map(({ command, rowCount, rows }) => [command, rowCount, rows]);
    expect(told.slice(-3)).toEqual([
      ['DECLARE', null, []],
      ['FETCH', 2, [['1'], ['2']]],
      ['SELECT', 1, [['0']]],
    ]);
  });

  test('a hundred at a time do not mix', async ({ sql, alice }) => {
    const neon = neonFor(sql, alice);
    await neon`create table if not exists neon_many (n int, who text)`;
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_, n) => {
        const mark = `mark ${n}`;
        const [inserted, read] = await neon.transaction([
          neon`insert into neon_many values (${n}, ${mark}) returning n`,
          neon`select who from neon_many where n = ${n}`,
        ]);
        return [inserted?.rows, read?.rows];
      }),
    );
    expect(answers).toEqual(Array.from({ length: 100 }, (_, n) => [[{ n }], [{ who: `mark ${n}` }]]));
  });
});

describe('errors', () => {
  test.for([
    ['selec 1', []],
    ["select 'é', nocol from pg_class", []],
    ['select * from noexist', []],
    ['select nofunction(1)', []],
    ['select 1/0', []],
    ['select $1::int', ['x']],
    ['insert into neon_errors values (1, 1)', []],
    ['insert into neon_errors values (null, 1)', []],
    ['insert into neon_errors values (7, -1)', []],
    ["insert into neon_errors values (8, 'x'::neon_positive)", []],
    ['select neon_raise()', []],
    ['select (-1)::neon_positive', []],
  ] as const)('%s has every field that pg has', async ([text, values], { sql, alice, database }) => {
    await using direct = await overTcp(database.url, alice);
    await direct.query(`
      drop table if exists neon_errors; drop domain if exists neon_positive;
      create domain neon_positive as int constraint over_zero check (value > 0);
      create table neon_errors (a int primary key, b int check (b > 0));
      insert into neon_errors values (1, 1);
      create or replace function neon_raise() returns int language plpgsql as $$
        begin
          execute 'select nothing_there';
          return 1;
        end $$`);
    const told = await errorOf(neonFor(sql, alice).query(text, [...values]));
    const same = await errorOf(direct.query({ text, values: [...values] }));
    expect(told).toEqual(same);
    expect(told?.['code']).toMatch(/^[0-9A-Z]{5}$/);
    const batched = await errorOf(neonFor(sql, alice).transaction([neonFor(sql, alice).query(text, [...values])]));
    expect(batched).toEqual(same);
  });

  test('a role that cannot have a session is told so in the same form', async ({ startSql, alice, database }) => {
    const narrow = await startSql({ pool: { perRole: 1, waitMs: 1 } });
    const slow = post(narrow, alice, { query: 'select pg_sleep(60)' });
    await eventually(async () => expect(await sleepers(database, alice.name)).toBe(1));
    const { status, json } = await post(narrow, alice, { query: 'select 1' });
    expect(status).toBe(400);
    expect(json).toMatchObject({ code: '53300', severity: 'FATAL', detail: null });
    await database.query("select pg_cancel_backend(pid) from pg_stat_activity where usename = $1 and state = 'active'", [
      alice.name,
    ]);
    expect((await slow).json).toMatchObject({ code: '57014' });
  });

  test('an answer in another encoding is an error, not garbage', async ({ sql, alice }) => {
    for (const body of [
      { query: "select set_config('client_encoding', 'LATIN1', false), 'é'" },
      { queries: [{ query: 'set client_encoding to latin1' }, { query: "select 'é'" }] },
    ]) {
      const { status, json } = await post(sql, alice, body);
      const message: unknown = expect.stringContaining('client_encoding');
      expect([status, json]).toMatchObject([400, { message, detail: 'Statements may have been completed.' }]);
    }
    expect(resultOf((await post(sql, alice, { query: "select 'é' as e" })).json).rows).toEqual([{ e: 'é' }]);
  });
});

describe('limits', () => {
  test('an answer beyond the limit is 507, and a batch is taken back', async ({ startSql, alice }) => {
    const small = await startSql({ limits: { answerBytes: 1_000_000, spoolBytes: 65_536 } });
    await post(small, alice, { query: 'create table if not exists neon_large (a text)' });
    const query = "insert into neon_large select repeat('x', 1000) from generate_series(1, 20000) returning a";
    for (const body of [{ queries: [{ query: 'select 1' }, { query }] }, { query: "select repeat('x', 2000000)" }]) {
      const { status, json } = await post(small, alice, body, { headers: RAW });
      expect([status, json]).toMatchObject([507, { message: 'response is too large (max is 1000000 bytes)' }]);
    }
    expect(resultOf((await post(small, alice, { query: 'table neon_large' })).json).rowCount).toBe(0);
  });

  test('a large answer arrives whole, by way of a file, and so does a large value', async ({ startSql, alice }) => {
    const spooling = await startSql({ limits: { spoolBytes: 65_536 } });
    const { json } = await post(
      spooling,
      alice,
      {
        queries: [
          { query: "select n, repeat('é', 500) from generate_series(1, 5000) n" },
          { query: "select repeat('y', 3000000) as y, 1 as z" },
        ],
      },
      { headers: { 'neon-array-mode': 'true' } },
    );
    const [many, large] = resultsOf(json);
    expect(many?.rows.length).toBe(5_000);
    expect(many?.rows[4_999]).toEqual([5_000, 'é'.repeat(500)]);
    expect(large?.rows).toEqual([['y'.repeat(3_000_000), 1]]);
    const objects = await post(spooling, alice, { query: "select repeat('y', 3000000) as y, null as n, 1 as z" });
    expect(resultOf(objects.json).rows).toEqual([{ y: 'y'.repeat(3_000_000), n: null, z: 1 }]);
  });

  test('a caller who leaves leaves nothing behind', async ({ sql, alice, database }) => {
    for (const body of [
      { query: 'select pg_sleep(60), $1::text', params: ['neon leaves'] },
      { queries: [{ query: 'select 1' }, { query: 'select pg_sleep(60), $1::text', params: ['neon leaves'] }] },
    ]) {
      const leaving = new AbortController();
      const running = post(sql, alice, body, { signal: leaving.signal }).catch(() => undefined);
      await eventually(async () => expect(await sleepers(database, alice.name)).toBe(1));
      leaving.abort();
      await running;
      await eventually(async () => expect(await sleepers(database, alice.name)).toBe(0), { timeoutMs: 2_000 });
      break;
    }
    expect((await post(sql, alice, { query: 'select 1' })).status).toBe(200);
  });

  test('the cost guard holds, and what it refuses is not run', async ({ startSql, sql, alice }) => {
    const limited = async (limits: Limits) =>
      startSql({ limitTable: { roles: new Map([[alice.name, limits]]), groups: new Map(), keys: new Map() } });
    await post(sql, alice, { query: 'create table if not exists neon_guarded as select i from generate_series(1, 20000) i' });
    await post(sql, alice, { query: 'analyze neon_guarded' });
    const heavy = { query: 'select * from neon_guarded a, neon_guarded b' };
    const small = { query: 'insert into neon_guarded values ($1) returning i', params: ['-1'] };
    const cheap = await limited({ estimatedCostMax: 1_000 });
    for (const body of [heavy, { queries: [small, heavy] }, { queries: [{ query: 'do $$ begin end $$' }] }]) {
      const { status, json } = await post(cheap, alice, body);
      expect([status, json]).toMatchObject([
        400,
        { code: '54000', message: expect.stringContaining('estimatedCostMax') as string },
      ]);
    }
    expect((await post(cheap, alice, { query: 'selec 1' })).json).toMatchObject({ code: '42601' });
    expect((await post(cheap, alice, { queries: [small, { query: 'select $1::int', params: [1] }] })).status).toBe(200);
    for (const query of ['set search_path to pg_catalog', "select set_config('search_path', 'pg_catalog', true)"]) {
      const hidden = { queries: [{ query }, { query: 'table neon_guarded' }] };
      expect((await post(cheap, alice, hidden)).json).toMatchObject({ code: '54000' });
    }
    const some = { query: 'insert into neon_guarded select -2 from generate_series(1, 4000)' };
    expect((await post(cheap, alice, { queries: [some, some, some, small] })).json).toMatchObject({ code: '54000' });
    const few = await limited({ rowsMax: 10, statementTimeMs: 2_000, resultBytesMax: 5_000 });
    const refusals = ['table neon_guarded', "select repeat('x', 6000)", 'select pg_sleep(60)'];
    const codes = await Promise.all(refusals.map(async (query) => (await post(few, alice, { query })).json));
    expect(codes).toMatchObject([{ code: '53200' }, { code: '53200' }, { code: '57014' }]);
    expect((await post(few, alice, { query: 'select generate_series(1, 10)' })).status).toBe(200);
    const { json } = await post(sql, alice, { query: 'select count(*)::int as n from neon_guarded where i < 0' });
    expect(resultOf(json).rows).toEqual([{ n: 1 }]);
  });

  test('a request that takes too long, and one whose credential is revoked, end with 57014', async ({
    startSql,
    auth,
    alice,
    database,
  }) => {
    const hasty = await startSql({ limits: { requestMs: 500 } });
    const query = 'select pg_sleep(60)';
    expect((await post(hasty, alice, { query })).json).toMatchObject({
      code: '57014',
      message: 'canceling statement due to statement timeout',
    });
    const sql = await startSql();
    const revoked = post(sql, alice, { queries: [{ query: 'select 1' }, { query }] });
    await eventually(async () => expect(await sleepers(database, alice.name)).toBe(1));
    auth.revoke(alice.principal);
    expect((await revoked).json).toMatchObject({ code: '57014', message: expect.stringContaining('revoked') as string });
    expect(await sleepers(database, alice.name)).toBe(0);
  });
});

const sleepers = async (
  database: { query(statement: string, values: readonly unknown[]): Promise<{ rowCount: number | null }> },
  name: string,
) =>
  (
    await database.query("select from pg_stat_activity where usename = $1 and state = 'active' and query like '%pg_sleep%'", [
      name,
    ])
  ).rowCount;

describe('the driver', () => {
  test('tells of a query what pg tells', async ({ sql, alice, database }) => {
    await using direct = await overTcp(database.url, alice);
    const neon = neonFor(sql, alice);
    const text = "select $1::int as a, $2::text[] as b, now() - now() as c, $3::bytea as d, $4::jsonb as e, 'x' as e";
    const values = [1, ['a', 'b "c"', null], Buffer.from([0, 255]), { x: [1] }];
    const told = await neon.query(text, values);
    expect(plain(told)).toEqual(plain(await direct.query(text, values)));
    expect(await neon`select ${1}::int + 1 as two`).toMatchObject({ rows: [{ two: 2 }], command: 'SELECT', rowCount: 1 });
  });

  test('commits and rolls back', async ({ sql, alice }) => {
    const neon = neonFor(sql, alice);
    await neon`create table if not exists neon_driver (a int primary key)`;
    const [, second] = await neon.transaction(
      [
        neon`insert into neon_driver values (1)`,
        neon`select a, current_setting('transaction_isolation') as level from neon_driver`,
      ],
      { isolationLevel: 'RepeatableRead' },
    );
    expect(second?.rows).toEqual([{ a: 1, level: 'repeatable read' }]);
    const failed = neon.transaction([neon`insert into neon_driver values (2)`, neon`insert into neon_driver values (1)`]);
    await expect(failed).rejects.toMatchObject({ name: 'NeonDbError', code: '23505' });
    expect((await neon`select * from neon_driver`).rows).toEqual([{ a: 1 }]);
    await expect(neon.transaction([neon`delete from neon_driver`], { readOnly: true })).rejects.toMatchObject({ code: '25006' });
  });

  test('reads every built-in type as pg does', async ({ sql, alice, database }) => {
    await using direct = await overTcp(database.url, alice);
    const neon = neonFor(sql, alice);
    const { rows } = await database.query(
      `select format_type(t.oid, null) as name, t.typname from pg_type t
        where t.typnamespace = 'pg_catalog'::regnamespace and t.typtype in ('b', 'r', 'm') and t.typelem = 0 or t.typname in ('point', 'lseg', 'box', 'line', 'name', 'oidvector', 'int2vector')
        order by t.oid`,
    );
    for (const { name, typname } of rows as { readonly name: string; readonly typname: string }[]) {
      const samples = SAMPLES[typname];
      if (samples === null) continue;
      expect(samples, `a sample of ${typname}`).toBeDefined();
      for (const sample of samples ?? []) {
        const text = `select $1::${name} as one, array[$1::${name}, null] as many, null::${name} as none`;
        const told = await neon.query(text, [sample]);
        expect(plain(told), `${name} ${sample}`).toEqual(plain(await direct.query(text, [sample])));
        expect(plainValue(told.rows[0]), name).toHaveProperty('none', null);
      }
    }
  });
});

/** Null: a type of which no value can be written down. */
const SAMPLES: Readonly<Record<string, readonly string[] | null>> = {
  bool: ['t', 'f'],
  bytea: ['\\x', '\\x00ff7f'],
  char: ['a'],
  name: ['some name'],
  int8: ['9223372036854775807', '-1'],
  int2: ['-32768'],
  int2vector: ['1 2 3'],
  int4: ['2147483647'],
  regproc: ['pg_sleep'],
  text: ['', 'é "x" \\ \n {}', 'NULL'],
  oid: ['4294967295'],
  tid: ['(1,2)'],
  xid: ['4294967295'],
  cid: ['7'],
  oidvector: ['1 2'],
  json: ['{"a": [1, null, "é"]}', '7', 'null'],
  xml: ['<a>é</a>'],
  pg_node_tree: null,
  pg_ndistinct: null,
  pg_dependencies: null,
  pg_mcv_list: null,
  pg_brin_bloom_summary: null,
  pg_brin_minmax_multi_summary: null,
  pg_ddl_command: null,
  xid8: ['18446744073709551615'],
  point: ['(1.5,-2)'],
  lseg: ['[(1,2),(3,4)]'],
  path: ['((1,2),(3,4))', '[(1,2),(3,4)]'],
  box: ['(3,4),(1,2)'],
  polygon: ['((1,2),(3,4),(5,6))'],
  line: ['{1,-1,0}'],
  float4: ['1.5', 'NaN', '-Infinity', '1e-30'],
  float8: ['0.1', 'Infinity', '1e300', '-0'],
  unknown: ['x'],
  circle: ['<(1,2),3>'],
  money: ['12.34'],
  macaddr: ['08:00:2b:01:02:03'],
  macaddr8: ['08:00:2b:01:02:03:04:05'],
  inet: ['192.168.0.1/24', '::1'],
  cidr: ['10.0.0.0/8'],
  aclitem: ['=r/postgres'],
  bpchar: ['abc'],
  varchar: ['é'],
  date: ['2020-02-29', '0044-03-15 BC', 'infinity', '10000-01-01'],
  time: ['23:59:59.999999'],
  timestamp: ['2020-01-02 03:04:05.678901', 'infinity', '0044-03-15 01:02:03 BC'],
  timestamptz: ['2020-01-02 03:04:05.678901+05:30', '-infinity'],
  interval: ['1 year 2 mons -3 days 04:05:06.7', '00:00:00'],
  timetz: ['01:02:03.5+02'],
  bit: ['1'],
  varbit: ['10101'],
  numeric: ['123456789012345678901234567890.12345', 'NaN', '-0.00'],
  refcursor: ['c'],
  regprocedure: ['pg_sleep(double precision)'],
  regoper: ['pg_catalog.||/'],
  regoperator: ['+(integer,integer)'],
  regclass: ['pg_class'],
  regcollation: ['"C"'],
  regtype: ['integer'],
  regrole: ['postgres'],
  regnamespace: ['pg_catalog'],
  regdatabase: ['postgres'],
  uuid: ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  pg_lsn: ['16/B374D848'],
  tsvector: ["'a':1 'b':2"],
  gtsvector: null,
  tsquery: ["'a' & 'b'"],
  regconfig: ['english'],
  regdictionary: ['simple'],
  jsonb: ['{"a": [1.50, null]}', '"x"'],
  jsonpath: ['$."a"[*]'],
  txid_snapshot: ['10:20:10,14'],
  pg_snapshot: ['10:20:10,14'],
  int4range: ['[1,3)', 'empty'],
  numrange: ['(1.5,)'],
  tsrange: ['["2020-01-01 00:00:00","2020-01-02 00:00:00")'],
  tstzrange: ['["2020-01-01 00:00:00+00",)'],
  daterange: ['[2020-01-01,2020-01-05)'],
  int8range: ['(,5)'],
  int4multirange: ['{[1,3),[5,7)}'],
  nummultirange: ['{}'],
  tsmultirange: ['{["2020-01-01 00:00:00","2020-01-02 00:00:00")}'],
  tstzmultirange: ['{["2020-01-01 00:00:00+00",)}'],
  datemultirange: ['{[2020-01-01,2020-01-05)}'],
  int8multirange: ['{(,5)}'],
};
