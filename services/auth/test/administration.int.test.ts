/** The administration door, asked as the edge asks it. */
import type { Principal } from '@postern/contracts/common';
import { PRINCIPAL_HEADER } from '@postern/contracts/common';
import { eventually } from '@postern/testkit/eventually';
import { expect } from 'vitest';

import type { Answer, Ask, Replica, World } from './world.ts';
import { ADMIN_PASSWORD, ask, worldTest } from './world.ts';

const anyString: unknown = expect.any(String);

interface People {
  readonly replica: Replica;
  readonly admin: Principal;
  readonly asAdmin: Ask;
  /** A person in the group writer, whose password is `${name} has one`. */
  readonly person: Principal;
  readonly asPerson: Ask;
}

async function people(world: World): Promise<People> {
  const replica = await world.start();
  const admin = await world.session.verifyPassword({ name: world.name('admin'), password: ADMIN_PASSWORD });
  const asAdmin = world.as(replica, admin);
  const name = world.name('paula');
  const password = `${name} has one`;
  world.secrets.add(password);
  const made = await asAdmin('POST', '/api/people', { name, roles: ['writer'], password });
  expect(made.status).toBe(201);
  const person = await world.session.verifyPassword({ name, password });
  return { replica, admin, asAdmin, person, asPerson: world.as(replica, person) };
}

worldTest(
  'a person is made, shown, listed in pages, changed and removed, and no answer has a hash or a secret',
  async ({ world }) => {
    const { asAdmin, person } = await people(world);
    const name = `${world.name('quentin')}@example.com`;
    const made = await asAdmin('POST', '/api/people', { name, password: 'a fine password' });
    expect(made.status).toBe(201);
    expect(made.headers.get('location')).toBe(`/api/people/${encodeURIComponent(name)}`);
    expect(made.headers.get('cache-control')).toBe('no-store');
    const shown = await asAdmin('GET', `/api/people/${encodeURIComponent(name)}`);
    expect(shown.body).toEqual(made.body);
    expect(shown.body).toEqual({
      id: anyString,
      name,
      kind: 'person',
      roles: ['reader'],
      disabled: false,
      hasPassword: true,
      createdAt: anyString,
      updatedAt: anyString,
    });
    const first = await asAdmin('GET', '/api/people?limit=2');
    expect(first.body).toMatchObject({ people: [{ name: world.name('admin') }, { name: person.name }], next: person.name });
    const second = await asAdmin('GET', `/api/people?limit=2&after=${encodeURIComponent(String(first.body['next']))}`);
    expect(second.body).toMatchObject({ people: [{ name }], next: null });
    expect((await asAdmin('PATCH', `/api/people/${name}`, { roles: ['writer', 'reader', 'writer'] })).body['roles']).toEqual([
      'reader',
      'writer',
    ]);
    expect((await asAdmin('DELETE', `/api/people/${name}`)).status).toBe(204);
    expect((await asAdmin('GET', `/api/people/${name}`)).body['code']).toBe('PERSON_NOT_FOUND');
    for (const { text } of [made, shown, first, second]) expect(text).not.toMatch(/argon2|sealed|hash"|secret/i);
  },
);

worldTest('an agent is in the group agent and in no other', async ({ world }) => {
  const { asAdmin } = await people(world);
  const made = await asAdmin('POST', '/api/people', { name: world.name('bot'), kind: 'agent' });
  expect(made.body).toMatchObject({ kind: 'agent', roles: ['agent'], hasPassword: false });
  const wrong = await asAdmin('POST', '/api/people', { name: world.name('bot2'), kind: 'agent', roles: ['writer'] });
  expect(wrong.body).toMatchObject({ code: 'AUTH_BODY_SHAPE', issues: [{ pointer: '/roles' }] });
});

worldTest('what is wrong with a body is said by pointer, and nothing of it is repeated', async ({ world }) => {
  const { asAdmin } = await people(world);
  const cases: readonly (readonly [unknown, string])[] = [
    [{ name: 'x', roles: [], extra: 1 }, ''],
    [{ name: 'x', roles: ['root'] }, '/roles/0'],
    [{ name: '', roles: [] }, '/name'],
    [{ name: 'a b', roles: [] }, '/name'],
    [{ name: "o'hara", roles: [] }, '/name'],
    [{ name: 'é'.repeat(32), roles: [] }, '/name'],
    [{ name: 'x', roles: 'reader' }, '/roles'],
    [{ name: 'x', password: 'short' }, '/password'],
    [{ name: 'x', password: 'Password123' }, '/password'],
    [{ name: 'x', password: 7 }, '/password'],
    ['{"name":"x","__proto__":{"roles":["admin"]}}', ''],
    [[], ''],
    ['null', ''],
  ];
  for (const [body, pointer] of cases) {
    const answer = await asAdmin('POST', '/api/people', body);
    expect([answer.status, answer.body['code']], JSON.stringify(body)).toEqual([422, 'AUTH_BODY_SHAPE']);
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    expect(answer.body['issues']).toMatchObject([{ pointer }]);
    expect(answer.text).not.toContain('Password123');
  }
  for (const body of ['', '{', 'x'.repeat(70_000)]) {
    const answer = await asAdmin('POST', '/api/people', body);
    expect(answer.status).toBe(body.length > 65_536 ? 413 : 400);
  }
  expect((await asAdmin('GET', '/api/people/%zz')).status).toBe(400);
  expect((await asAdmin('GET', '/api/nothing')).body['code']).toBe('ROUTE_NOT_FOUND');
  const refused = await asAdmin('PUT', '/api/people', {});
  expect([refused.status, refused.headers.get('allow')]).toEqual([405, 'GET, POST']);
});

worldTest('what is wrong with a query is said in words, and never fails', async ({ world }) => {
  const { asAdmin, asPerson } = await people(world);
  const whole = { pointer: '/limit', message: 'must be a whole number from 1 to 100' };
  const cases = [
    ...['0', '-1', '101', '1.5', '1e1', 'ten', ''].map((limit) => [`limit=${limit}`, whole] as const),
    ['limit=1&limit=2', { pointer: '/limit', message: 'must be given once' }],
    ['after=a&after=b', { pointer: '/after', message: 'must be given once' }],
    ['after=%00', { pointer: '/after', message: 'must not have control characters' }],
    [`after=${'a'.repeat(257)}`, { pointer: '/after', message: 'must be at most 256 characters' }],
  ] as const;
  for (const [query, issue] of cases) {
    for (const [ask, path] of [
      [asAdmin, '/api/people'],
      [asPerson, '/api/keys'],
    ] as const) {
      const answer = await ask('GET', `${path}?${query}`);
      expect([answer.status, answer.body['code'], answer.body['issues']], query).toEqual([400, 'INVALID_REQUEST', [issue]]);
    }
  }
  for (const [method, path] of [
    ['GET', '/api/people/%00'],
    ['PATCH', '/api/people/%00'],
    ['DELETE', '/api/people/%00'],
    ['GET', '/api/keys?person=%00'],
    ['DELETE', '/api/keys/%00'],
  ] as const) {
    const answer = await asAdmin(method, path, method === 'PATCH' ? { disabled: true } : undefined);
    expect(answer.status, `${method} ${path}`).toBe(404);
  }
  expect(world.lines.filter((line) => line.includes('"level":50'))).toEqual([]);
});

worldTest('a body of another type, one that is no JSON and one of another shape are told apart', async ({ world }) => {
  const { replica, admin } = await people(world);
  const { assertion } = await world.edge.mint({ principal: admin, audience: 'auth' });
  world.secrets.add(assertion);
  for (const [method, path] of [
    ['POST', '/api/people'],
    ['PATCH', `/api/people/${admin.name}`],
    ['POST', '/api/keys'],
    ['PATCH', '/api/me'],
  ] as const) {
    const send = async (type: string | undefined, body: string | undefined, headers = {}) => {
      const answer = await fetch(replica.origin + path, {
        method,
        headers: { [PRINCIPAL_HEADER]: assertion, ...(type !== undefined && { 'content-type': type }), ...headers },
        ...(body !== undefined && { body: Buffer.from(body) }),
      });
      const { code } = (await answer.json()) as { code: unknown };
      return [answer.status, code];
    };
    const otherType = [415, 'AUTH_CONTENT_TYPE'];
    expect(await send('text/plain', '{}'), path).toEqual(otherType);
    expect(await send('application/x-www-form-urlencoded', 'a=b'), path).toEqual(otherType);
    expect(await send(undefined, '{}'), path).toEqual(otherType);
    expect(await send(undefined, undefined), path).toEqual(otherType);
    expect(await send('application/json; charset=latin1', '{}'), path).toEqual(otherType);
    expect(await send('application/json', '{}', { 'content-encoding': 'gzip' }), path).toEqual(otherType);
    const noJson = [400, 'INVALID_REQUEST'];
    expect(await send('application/json', undefined), path).toEqual(noJson);
    expect(await send('application/json', ''), path).toEqual(noJson);
    expect(await send('application/json', '{'), path).toEqual(noJson);
    const otherShape = [422, 'AUTH_BODY_SHAPE'];
    for (const body of ['{}', '[]', 'null', '7', '{"nothing":"known"}']) {
      expect(await send('application/json; charset=utf-8', body), path).toEqual(otherShape);
    }
  }
});

worldTest('names that are reserved or taken are refused', async ({ world }) => {
  const { asAdmin, person } = await people(world);
  for (const name of [
    'mz_system',
    'MZ_x',
    'pg_x',
    'external_x',
    'PUBLIC',
    'postern_x',
    'app_owner',
    'postgres',
    'anonymous_http_user',
  ]) {
    const answer = await asAdmin('POST', '/api/people', { name });
    expect([answer.status, answer.body['code']], name).toEqual([422, 'NAME_RESERVED']);
  }
  expect((await asAdmin('POST', '/api/people', { name: person.name })).body['code']).toBe('PERSON_EXISTS');
  const foreign = world.name('foreign');
  await world.cluster.sql(`CREATE ROLE "${foreign}"`);
  const taken = await asAdmin('POST', '/api/people', { name: foreign });
  await world.cluster.sql(`DROP ROLE "${foreign}"`);
  expect([taken.status, taken.body['code']]).toEqual([409, 'PERSON_EXISTS']);
});

worldTest('of fifty creations of one name at once, one is done', async ({ world }) => {
  const { asAdmin } = await people(world);
  const name = world.name('race');
  const answers = await Promise.all(Array.from({ length: 50 }, () => asAdmin('POST', '/api/people', { name })));
  expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
  expect(answers.filter(({ body }) => body['code'] === 'PERSON_EXISTS')).toHaveLength(49);
});

/** imm-058: without this, whoever is let in could let in others. */
worldTest('no admin route does anything for somebody who is no admin, nor tells what is there', async ({ world }) => {
  const { asPerson, asAdmin, admin, person } = await people(world);
  const key = await asAdmin('POST', '/api/keys', { name: 'mine' });
  world.secrets.add(String(key.body['key']));
  const requests: readonly (readonly [string, string, unknown?])[] = [
    ['GET', '/api/people'],
    ['POST', '/api/people', { name: world.name('new'), roles: ['admin'] }],
    ['POST', '/api/people', {}],
    ...[admin.name, person.name, 'nobody', 'mz_system'].flatMap(
      (name) =>
        [
          ['GET', `/api/people/${name}`],
          ['PATCH', `/api/people/${name}`, { roles: ['admin'] }],
          ['DELETE', `/api/people/${name}`],
        ] as const,
    ),
    ['GET', `/api/keys?person=${admin.name}`],
    ['GET', '/api/keys?person=nobody'],
    ['POST', '/api/keys', { name: 'k', person: admin.name }],
    ['POST', '/api/keys', { name: 'k', person: 'nobody' }],
  ];
  const answers = await Promise.all(requests.map(([method, path, body]) => asPerson(method, path, body)));
  expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
  expect(answers[0]).toMatchObject({ status: 403, body: { code: 'ADMIN_REQUIRED' } });
  const others = await asPerson('DELETE', `/api/keys/${String(key.body['id'])}`);
  const missing = await asPerson('DELETE', '/api/keys/zzzzzzzz');
  expect([others.status, others.text]).toEqual([missing.status, missing.text]);
  expect(others.body['code']).toBe('KEY_NOT_FOUND');
});

/** imm-007: identity comes from the signature alone. */
worldTest('a request without exactly one assertion for auth is refused', async ({ world }) => {
  const { replica, admin } = await people(world);
  const url = `${replica.origin}/api/me`;
  const forSql = await world.edge.mint({ principal: admin, audience: 'sql' });
  const fine = await world.edge.mint({ principal: admin, audience: 'auth' });
  for (const { assertion } of [forSql, fine]) world.secrets.add(assertion);
  const forged: Record<string, string>[] = [
    {},
    { [PRINCIPAL_HEADER]: '' },
    { [PRINCIPAL_HEADER]: JSON.stringify(admin) },
    { [PRINCIPAL_HEADER]: forSql.assertion },
    { [PRINCIPAL_HEADER]: `${fine.assertion.slice(0, -4)}AAAA` },
    { [PRINCIPAL_HEADER]: `${fine.assertion}, ${fine.assertion}` },
    { authorization: `Bearer ${fine.assertion}` },
  ];
  for (const headers of forged) {
    const answer = await ask(url, 'GET', headers);
    expect([answer.status, answer.body['code']]).toEqual([401, 'ASSERTION_INVALID']);
  }
  expect((await ask(url, 'GET', { [PRINCIPAL_HEADER]: fine.assertion })).body).toEqual(admin);
});

worldTest('of two admins that remove each other at once, one stays', async ({ world }) => {
  const { asAdmin, replica, admin } = await people(world);
  const other = world.name('second');
  await asAdmin('POST', '/api/people', { name: other, roles: ['admin'] });
  const asOther = world.as(replica, await world.edge.trust({ name: other }));
  const attempts = [
    ['DELETE', `/api/people/${other}`, undefined],
    ['PATCH', `/api/people/${admin.name}`, { roles: [] }],
    ['PATCH', `/api/people/${other}`, { disabled: true }],
    ['DELETE', `/api/people/${admin.name}`, undefined],
  ] as const;
  const answers = await Promise.all(
    attempts.map(([method, path, body], index) => (index % 2 === 0 ? asAdmin : asOther)(method, path, body)),
  );
  expect(await world.cluster.sql("SELECT FROM auth.people WHERE 'admin' = ANY (roles) AND NOT disabled")).toHaveLength(1);
  expect(answers.some(({ status }) => status < 300)).toBe(true);
});

worldTest('the last admin cannot be removed, disabled or demoted', async ({ world }) => {
  const { asAdmin, admin } = await people(world);
  const path = `/api/people/${admin.name}`;
  const answers = [
    await asAdmin('DELETE', path),
    await asAdmin('PATCH', path, { disabled: true }),
    await asAdmin('PATCH', path, { roles: ['writer'] }),
  ];
  expect(answers.map(({ status, body }) => [status, body['code']])).toEqual(Array(3).fill([409, 'LAST_ADMIN']));
  expect((await asAdmin('GET', '/api/me')).status).toBe(200);
});

worldTest('an API key is shown once, works until it is revoked or ends, and its end is told', async ({ world }) => {
  const { asPerson, person } = await people(world);
  const made = await asPerson('POST', '/api/keys', { name: 'laptop', expiresInSeconds: 3_600 });
  const key = String(made.body['key']);
  world.secrets.add(key);
  expect(made.status).toBe(201);
  expect(key).toMatch(/^pst_[0-9A-Za-z]{8}_[A-Za-z0-9_-]{43}$/);
  expect(made.headers.get('cache-control')).toBe('no-store');
  const id = String(made.body['id']);
  const principal = await world.edge.verifyApiKey({ key });
  expect(principal).toMatchObject({ id: person.id, name: person.name, method: 'apiKey', tokenId: id });
  expect(principal.expiresAt).toBe(Math.floor(Date.parse(String(made.body['expiresAt'])) / 1_000));
  await eventually(async () => {
    const listed = await asPerson('GET', '/api/keys');
    expect(listed.body).toMatchObject({ keys: [{ id, name: 'laptop', lastUsedAt: anyString }], next: null });
    expect(listed.text).not.toContain(key.slice(13));
  });
  const wrong = [
    `${key.slice(0, -1)}${key.endsWith('A') ? 'E' : 'A'}`,
    key.replace(/^pst_.{8}/, 'pst_zzzzzzzz'),
    'pst_',
    '',
    `${key} `,
  ];
  for (const text of wrong)
    await expect(world.edge.verifyApiKey({ key: text })).rejects.toMatchObject({ code: 'CREDENTIAL_INVALID' });

  world.clock.offsetMs = 3_600_001;
  await expect(world.edge.verifyApiKey({ key })).rejects.toMatchObject({ code: 'CREDENTIAL_INVALID' });
  world.clock.offsetMs = 0;
  await world.edge.verifyApiKey({ key });
  expect((await asPerson('DELETE', `/api/keys/${id}`)).status).toBe(204);
  await eventually(() => expect(world.revoked).toContainEqual({ principalId: person.id, tokenId: id }));
  await expect(world.edge.verifyApiKey({ key })).rejects.toMatchObject({ code: 'CREDENTIAL_INVALID' });
  // What was resolved before is not signed any more.
  await expect(world.edge.mint({ principal, audience: 'sql' })).rejects.toMatchObject({ code: 'ASSERTION_INVALID' });
  expect((await asPerson('DELETE', `/api/keys/${id}`)).body['code']).toBe('KEY_NOT_FOUND');
});

worldTest('a key that is made with a key does not outlive it', async ({ world }) => {
  const { asPerson, replica } = await people(world);
  const short = await asPerson('POST', '/api/keys', { name: 'short', expiresInSeconds: 60 });
  const withKey = world.as(replica, await world.edge.verifyApiKey({ key: String(short.body['key']) }));
  const child = await withKey('POST', '/api/keys', { name: 'child' });
  expect(Date.parse(String(child.body['expiresAt']))).toBeLessThanOrEqual(Date.parse(String(short.body['expiresAt'])));
});

worldTest('an admin makes keys for others, and all keys of a disabled person are dead', async ({ world }) => {
  const { asAdmin, person } = await people(world);
  const made = await asAdmin('POST', '/api/keys', { name: 'ci', person: person.name });
  expect(made.body).toMatchObject({ person: person.name, expiresAt: null });
  const key = String(made.body['key']);
  await world.edge.verifyApiKey({ key });
  await asAdmin('PATCH', `/api/people/${person.name}`, { disabled: true });
  await expect(world.edge.verifyApiKey({ key })).rejects.toMatchObject({ code: 'CREDENTIAL_INVALID' });
});

worldTest('a person changes their own password with the one they have', async ({ world }) => {
  const { asPerson, person } = await people(world);
  const [currentPassword, newPassword] = [`${person.name} has one`, 'and now another one'];
  world.secrets.add(newPassword);
  const refused = await asPerson('PATCH', '/api/me', { currentPassword: 'not the one', newPassword });
  expect([refused.status, refused.body['code']]).toEqual([401, 'CREDENTIAL_INVALID']);
  expect((await asPerson('PATCH', '/api/me', { currentPassword, newPassword: 'short' })).body).toMatchObject({
    issues: [{ pointer: '/newPassword' }],
  });
  expect((await asPerson('PATCH', '/api/me', { newPassword })).status).toBe(422);
  expect((await asPerson('PATCH', '/api/me', { currentPassword, newPassword })).status).toBe(204);
  await eventually(() => expect(world.revoked).toContainEqual({ principalId: person.id }));
  await expect(world.session.verifyPassword({ name: person.name, password: currentPassword })).rejects.toMatchObject({
    code: 'CREDENTIAL_INVALID',
  });
  await world.session.verifyPassword({ name: person.name, password: newPassword });
});

worldTest(
  'whoever holds a session cannot guess the password behind it: after ten failures even the right one has to wait',
  async ({ world }) => {
    const { asPerson, person } = await people(world);
    const change = (currentPassword: string) =>
      asPerson('PATCH', '/api/me', { currentPassword, newPassword: 'and now another one' });
    for (let failure = 0; failure < 10; failure += 1) expect((await change(`guess ${failure}`)).status).toBe(401);
    const limited = await change(`${person.name} has one`);
    expect([limited.status, limited.body['code']]).toEqual([429, 'TOO_MANY_ATTEMPTS']);
    expect(Number(limited.headers.get('retry-after'))).toBeGreaterThan(0);
  },
);

worldTest('of forty guesses at once ten are checked', async ({ world }) => {
  const { asPerson } = await people(world);
  const answers = await Promise.all(
    Array.from({ length: 40 }, (_, guess) =>
      asPerson('PATCH', '/api/me', { currentPassword: `guess ${guess}`, newPassword: 'and now another one' }),
    ),
  );
  expect(answers.filter(({ status }) => status === 401)).toHaveLength(10);
  expect(answers.filter(({ status }) => status === 429)).toHaveLength(30);
});

worldTest('a session that heard nothing of a new password, or of a ban, is signed no more; a key still is', async ({ world }) => {
  const { replica, asAdmin, asPerson, person } = await people(world);
  const [first, second] = [`${person.name} has one`, 'and now another one'];
  world.secrets.add(second);
  const made = (await asPerson('POST', '/api/keys', { name: 'laptop' })).body;
  const keyed = await world.edge.verifyApiKey({ key: String(made['key']) });
  const path = `/api/people/${person.name}`;
  const steps: readonly (readonly [string, (asSession: Ask) => Promise<Answer>])[] = [
    [first, () => asAdmin('PATCH', path, { password: first })],
    [first, (asSession) => asSession('PATCH', '/api/me', { currentPassword: first, newPassword: second })],
    [
      second,
      async () => {
        await asAdmin('PATCH', path, { disabled: true });
        return asAdmin('PATCH', path, { disabled: false });
      },
    ],
  ];
  for (const [password, change] of steps) {
    // As a replica of the session service keeps it, and hands it out for days, if the event never reaches it.
    const proved = await world.session.verifyPassword({ name: person.name, password });
    const session: Principal = { ...proved, method: 'session', sessionId: 'kept' };
    const { assertion } = await world.edge.mint({ principal: session, audience: 'auth' });
    world.secrets.add(assertion);
    expect((await change(world.as(replica, session))).status).toBeLessThan(300);
    for (const audience of ['sql', 'auth'] as const) {
      await expect(world.edge.mint({ principal: session, audience })).rejects.toMatchObject({ code: 'ASSERTION_INVALID' });
    }
    const late = await ask(`${replica.origin}/api/me`, 'GET', { [PRINCIPAL_HEADER]: assertion });
    expect([late.status, late.body['code']]).toEqual([401, 'ASSERTION_INVALID']);
    await world.edge.mint({ principal: keyed, audience: 'sql' });
  }
  expect((await asAdmin('DELETE', `/api/keys/${String(made['id'])}`)).status).toBe(204);
  await expect(world.edge.mint({ principal: keyed, audience: 'sql' })).rejects.toMatchObject({ code: 'ASSERTION_INVALID' });
});

worldTest('somebody who is gone since the assertion was signed is refused', async ({ world }) => {
  const { replica, asAdmin, person } = await people(world);
  const { assertion } = await world.edge.mint({ principal: person, audience: 'auth' });
  world.secrets.add(assertion);
  await asAdmin('DELETE', `/api/people/${person.name}`);
  const answer = await ask(`${replica.origin}/api/me`, 'GET', { [PRINCIPAL_HEADER]: assertion });
  expect([answer.status, answer.body['code']]).toEqual([401, 'ASSERTION_INVALID']);
});
