/** Real answers of the running service, held against what is published of them. */
import { PRINCIPAL_HEADER } from '@postern/contracts/common';
import { expect } from 'vitest';
import type { z } from 'zod';

import {
  CatalogDump,
  Check,
  CoordinatorDump,
  NeonError,
  NeonResult,
  NeonResults,
  SqlAnswer,
  SqlEntry,
  SqlError,
  SqlLine,
  SqlPage,
  SqlStatement,
  SqlStatements,
} from '../src/http/answers.ts';
import type { AuthStub, Person, RunningSql } from './sql-test.ts';
import { sqlTest as test } from './sql-test.ts';

interface Asked {
  readonly method?: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Told {
  readonly status: number;
  readonly text: string;
  readonly headers: Headers;
  readonly json: unknown;
}

const asking =
  (sql: RunningSql, auth: AuthStub, person: Person) =>
  async (path: string, { method = 'GET', body, headers = {} }: Asked = {}): Promise<Told> => {
    const response = await fetch(`${sql.origin}${path}`, {
      method,
      ...(body !== undefined && { body: JSON.stringify(body) }),
      headers: { 'content-type': 'application/json', [PRINCIPAL_HEADER]: await auth.assertion(person.principal), ...headers },
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.startsWith('application/json') === true;
    return { status: response.status, text, headers: response.headers, json: isJson ? JSON.parse(text) : undefined };
  };

/** Its fields are those that are published, and no others. */
function fits(schema: z.ZodType, value: unknown): void {
  const outcome = schema.safeParse(value);
  expect(outcome.error === undefined ? [] : outcome.error.issues, JSON.stringify(value).slice(0, 500)).toEqual([]);
}

test('every kind of entry is as it is published: rows, ok with and without settings, errors, notices', async ({
  sql,
  auth,
  alice,
}) => {
  const ask = asking(sql, auth, alice);
  const queries = [
    `select 1 as one, null, 'x', array[1], '{"a":1}'::jsonb, now(), 1.5::float8, true`,
    'select where false',
    `set application_name to 'other'`,
    'create temporary table t (n integer primary key); insert into t values (1) returning n; begin; commit',
    `do $$ begin raise warning 'careful' using detail = 'd', hint = 'h'; end $$`,
    'select nothing from nowhere',
    'select 1 1',
    'select 1/0',
    `do $$ begin raise exception 'no' using detail = 'd', hint = 'h', errcode = 'P0042'; end $$`,
    '',
  ];
  const kinds = new Set<string>();
  for (const query of queries) {
    const { status, json } = await ask('/api/sql', { method: 'POST', body: { query } });
    expect(status).toBe(200);
    fits(SqlAnswer, json);
    for (const entry of SqlAnswer.parse(json).results) {
      fits(SqlEntry, entry);
      for (const key of Object.keys(entry)) kinds.add(key);
      if (entry.notices.length > 0) kinds.add('notice');
    }
  }
  expect([...kinds].toSorted()).toEqual(['desc', 'error', 'notice', 'notices', 'ok', 'parameters', 'rows', 'tag']);
});

test('every line of a streamed answer is as it is published', async ({ sql, auth, alice }) => {
  const ask = asking(sql, auth, alice);
  const asked = { method: 'POST', headers: { accept: 'application/x-ndjson' } };
  const whole = await ask('/api/sql', {
    ...asked,
    body: { query: `select 1 as n; set application_name to 'x'; do $$ begin raise notice 'n'; end $$` },
  });
  const broken = await ask('/api/sql', { ...asked, body: { query: 'select 1 / (3 - n) from generate_series(1, 5) n' } });
  for (const { status, text } of [whole, broken]) {
    expect(status).toBe(200);
    for (const line of text.trimEnd().split('\n')) fits(SqlLine, JSON.parse(line));
  }
});

test('statements, their list and the pages of their results are as they are published', async ({ sql, auth, alice }) => {
  const ask = asking(sql, auth, alice);
  const begin = async (query: string): Promise<string> => {
    const { json, headers } = await ask('/api/sql/statements', {
      method: 'POST',
      body: { query },
      headers: { prefer: 'wait=20' },
    });
    fits(SqlStatement, json);
    return headers.get('location') ?? '';
  };
  const place = await begin('select n from generate_series(1, 5) n; select 2');
  const failed = await begin('select 1/0');
  fits(SqlStatements, (await ask('/api/sql/statements')).json);
  fits(SqlStatement, (await ask(place)).json);
  const first = (await ask(`${place}/results?limit=2`)).json;
  fits(SqlPage, first);
  const { next } = SqlPage.parse(first);
  expect(next).toBeTypeOf('string');
  fits(SqlPage, (await ask(`${place}/results?limit=100&page=${encodeURIComponent(next ?? '')}`)).json);
  fits(SqlPage, (await ask(`${failed}/results`)).json);
});

test('answers and errors of the Neon protocol are as they are published', async ({ sql, auth, alice }) => {
  const ask = asking(sql, auth, alice);
  const post = (body: unknown, headers = {}): Promise<Told> => ask('/sql', { method: 'POST', body, headers });
  fits(NeonResult, (await post({ query: 'select 1 as n', params: [] })).json);
  fits(NeonResult, (await post({ query: 'select 1 as n', params: [] }, { 'neon-array-mode': 'true' })).json);
  fits(
    NeonResults,
    (
      await post({
        queries: [
          { query: 'select 1', params: [] },
          { query: 'select $1::int', params: ['2'] },
        ],
      })
    ).json,
  );
  for (const body of [{ query: 'select 1/0', params: [] }, { wrong: true }]) {
    const { status, json } = await post(body);
    expect(status).toBe(400);
    fits(NeonError, json);
  }
});

test('dumps and checks are as they are published', async ({ sql, auth, alice, database }) => {
  const ask = asking(sql, auth, alice);
  await database.query(`
    create schema if not exists published;
    create table published.one (n integer primary key check (n > 0), m text);
    create view published.two as select * from published.one;
    create function published.three() returns integer language sql as 'select 3';
    create sequence published.four;
    create type published.five as enum ('a');
    create aggregate published.six(integer) (sfunc = int4pl, stype = integer);
    create publication published for table published.one;
    create statistics published.seven on n, m from published.one;
    alter default privileges in schema published grant select on tables to public`);
  fits(CatalogDump, (await ask('/api/catalog/dump')).json);
  fits(Check, (await ask('/api/catalog/check')).json);
  fits(CoordinatorDump, (await ask('/api/coordinator/dump')).json);
  fits(Check, (await ask('/api/coordinator/check')).json);
  await database.query('alter table published.one add constraint later check (n > 1) not valid');
  const { json } = await ask('/api/catalog/check');
  fits(Check, json);
  expect(json).toHaveProperty('err');
});

test('a session that cannot be had is as it is published', async ({ sql, auth, person, database }) => {
  const hal = await person('hal');
  await database.query(`alter role ${JSON.stringify(hal.name)} nologin`);
  const { status, json } = await asking(sql, auth, hal)('/api/sql', { method: 'POST', body: { query: 'select 1' } });
  expect(status).toBe(403);
  fits(SqlError, json);
});

test('the documents are served to whoever may come in, and the one of the mesh describes this door', async ({
  sql,
  auth,
  alice,
}) => {
  const ask = asking(sql, auth, alice);
  const document = await ask('/api/openapi.json');
  expect(document.status).toBe(200);
  expect(document.json).toMatchObject({ openapi: '3.1.1', paths: { '/api/sql': { post: { requestBody: { required: true } } } } });
  const messages = await ask('/api/schemas/sql-websocket.json');
  expect(messages.json).toMatchObject({
    $id: '/api/schemas/sql-websocket.json',
    $defs: { ClientMessage: {}, ServerMessage: {} },
  });
  expect((await fetch(`${sql.origin}/api/openapi.json`)).status).toBe(401);
});
