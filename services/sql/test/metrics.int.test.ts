/** Metrics that are defined by SQL, as Prometheus would read them. */
import { PRINCIPAL_HEADER } from '@postern/contracts/common';
import { expect } from 'vitest';

import { shippedMetrics } from '../src/domain/shipped-metrics.ts';
import type { MetricFamily, MetricPage } from '../src/domain/sql-metrics.ts';
import { METRIC_PAGES } from '../src/domain/sql-metrics.ts';
import type { AuthStub, Person, RunningSql } from './sql-test.ts';
import { sqlTest as test } from './sql-test.ts';

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Takes only what the text format (0.0.4) allows: every line, every escape, one block a family, no series twice. */
function readPrometheus(text: string): { readonly families: ReadonlySet<string>; readonly samples: readonly Sample[] } {
  expect(text === '' || text.endsWith('\n')).toBe(true);
  const families = new Set<string>();
  const series = new Set<string>();
  const samples: Sample[] = [];
  const lines = text.split('\n').slice(0, -1);
  for (const [at, line] of lines.entries()) {
    const help = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) ((?:[^\\]|\\\\|\\n)*)$/.exec(line);
    if (help !== null) {
      expect(families.has(help[1] ?? ''), `${line}: a family has one block`).toBe(false);
      expect(lines[at + 1]).toBe(`# TYPE ${help[1]} gauge`);
      families.add(help[1] ?? '');
      continue;
    }
    if (line.startsWith('# TYPE ')) {
      expect(lines[at - 1]?.startsWith('# HELP '), line).toBe(true);
      continue;
    }
    const label = String.raw`[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\\\|\\"|\\n)*"`;
    const found = new RegExp(
      String.raw`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{${label}(?:,${label})*\})? (NaN|[+-]Inf|[+-]?[0-9.]+(?:e[+-]?\d+)?)$`,
      'i',
    ).exec(line);
    if (found === null) throw new RangeError(`not a line of the text format: ${line}`);
    const [, name = '', block = '', value = ''] = found;
    expect([...families].at(-1), line).toBe(name);
    expect(series.has(name + block), `${line}: a series is there once`).toBe(false);
    series.add(name + block);
    const labels = [...block.matchAll(/([a-zA-Z0-9_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = '', raw = '']) => [
      key,
      raw.replaceAll(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped)),
    ]);
    expect(new Set(labels.map(([key]) => key)).size, line).toBe(labels.length);
    samples.push({
      name,
      labels: Object.fromEntries(labels) as Record<string, string>,
      value: Number(value.replace('Inf', 'Infinity')),
    });
  }
  return { families, samples };
}

const scrape = async (sql: RunningSql, auth: AuthStub, person: Person, page: MetricPage): Promise<string> => {
  const headers = { [PRINCIPAL_HEADER]: await auth.assertion(person.principal) };
  const response = await fetch(`${sql.origin}/metrics/${page}`, { headers });
  const text = await response.text();
  expect(response.status, text).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  return text;
};

const family = (name: string, query: string, more: Partial<MetricFamily> = {}): MetricFamily => ({
  name,
  help: `About ${name}`,
  query,
  value: 'value',
  series: 1_000,
  timeoutMs: 5_000,
  ...more,
});

test('what is shipped is valid on every page, and every family of it that the server can tell of is there', async ({
  database,
  sql,
  auth,
  alice,
}) => {
  await database.query('create table public.counted (n integer primary key); create view public.seen as select 1 as one');
  for (const page of METRIC_PAGES) {
    const { families } = readPrometheus(await scrape(sql, auth, alice, page));
    const expected = shippedMetrics[page].filter(({ requires }) => requires === undefined).map(({ name }) => name);
    expect([...families]).toEqual(expected);
  }
  const { samples } = readPrometheus(await scrape(sql, auth, alice, 'mz_usage'));
  const valueOf = (name: string): number | undefined => samples.find((sample) => sample.name === name)?.value;
  expect(valueOf('mz_tables_count')).toBe(1);
  expect(valueOf('mz_views_count')).toBe(1);
  expect(samples).toContainEqual({ name: 'mz_indexes_count', labels: { relation_type: 'table' }, value: 1 });
  expect((await sql.metrics.getSingleMetric('postern_sql_metrics_skipped_total')?.get())?.values).toEqual([]);
});

test('the designated column is the value, the others are labels, whatever they hold', async ({ startSql, auth, alice }) => {
  const query = `select * from (values ('plain', 1.5, null), (E'a"b\\\\c\\nd', 'NaN', 'é'), ('none', null, ''), ('word', 'Infinity'::numeric, 'x')) t(kind, amount, more)`;
  const sql = await startSql({ metricPages: { mz_usage: [family('made_up', query, { value: 'amount' })] } });
  const { samples } = readPrometheus(await scrape(sql, auth, alice, 'mz_usage'));
  expect(samples).toEqual([
    { name: 'made_up', labels: { kind: 'plain', more: '' }, value: 1.5 },
    { name: 'made_up', labels: { kind: 'a"b\\c\nd', more: 'é' }, value: Number.NaN },
    { name: 'made_up', labels: { kind: 'none', more: '' }, value: 0 },
    { name: 'made_up', labels: { kind: 'word', more: 'x' }, value: Infinity },
  ]);
});

test('a family that fails, is slow, writes, or has no value is skipped and counted, and the rest is there', async ({
  startSql,
  auth,
  alice,
  database,
}) => {
  const sql = await startSql({
    metricPages: {
      mz_compute: [
        family('first', 'select 1 as value'),
        family('broken', 'select nothing from nowhere'),
        family('slow', 'select 1 as value from pg_sleep(60)', { timeoutMs: 50 }),
        family('writes', 'create table public.left_behind (n int)'),
        family('two', 'select 1 as value; select 2 as value'),
        family('nameless', 'select 1, 2 as value'),
        family('valueless', 'select 1 as other'),
        family('fails_late', 'select 1 / (3 - n) as value, n from generate_series(1, 5) n'),
        family('needs', 'select 1 as value', { requires: 'no_such_extension' }),
        family('commits', 'commit'),
        family('copies', 'copy (select 1) to stdout'),
        family('between', 'select 3 as value'),
        family('ends', 'select pg_terminate_backend(pg_backend_pid())::int as value'),
        family('last', 'select 2 as value'),
      ],
    },
  });
  const { families, samples } = readPrometheus(await scrape(sql, auth, alice, 'mz_compute'));
  expect([...families]).toEqual(['first', 'between', 'last']);
  expect(samples.map(({ value }) => value)).toEqual([1, 3, 2]);
  const skipped = (await sql.metrics.getSingleMetric('postern_sql_metrics_skipped_total')?.get())?.values ?? [];
  expect(Object.fromEntries(skipped.map(({ labels }) => [labels['family'], labels['reason']]))).toEqual({
    broken: '42P01',
    slow: '57014',
    writes: '25006',
    two: '42601',
    nameless: 'label name',
    valueless: 'no value column',
    fails_late: '22012',
    commits: 'no rows',
    copies: '08006',
    ends: '57P01',
  });
  const { rows } = await database.query(`select count(*)::int as n from pg_class where relname = 'left_behind'`);
  expect(rows[0]?.['n']).toBe(0);
});

test('a family has no more series than its bound, and none twice', async ({ startSql, auth, alice }) => {
  const many = family('many', 'select n % 100 as k, n as value from generate_series(1, 10000) n', { series: 20 });
  const sql = await startSql({ metricPages: { mz_storage: [many] } });
  const { samples } = readPrometheus(await scrape(sql, auth, alice, 'mz_storage'));
  expect(samples).toHaveLength(20);
  expect(samples[0]).toEqual({ name: 'many', labels: { k: '1' }, value: 1 });
});

/** Metrics of a service's own login would show everyone's rows to whoever scrapes. */
test('a page is read as whoever asks for it: what they may not read is not there', async ({
  startSql,
  auth,
  alice,
  bob,
  database,
}) => {
  await database.query(
    `create table public.private (n integer); insert into public.private values (7); grant select on public.private to ${JSON.stringify(alice.name)}`,
  );
  const sql = await startSql({
    metricPages: { mz_usage: [family('mine', 'select n as value, session_user as who from public.private')] },
  });
  expect(readPrometheus(await scrape(sql, auth, alice, 'mz_usage')).samples).toEqual([
    { name: 'mine', labels: { who: alice.name }, value: 7 },
  ]);
  expect(await scrape(sql, auth, bob, 'mz_usage')).toBe('');
});

test('what a family sets is gone when the next one is read', async ({ startSql, auth, alice }) => {
  const sets = family('sets', `select set_config('application_name', 'changed', true) as name, 1 as value`);
  const reads = family('reads', `select current_setting('application_name') as name, 1 as value`);
  const sql = await startSql({ metricPages: { mz_frontier: [sets, reads] } });
  const { samples } = readPrometheus(await scrape(sql, auth, alice, 'mz_frontier'));
  expect(samples.map(({ labels }) => labels['name'])).toEqual(['changed', 'postern']);
});

test('the totals of pg_stat_statements are there when the extension is', async ({ sql, auth, alice, database }) => {
  const available = await database.query(`select from pg_available_extensions where name = 'pg_stat_statements'`);
  if (available.rowCount === 0) return;
  await database.query('create schema elsewhere; create extension pg_stat_statements schema elsewhere');
  const text = await scrape(sql, auth, alice, 'mz_compute');
  const skipped = (await sql.metrics.getSingleMetric('postern_sql_metrics_skipped_total')?.get())?.values ?? [];
  const { families } = readPrometheus(text);
  // Its view answers only where the server has loaded the library.
  const isLoaded = (await database.query(`select current_setting('shared_preload_libraries') as l`)).rows[0]?.['l'];
  if (String(isLoaded).includes('pg_stat_statements')) expect(families).toContain('postern_pg_statements_calls');
  else expect(skipped.map(({ labels }) => labels['family'])).toContain('postern_pg_statements_calls');
});
