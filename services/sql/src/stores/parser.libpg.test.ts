/** What could run without being estimated, told apart on PostgreSQL's own parse. */
import { expect, test } from 'vitest';

import { createParser } from './parser.libpg.ts';

const parser = await createParser();

const parts = (text: string): readonly string[] => {
  const verdict = parser.judge(text);
  if (verdict.kind !== 'statements') return [verdict.kind];
  const bytes = Buffer.from(text);
  return verdict.parts.map(({ kind, from, to, isUnsettling }) => {
    const what = kind === 'plan' ? `plan ${bytes.toString('utf8', from, to).trim()}` : kind;
    return isUnsettling ? `${what} !` : what;
  });
};

test('queries and changes of rows are planned, wherever they stand in a text', () => {
  expect(parts("/* é */ select 'é' ; insert into t values (1);\ntable t")).toEqual([
    "plan select 'é'",
    'plan insert into t values (1)',
    'plan table t',
  ]);
  expect(parts('declare c cursor for select 1; fetch c; move c; close c; execute p(1, -2, $1, null::text)')).toEqual([
    'plan declare c cursor for select 1',
    'pass !',
    'pass !',
    'pass',
    'plan execute p(1, -2, $1, null::text) !',
  ]);
});

test('what runs under another name is planned too, or refused', () => {
  expect(parts('explain select 1; explain (analyze, format json) select 1; explain analyze verbose (select 2)')).toEqual([
    'pass',
    'plan select 1',
    'plan (select 2)',
  ]);
  expect(parts('explain /* ) */ (analyze /* ) */ off) (select (2))')).toEqual(['plan (select (2))']);
  expect(parts('explain analyze execute p(1)')).toEqual(['plan execute p(1) !']);
  for (const text of [
    "do 'begin end'",
    'call f(1)',
    "copy (select 1) to '/x'",
    "copy t to program 'x'",
    'refresh materialized view v',
    'execute p(f())',
    'explain execute p(f())',
    'explain analyze execute p(f())',
    'explain analyze create table t as execute p(f())',
    'create table t as execute p(1 + 1)',
    'explain analyze refresh materialized view v',
    "select query_to_xml('select 1', true, true, '')",
    `select U&"query\\005fto\\005fxml"('select 1', true, true, '')`,
    "select * from ts_stat('select 1')",
    "select ts_rewrite(null, 'select 1')",
    "explain analyze select pg_catalog.table_to_xml('t', true, true, '')",
  ]) {
    expect([text, ...parts(text)]).toEqual([text, 'opaque !']);
  }
});

test('what a name means may change within a string', () => {
  expect(parts('create view v as select 1; set search_path = x; prepare p as select 1; select 1 into t; discard all')).toEqual([
    'pass !',
    'pass !',
    'pass !',
    'plan select 1 into t !',
    'pass !',
  ]);
  expect(
    parts("begin; set local statement_timeout = 1; set transaction read only; show timezone; set timezone = 'UTC'; rollback"),
  ).toEqual(Array.from({ length: 6 }, () => 'pass'));
  expect(parts('create table t as select 1')).toEqual(['plan create table t as select 1 !']);
  for (const text of [
    "select set_config('search_path', 'x', false)",
    `select pg_catalog."set_config"('search_path', 'x', false)`,
    "update pg_settings set setting = 'x' where name = 'search_path'",
    "with a as (update pg_catalog.pg_settings set setting = 'x' returning 1) table a",
  ]) {
    expect(parts(text)).toEqual([`plan ${text} !`]);
  }
  expect(parts("commit prepared 'a'; select setting from pg_settings")).toEqual([
    'pass !',
    'plan select setting from pg_settings',
  ]);
});

test('a transaction that ends takes along what it has set', () => {
  const verdict = parser.judge(
    "begin; commit; rollback; savepoint a; release a; rollback to a; abort; end; prepare transaction 'a'; commit and chain",
  );
  expect(verdict.kind === 'statements' && verdict.parts.map(({ endsTransaction }) => endsTransaction)).toEqual([
    false,
    true,
    true,
    false,
    false,
    true,
    true,
    true,
    true,
    true,
  ]);
});
