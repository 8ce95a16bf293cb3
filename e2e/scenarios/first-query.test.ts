import { expect } from 'vitest';

import { basic, bearer, login, makeKey, makePerson, request, sql, valueOf } from '../harness/client.ts';
import type { Credential } from '../harness/client.ts';
import type { Mesh } from '../harness/mesh.ts';
import { verifies } from '../verifies.ts';

const WHO = "select current_user || ' ' || session_user";

async function credentialsOf(mesh: Mesh, name: string, password: string, key: string): Promise<Record<string, Credential>> {
  return {
    'basic password': basic(name, password),
    'bearer key': bearer(key),
    'key as basic password': basic(name, key),
    cookie: await login(mesh.edges[0], name, password),
  };
}

verifies('sql:own-role', "the admin's statements run as the admin, whatever the credential and the edge", async (mesh) => {
  const { user, password } = mesh.admin;
  for (const [kind, credential] of Object.entries(await credentialsOf(mesh, user, password, mesh.apiKey))) {
    for (const origin of mesh.edges) expect(await valueOf(origin, credential, WHO), kind).toBe(`${user} ${user}`);
  }
});

verifies('sql:own-role', "a person's statements run as that person, whatever the credential and the edge", async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const { name, password } = person;
  const { key } = await makeKey(mesh, name);
  for (const [kind, credential] of Object.entries(await credentialsOf(mesh, name, password, key))) {
    for (const origin of mesh.edges) expect(await valueOf(origin, credential, WHO), kind).toBe(`${name} ${name}`);
  }
});

verifies('sql:groups', 'a reader reads, a writer writes, and neither more', async (mesh) => {
  await using reader = await makePerson(mesh, 'reader');
  await using writer = await makePerson(mesh, 'writer');
  const [origin] = mesh.edges;
  const codeOf = async (person: typeof reader, query: string): Promise<string> => {
    const last = (await sql(origin, person.basic, query)).at(-1);
    return last?.error?.code ?? 'ok';
  };
  expect(await codeOf(reader, 'create table public.of_a_reader ()')).toBe('42501');
  expect(await codeOf(writer, 'create table of_a_writer (); drop table of_a_writer')).toBe('ok');
  expect(await codeOf(writer, 'create table public.of_a_writer ()')).toBe('42501');
  for (const person of [reader, writer]) {
    expect(await codeOf(person, 'select * from pg_authid')).toBe('42501');
    expect(await codeOf(person, 'create role another')).toBe('42501');
    expect(await codeOf(person, "select pg_read_file('/etc/passwd')")).toBe('42501');
    expect(await codeOf(person, "copy (select 1) to program 'true'")).not.toBe('ok');
  }
});

verifies('identity:missing', 'no credential, a wrong one and a broken one are refused alike', async (mesh) => {
  const credentials: readonly Credential[] = [
    {},
    basic(mesh.admin.user, 'wrong'),
    basic('nobody_by_this_name', 'wrong'),
    bearer('pst_aaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'),
    bearer('not.a.token'),
    { authorization: 'Basic !!!' },
    { authorization: 'Digest username="admin"' },
    { cookie: 'postern_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' },
  ];
  for (const headers of credentials) {
    // Wrong passwords of one client are counted: where all scenarios are one client, few of them are shown.
    const isCounted = headers['authorization']?.startsWith('Basic ') === true;
    for (const path of isCounted ? ['/api/sql'] : ['/api/sql', '/api/people', '/api/me']) {
      const options = path === '/api/sql' ? { json: { query: 'select 1' }, headers } : { headers };
      const answer = await request(mesh.edges[0], path, options);
      expect(answer.status, `${path} ${JSON.stringify(headers)}`).toBe(401);
    }
  }
});

verifies('identity:forged', 'identity headers of the caller change nothing', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const forged = {
    'x-postern-principal': 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.',
    X_Postern_Principal: 'admin',
    'x-postern-user': 'mz_system',
    'x-materialize-user': 'mz_system',
    'x-forwarded-user': 'admin',
    'x-remote-user': 'admin',
  };
  for (const [name, value] of Object.entries(forged)) {
    const anonymous = await request(mesh.edges[0], '/api/sql', { json: { query: WHO }, headers: { [name]: value } });
    expect(anonymous.status, name).toBe(401);
    expect(await valueOf(mesh.edges[0], { ...person.basic, [name]: value }, WHO)).toBe(`${person.name} ${person.name}`);
  }
});
