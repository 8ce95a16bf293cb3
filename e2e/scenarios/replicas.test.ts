import { eventually } from '@postern/testkit/eventually';
import { expect } from 'vitest';

import { basic, bearer, login, makeKey, makePerson, request } from '../harness/client.ts';
import type { Credential } from '../harness/client.ts';
import type { Mesh } from '../harness/mesh.ts';
import { verifies } from '../verifies.ts';

const statusAt = async (origin: string, headers: Credential): Promise<number> =>
  (await request(origin, '/api/sql', { json: { query: 'select 1' }, headers })).status;

async function goodEverywhere(mesh: Mesh, credential: Credential): Promise<void> {
  for (const origin of mesh.edges) expect(await statusAt(origin, credential)).toBe(200);
}

async function deadEverywhereWithinASecond(mesh: Mesh, credential: Credential): Promise<void> {
  await eventually(
    async () => {
      for (const origin of mesh.edges) expect(await statusAt(origin, credential)).toBe(401);
    },
    { timeoutMs: 1_000 },
  );
}

verifies('replicas:sessions', 'a session that was opened at one edge is good at all, until its person logs out', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const session = await login(mesh.edges[0], person.name, person.password);
  await goodEverywhere(mesh, session);
  const out = await request(mesh.edges.at(-1) ?? '', '/api/logout', { method: 'POST', headers: session });
  expect(out.status).toBe(200);
  await deadEverywhereWithinASecond(mesh, session);
});

verifies('replicas:sessions', 'logging out everywhere ends every session of the person and no other', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  await using other = await makePerson(mesh, 'reader');
  const sessions = await Promise.all(
    [0, 1].map((index) => login(mesh.edges[index % mesh.edges.length] ?? '', person.name, person.password)),
  );
  const foreign = await login(mesh.edges[0], other.name, other.password);
  for (const session of [...sessions, foreign]) await goodEverywhere(mesh, session);
  const ended = await request(mesh.edges[0], '/api/sessions', { method: 'DELETE', headers: sessions[0] ?? {} });
  expect(ended.status).toBeLessThan(300);
  for (const session of sessions) await deadEverywhereWithinASecond(mesh, session);
  await goodEverywhere(mesh, foreign);
});

verifies('replicas:keys', 'a revoked key is dead at every edge', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const { id, key } = await makeKey(mesh, person.name);
  await goodEverywhere(mesh, bearer(key));
  const revoked = await request(mesh.edges[0], `/api/keys/${id}`, { method: 'DELETE', headers: bearer(mesh.apiKey) });
  expect(revoked.status).toBeLessThan(300);
  await deadEverywhereWithinASecond(mesh, bearer(key));
});

verifies('replicas:keys', 'a changed password and a disabled person end every credential', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const { key } = await makeKey(mesh, person.name);
  const session = await login(mesh.edges[0], person.name, person.password);
  for (const credential of [person.basic, session, bearer(key)]) await goodEverywhere(mesh, credential);
  const change = (json: unknown) =>
    request(mesh.edges[0], `/api/people/${person.name}`, { method: 'PATCH', json, headers: bearer(mesh.apiKey) });

  const password = `${person.password}-changed`;
  expect((await change({ password })).status).toBeLessThan(300);
  await deadEverywhereWithinASecond(mesh, person.basic);
  await deadEverywhereWithinASecond(mesh, session);
  await goodEverywhere(mesh, basic(person.name, password));

  expect((await change({ disabled: true })).status).toBeLessThan(300);
  for (const credential of [basic(person.name, password), bearer(key)]) await deadEverywhereWithinASecond(mesh, credential);
});

verifies('replicas:limits', 'failed logins are counted over all edges, and the right password waits as well', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const attempt = (index: number, password: string) =>
    request(mesh.edges[index % mesh.edges.length] ?? '', '/api/login', {
      json: { username: person.name, password },
      expectsLock: true,
    });
  const answers: number[] = [];
  for (let index = 0; index < 12; index += 1) answers.push((await attempt(index, 'wrong')).status);
  expect(answers.filter((status) => status === 401).length).toBeLessThanOrEqual(10);
  expect(answers.at(-1)).toBe(429);
  for (const index of mesh.edges.keys()) {
    const locked = await attempt(index, person.password);
    expect(locked.status).toBe(429);
    expect(Number(locked.headers.get('retry-after'))).toBeGreaterThan(0);
  }
  // Waits as long as it is told to: the answer was true if the right password is good then.
  expect(Object.keys(await login(mesh.edges[0], person.name, person.password))).toEqual(['cookie']);
});
