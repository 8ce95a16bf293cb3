import { expect } from 'vitest';

import { bearer, makePerson, request, sql } from '../harness/client.ts';
import type { Credential } from '../harness/client.ts';
import { verifies } from '../verifies.ts';

const WHO = 'select current_user, session_user';

/** What would help on a connection that a more powerful login had opened. */
const ATTEMPTS = [
  'reset role',
  'reset session authorization',
  'reset all',
  'discard all',
  'set role none',
  'set role postgres',
  'set local role postgres',
  'set role postern_auth',
  'set role postern_sql',
  'set role app_owner',
  'set role postern_admin',
  'set session authorization postgres',
  'set session authorization default',
  "select set_config('role', 'postgres', false)",
  "select set_config('session_authorization', 'postgres', false)",
  "do $$ begin execute 'set role postgres'; end $$",
  'alter role current_user superuser',
  'alter role current_user createrole',
  'grant postern_admin to current_user',
  'grant postgres to current_user',
];

async function tryAll(origin: string, credential: Credential, name: string): Promise<void> {
  for (const attempt of ATTEMPTS) {
    for (const mode of ['simple', 'extended'] as const) {
      const json = mode === 'simple' ? { query: `${attempt}; ${WHO}` } : { queries: [{ query: attempt }, { query: WHO }] };
      const answer = await request(origin, '/api/sql', { json, headers: credential });
      const { results } = answer.json() as { results: { rows?: string[][]; error?: { code: string } }[] };
      const last = results.at(-1);
      // Either it was refused, or it went through and the caller is who they were.
      if (last?.error === undefined) expect(last?.rows?.at(-1), `${mode}: ${attempt}`).toEqual([name, name]);
    }
    const [after] = await sql(
      origin,
      credential,
      `select rolsuper or rolcreaterole or rolbypassrls from pg_roles where rolname = current_user`,
    );
    expect(after?.rows, attempt).toEqual([[false]]);
  }
  expect((await sql(origin, credential, WHO))[0]?.rows).toEqual([[name, name]]);
}

verifies('sql:no-escape', 'a reader stays a reader', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  await tryAll(mesh.edges[0], person.basic, person.name);
});

verifies('sql:no-escape', 'the admin becomes nobody else either', async (mesh) => {
  await tryAll(mesh.edges[0], bearer(mesh.apiKey), mesh.admin.user);
});
