import { expect } from 'vitest';

import { basic, bearer, login, makeKey, makePerson, request, sql } from '../harness/client.ts';
import { verifies } from '../verifies.ts';

const LENGTH_MIN = 12;

verifies('secrets:silent', 'no secret of the set-up, of a person or of a statement is in any log', async (mesh) => {
  await using person = await makePerson(mesh, 'writer');
  const { key } = await makeKey(mesh, person.name);
  const session = await login(mesh.edges[0], person.name, person.password);
  const spoken = 'spoken-in-a-statement-4f1d0c';
  const bound = 'bound-to-a-parameter-93ba71';
  const wrong = 'a-wrong-password-07cc5e';
  for (const credential of [person.basic, bearer(key), basic(person.name, key), session]) {
    await sql(mesh.edges[0], credential, `select '${spoken}'`);
    await sql(mesh.edges[0], credential, `select '${spoken}'::int`);
    await sql(mesh.edges[0], credential, `select from nowhere_${spoken.replaceAll('-', '_')}`);
    const queries = [{ query: 'select $1::int', params: [bound] }];
    await request(mesh.edges[0], '/api/sql', { json: { queries }, headers: credential });
  }
  await request(mesh.edges[0], '/api/sql', { json: { query: 'select 1' }, headers: basic(person.name, wrong) });
  await request(mesh.edges[0], '/api/login', { json: { username: person.name, password: wrong } });
  await request(mesh.edges[0], '/api/login', { body: `{"password":"${wrong}`, headers: { 'content-type': 'application/json' } });
  await request(mesh.edges[0], `/api/sql?options=${encodeURIComponent(`{"a":"${bound}"}`)}`, {
    json: { query: 'select 1' },
    headers: bearer(key),
  });
  await request(mesh.edges[0], '/api/me', {
    method: 'PATCH',
    json: { currentPassword: wrong, newPassword: `${person.password}-new` },
    headers: session,
  });

  const token = session['cookie']?.split('=')[1] ?? '';
  const secrets = [
    ...(await mesh.secrets()),
    person.password,
    `${person.password}-new`,
    key,
    key.slice('pst_12345678_'.length),
    token,
    wrong,
    bound,
    spoken,
    spoken.replaceAll('-', '_'),
  ];
  expect(secrets.length).toBeGreaterThan(15);
  const logs = await mesh.logs();
  expect(logs).toContain('"service":"edge"');
  const found = secrets.filter((secret) => {
    expect(secret.length, 'what is looked for is long enough to mean something').toBeGreaterThanOrEqual(LENGTH_MIN);
    return [secret, Buffer.from(secret).toString('base64').replace(/=+$/, ''), encodeURIComponent(secret)].some((form) =>
      logs.includes(form),
    );
  });
  expect(found.map((secret) => `${secret.slice(0, 6)}…`)).toEqual([]);
});
