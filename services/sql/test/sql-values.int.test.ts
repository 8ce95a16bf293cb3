/** Every kind of value, from the server itself to the JSON text of the answer. */
import { describe, expect } from 'vitest';

import { sqlTest as test } from './sql-test.ts';

/** The JSON text of the one value that `expression` has. */
const table: readonly (readonly [expression: string, json: string])[] = [
  ['true', 'true'],
  ['false', 'false'],
  ['null::int', 'null'],
  ['3::int2', '"3"'],
  ['3', '"3"'],
  ['9007199254740993', '"9007199254740993"'],
  ['-9223372036854775808', '"-9223372036854775808"'],
  ['1.10::numeric', '"1.10"'],
  ['1e20::numeric', '"100000000000000000000"'],
  ["'NaN'::numeric", '"NaN"'],
  ["'-Infinity'::numeric", '"-Infinity"'],
  ['4294967295::oid', '"4294967295"'],
  ["'pg_class'::regclass", '"1259"'],
  ["'pg_catalog.pg_class'::regclass", '"1259"'],
  ['0::regclass', '"0"'],
  ["'int4'::regtype", '"23"'],
  ["'int4[]'::regtype", '"1007"'],
  ["'timestamp with time zone'::regtype", '"1184"'],
  ["'now'::regproc", '"1299"'],
  ["array['pg_class'::regclass, 'pg_type'::regclass]", '["1259","1247"]'],
  [`'r'::"char"`, '"r"'],
  ['1::float8', '"1.0"'],
  ['0.1::float8', '"0.1"'],
  ['0.1::float4', '"0.1"'],
  ['1e300::float8', '"1e+300"'],
  ["'NaN'::float8", '"NaN"'],
  ["'Infinity'::float8", '"Infinity"'],
  ["'-Infinity'::float4", '"-Infinity"'],
  ["'a\"b\\c'::text", '"a\\"b\\\\c"'],
  ["E'\\n\\u0001é😀'", '"\\n\\u0001é😀"'],
  ["'ab'::char(4)", '"ab  "'],
  ["'ab'::varchar", '"ab"'],
  ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"'],
  ["'1 day 2 hours'::interval", '"1 day 02:00:00"'],
  ["'2023-12-19'::date", '"2023-12-19"'],
  ["'12:30:00.5'::time", '"12:30:00.5"'],
  ["'[1,5)'::int4range", '"[1,5)"'],
  ["'{[1,3)}'::int4multirange", '"{[1,3)}"'],
  ["'=r/postgres'::aclitem", '"=r/postgres"'],
  ["'10.0.0.1/8'::inet", '"10.0.0.1/8"'],
  ["timestamp '2023-12-19 12:30:37.123056'", '"1702989037123.056"'],
  ["timestamptz '2023-12-19 12:30:37.123056+02'", '"1702981837123.056"'],
  ["timestamp 'epoch'", '"0.000"'],
  ["timestamp '1969-12-31 23:59:59.999999'", '"-0.001"'],
  ["timestamp '0044-03-15 12:00:00 BC'", '"-63517780800000.000"'],
  ["timestamp '294276-12-31 23:59:59.999999'", '"9224318015999999.999"'],
  ["timestamptz 'infinity'", '"Infinity"'],
  ["timestamp '-infinity'", '"-Infinity"'],
  ["'\\x00ff10'::bytea", '[0,255,16]'],
  ["''::bytea", '[]'],
  [`'{"a": 1.10, "b": [1e2, null, "x"]}'::jsonb`, '{"a": 1.10, "b": [100, null, "x"]}'],
  ["'1.10'::jsonb", '"1.10"'],
  ["'null'::jsonb", 'null'],
  [`'"x"'::jsonb`, '"x"'],
  [`'{"z":1,"a":1.0}'::json`, '{"z":1,"a":1.0}'],
  ['array[1]', '["1"]'],
  ['array[[1,2],[3,null]]', '[["1","2"],["3",null]]'],
  ["'{}'::text[]", '[]'],
  ["'[2:3]={1,2}'::int[]", '["1","2"]'],
  [`array['a,b', 'NULL', '"', '\\', '{', '']`, '["a,b","NULL","\\"","\\\\","{",""]'],
  ["array['\\x01'::bytea]", '[[1]]'],
  ['array[\'{"a":1}\'::jsonb]', '[{"a": 1}]'],
  ["array[timestamp 'epoch']", '["0.000"]'],
  ["array['10.0.0.1'::inet]", '["10.0.0.1"]'],
  ["array[box '(1,1),(0,0)', box '(2,2),(1,1)']", '["(1,1),(0,0)","(2,2),(1,1)"]'],
  ["row(1, 'x')", '"(1,x)"'],
];

describe('in both modes', () => {
  test.for(table)('%s is %s', async ([expression, json], { sql, alice }) => {
    const query = `select ${expression} as v`;
    for (const body of [{ query }, { queries: [{ query }] }]) {
      const { text } = await sql.send(alice, body);
      expect(text.slice(text.indexOf('"rows":') + 7, text.lastIndexOf(',"tag":'))).toBe(`[[${json}]]`);
      expect(() => JSON.parse(text) as unknown).not.toThrow();
    }
  });
});

const STYLES = ['ISO', 'SQL, DMY', 'SQL, MDY', 'German', 'Postgres, MDY', 'Postgres, DMY'];
const ZONES = ['UTC', 'Asia/Tokyo', 'America/New_York', 'Europe/Berlin', 'Asia/Kathmandu', 'UTC+3', '<+03>-5'];

test('a value does not depend on what the session prints by', async ({ sql, alice }) => {
  const value = `timestamptz '2023-07-09 12:30:37.123056+00', timestamp '2023-03-04 12:30:37.123056', 0.1::float8, '\\x5c00'::bytea,
    'ab'::bytea, array[timestamptz '2023-11-05 06:30:00+00', null], array[[timestamp 'infinity'], [timestamp '2023-03-04']]`;
  const arrays = [
    ['1699165800000.000', null],
    [['Infinity'], ['1677888000000.000']],
  ];
  const expected = [['1688905837123.056', '1677933037123.056', '0.1', [92, 0], [97, 98], ...arrays]];
  for (const style of STYLES) {
    for (const zone of ZONES) {
      const settings = { datestyle: style, timezone: zone, bytea_output: 'escape', extra_float_digits: '0' };
      const query = `?options=${encodeURIComponent(JSON.stringify(settings))}`;
      for (const body of [{ query: `select ${value}` }, { queries: [{ query: `select ${value}` }] }]) {
        const { results } = await sql.send(alice, body, { query });
        expect(results[0]?.rows, `${style} in ${zone}`).toEqual(expected);
      }
      const later = await sql.extended(alice, [`set datestyle = ${style}`], [`set timezone = '${zone}'`], [`select ${value}`]);
      expect(later.at(-1)?.rows, `${style} in ${zone}, later`).toEqual(expected);
    }
  }
});

/** Which of its numbers is the month, and what its zone means, could only be guessed. */
test.for([
  ["set datestyle='SQL, European'", '04/03/2020 00:00:00'],
  ["set datestyle='German'; set datestyle='SQL'", '04/03/2020 00:00:00'],
  ["set datestyle='SQL,DMY'; reset datestyle; set datestyle='SQL'", '03/04/2020 00:00:00'],
  ["set datestyle='SQL,MDY'; begin; set local datestyle='SQL,DMY'; commit", '03/04/2020 00:00:00'],
  ["set datestyle='SQL,DMY'; select set_config('datestyle','SQL,MDY',false)", '03/04/2020 00:00:00'],
  ["do $$ begin set datestyle='SQL,DMY'; end $$", '04/03/2020 00:00:00'],
  ["set datestyle='German'", '1583280000000.000'],
  ["set datestyle='Postgres,DMY'", '1583280000000.000'],
  ["set timezone='Asia/Tokyo'", '1583280000000.000'],
] as const)('in one string, %s is followed by %s', async ([before, expected], { sql, alice }) => {
  const entries = await sql.simple(alice, `${before}; select timestamp '2020-03-04'`);
  expect(entries.at(-1)?.rows).toEqual([[expected]]);
});

test('in one string, a zone that is not a number of the ISO style is left as it is', async ({ sql, alice }) => {
  const before = "set datestyle='SQL'; set timezone='Europe/Berlin'; begin; set local timezone='Asia/Tokyo'; commit";
  const entries = await sql.simple(alice, `${before}; select timestamptz '2020-01-01 00:00+00'`);
  expect(entries.at(-1)?.rows).toEqual([['01/01/2020 01:00:00 CET']]);
});

test('composite types are objects, with their own types inside, also just after a change', async ({ sql, alice }) => {
  await sql.simple(
    alice,
    `create type val_point as (x int, "Y ""y""" float8);
     create type val_mood as enum ('fine', 'so so');
     create domain val_positive as int check (value > 0);
     create domain val_list as int[];
     create table val_t (id val_positive, at timestamptz, p val_point, ps val_point[], mood val_mood, moods val_mood[], list val_list, j jsonb)`,
  );
  await sql.simple(
    alice,
    `insert into val_t values (1, 'epoch', (1, 2), array[(3, 4)::val_point, null], 'so so', array['fine', 'so so']::val_mood[], '{1,2}', '{"a":1}')`,
  );
  const object = {
    id: '1',
    at: '0.000',
    p: { x: '1', 'Y "y"': '2.0' },
    ps: [{ x: '3', 'Y "y"': '4.0' }, null],
    mood: 'so so',
    moods: ['fine', 'so so'],
    list: ['1', '2'],
    j: { a: 1 },
  };
  const [entry] = await sql.simple(alice, 'select val_t, array[val_t], p, mood, list from val_t');
  expect(entry?.rows).toEqual([[object, [object], object.p, 'so so', ['1', '2']]]);
  await sql.simple(
    alice,
    'alter table val_t drop column ps, drop column moods, drop column mood, drop column list; alter table val_t add column n int default 7',
  );
  await sql.simple(alice, 'alter table val_t rename column at to moment');
  const [changed] = await sql.simple(alice, 'select val_t from val_t');
  expect(changed?.rows).toEqual([[{ id: '1', moment: '0.000', p: object.p, j: { a: 1 }, n: '7' }]]);
});

test('a composite type is shown as text while its own request changes it, and the answer is JSON', async ({ sql, alice }) => {
  await sql.simple(alice, 'create type val_ct as (a int, b text, j jsonb)');
  const value = `row('x"y', 'q', '{')::val_ct`;
  const text = String.raw`("x""y",q,{)`;
  const alter = 'alter type val_ct alter attribute a type text, alter attribute j type text';
  const [, , , altered] = await sql.simple(alice, `begin; ${alter}; select ${value} as rolled; select ${value}; rollback`);
  expect(altered?.rows).toEqual([[text]]);
  const extended = await sql.extended(alice, ['begin'], [alter], [`select array[${value}]`], ['rollback']);
  expect(extended[2]?.rows).toEqual([[[text]]]);
  const before = await sql.simple(alice, `select row(1, 'q', '{}')::val_ct; alter type val_ct rename attribute a to renamed`);
  expect(before[0]?.rows).toEqual([['(1,q,{})']]);
  const [after] = await sql.simple(alice, `select row(1, 'q', '{}')::val_ct`);
  expect(after?.rows).toEqual([[{ renamed: '1', b: 'q', j: {} }]]);
});

test('a composite type that a function is changing is shown as text', async ({ sql, alice }) => {
  await sql.simple(
    alice,
    `create type val_deep as (a int, j jsonb);
     create function val_change() returns int language plpgsql as $$ begin
       alter type val_deep rename attribute a to changed; alter type val_deep alter attribute j type text; return 1; end $$`,
  );
  const entries = await sql.extended(alice, ['begin'], ['select val_change()'], [`select row(1, '{}')::val_deep`], ['rollback']);
  expect(entries[2]?.rows).toEqual([['(1,{})']]);
  const [whole] = await sql.simple(alice, `select row(1, '{"a":1}')::val_deep`);
  expect(whole?.rows).toEqual([[{ a: '1', j: { a: 1 } }]]);
});

test('a type that no other session can see yet is shown as text', async ({ sql, alice }) => {
  // Large enough to be on its way before the string ends, and with it the transaction that made the type.
  const rows = "select row(1)::val_fresh, repeat('x', 10000) from generate_series(1, 2)";
  const entries = await sql.simple(alice, `create type val_fresh as (a int); ${rows}; select pg_sleep(1)`);
  expect(entries[1]?.rows?.map((row) => row[0])).toEqual(['(1)', '(1)']);
});

test('an object that is made in the request, hides another or has a name twice is shown by its own identifier', async ({
  sql,
  alice,
  database,
}) => {
  await database.query(
    'create schema val_one; create schema val_two; create table val_one.val_twice (); create table val_two.val_twice ()',
  );
  await database.query(`grant usage on schema val_one, val_two to ${alice.name}`);
  await sql.simple(alice, 'create table val_shadow (a int)');
  const names = (name: string): string =>
    `select '${name}'::regclass, '${name}'::regclass::oid, array['${name}'::regclass], '${name}'::regtype, '${name}'::regtype::oid`;
  const entries = await sql.extended(
    alice,
    ['set search_path = public, val_two, val_one'],
    [names('val_twice')],
    ['begin'],
    ['create temp table val_shadow (b int)'],
    [names('val_shadow')],
    ['drop table pg_temp.val_shadow'],
    [names('val_shadow')],
    ['create temp table val_shadow (c int)'],
    [names('val_shadow')],
    ['select $1::regclass = $2::regclass, $1::regclass', ['pg_class', 'pg_type']],
    ['rollback'],
  );
  const seen = [1, 4, 6, 8].map((at) => entries[at]?.rows?.[0] ?? []);
  for (const [name, oid, array, type, typeOid] of seen) {
    expect(name).toMatch(/^\d+$/);
    expect([name, array, type]).toEqual([oid, [oid], typeOid]);
  }
  expect(new Set(seen.map(([name]) => name)).size).toBe(4);
  expect(entries[9]?.rows).toEqual([[false, '1259']]);
});

test('in a string of several statements, names of objects are left as names', async ({ sql, alice }) => {
  const entries = await sql.simple(
    alice,
    "create table val_named (); select 'val_named'::regclass, array['int4'::regtype]; select 1",
  );
  expect(entries[1]?.rows).toEqual([['val_named', ['integer']]]);
});

test('every object of the catalog is its identifier, also in a large row', async ({ sql, alice }) => {
  for (const [kind, catalog] of [
    ['regclass', 'pg_class'],
    ['regproc', 'pg_proc'],
    ['regtype', 'pg_type'],
  ] as const) {
    const [entry] = await sql.simple(alice, `select oid, oid::${kind} from ${catalog}`);
    expect(entry?.rows?.length).toBeGreaterThan(300);
    for (const [oid, name] of entry?.rows ?? []) expect(name).toBe(oid);
  }
  const [large] = await sql.simple(alice, "select repeat('x', 300000), array(select oid::regproc from pg_proc), 'now'::regproc");
  const [, array, name] = large?.rows?.[0] ?? [];
  expect(array).toContain('1299');
  expect(name).toBe('1299');
});

test('what is asked for its columns first is otherwise the same', async ({ sql, alice }) => {
  const ask = async (query: string): Promise<unknown> => [await sql.simple(alice, query), await sql.extended(alice, [query])];
  const both = [
    "select 'pg_nothing'::regclass",
    'select pg_nothing()',
    "select 1 / (relname = 'pg_class')::int + 1 from pg_class",
    'select pg_typeof(1) where false',
    'values (1::regtype)',
  ];
  for (const query of both) {
    const [simple, extended] = (await ask(query)) as [unknown, unknown];
    expect(simple, query).toEqual(extended);
  }
  const [parameter] = await sql.simple(alice, 'select $1::regclass');
  expect(parameter?.error?.code).toBe('42P02');
  const made = await sql.extended(
    alice,
    ['create table pg_like (a regclass)'],
    ["insert into pg_like values ('pg_class') returning a"],
    ['vacuum pg_like'],
  );
  expect(made.map(({ ok, rows, error }) => ok ?? rows ?? error)).toEqual(['CREATE TABLE', [['1259']], 'VACUUM']);
  expect(
    (await sql.simple(alice, "select set_config('pg_x.y', 'z', true), 'pg_class'::regclass")).map(({ rows }) => rows),
  ).toEqual([[['z', '1259']]]);
});

test('a column says its type, its length and its modifier', async ({ sql, alice }) => {
  const [entry] = await sql.simple(alice, `select 1::numeric(10,2) as n, 'x'::varchar(5) as "é ""v""", null as u, 1::int2 as s`);
  expect(entry?.desc).toEqual({
    columns: [
      { name: 'n', type_oid: 1700, type_len: -1, type_mod: 655366 },
      { name: 'é "v"', type_oid: 1043, type_len: -1, type_mod: 9 },
      { name: 'u', type_oid: 25, type_len: -1, type_mod: -1 },
      { name: 's', type_oid: 21, type_len: 2, type_mod: -1 },
    ],
  });
});

test('a row without columns and a thousand columns are rows', async ({ sql, alice }) => {
  const [none, many] = await sql.simple(
    alice,
    `select from generate_series(1, 2); select ${Array.from({ length: 1_000 }, (_, at) => at).join(', ')}`,
  );
  expect(none).toMatchObject({ rows: [[], []], tag: 'SELECT 2', desc: { columns: [] } });
  expect(many?.rows).toEqual([Array.from({ length: 1_000 }, (_, at) => String(at))]);
});

/** Larger than any message may be held: the value passes through in pieces. */
test('values of many megabytes come out as they went in', async ({ sql, alice }) => {
  const entries = await sql.simple(
    alice,
    `select repeat('a"é', 500000), decode(repeat('00ff', 300000), 'hex'), jsonb_build_object('k', repeat('x', 400000)), array(select generate_series(1, 200000)), null, 7`,
  );
  const [text, bytes, object, array, nothing, seven] = entries[0]?.rows?.[0] ?? [];
  expect(text).toBe('a"é'.repeat(500_000));
  expect(bytes).toEqual(Array.from({ length: 600_000 }, (_, at) => (at % 2) * 255));
  expect(object).toEqual({ k: 'x'.repeat(400_000) });
  expect(array).toEqual(Array.from({ length: 200_000 }, (_, at) => String(at + 1)));
  expect([nothing, seven]).toEqual([null, '7']);
});
