import { eventually } from '@postern/testkit/eventually';
import { beforeEach, expect } from 'vitest';

import { basic, bearer, edgeTest as test } from './edge-test.ts';
import type { World } from './world.ts';
import { ALICE_KEY, PASSWORD } from './world.ts';

const QUERY = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"query":"select 1"}' } as const;

const query = (world: World, listener: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${world.origins[listener]}/api/sql`, { ...QUERY, headers: { ...QUERY.headers, ...headers } });

const cookie = (token: string): Record<string, string> => ({ cookie: `postern_session=${token}` });

/** Who the canary was told the request is by; `undefined` if nothing reached it. */
async function arrivedAs(world: World, listener: string, headers: Record<string, string> = {}): Promise<string | undefined> {
  const before = world.sql.arrived.length;
  const response = await query(world, listener, headers);
  const text = await response.text();
  if (response.status !== 200) {
    expect([response.status, text, world.sql.arrived.length]).toEqual([401, 'unauthorized', before]);
    expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8');
    return undefined;
  }
  expect(world.sql.arrived.length).toBe(before + 1);
  return world.sql.last().principal?.name;
}

beforeEach<{ world: World }>(({ world }) => {
  world.revoke('id-alice');
  world.stub.lockedForSeconds = 0;
  world.stub.hold = undefined;
});

test('kind None believes a Basic name, takes no notice of its password, and has a default user', async ({ world }) => {
  expect(await arrivedAs(world, 'none', basic('alice', 'anything'))).toBe('alice');
  expect(await arrivedAs(world, 'none', basic('somebody-new', ''))).toBe('somebody-new');
  expect(await arrivedAs(world, 'none')).toBe('anonymous_http_user');
  expect(await arrivedAs(world, 'none', bearer('ignored'))).toBe('anonymous_http_user');
  expect(await arrivedAs(world, 'none', { authorization: 'Digest x' })).toBe('anonymous_http_user');
  expect(await arrivedAs(world, 'none', basic('nologin', ''))).toBeUndefined();
  expect(await arrivedAs(world, 'none', basic('', 'x'))).toBeUndefined();
});

test('kind Password checks Basic, and takes a key as the password of its owner or of nobody', async ({ world }) => {
  expect(await arrivedAs(world, 'password', basic('alice', PASSWORD))).toBe('alice');
  expect(await arrivedAs(world, 'password', basic('alice', 'wrong'))).toBeUndefined();
  expect(await arrivedAs(world, 'password', basic('nobody', PASSWORD))).toBeUndefined();
  expect(await arrivedAs(world, 'password', basic('', ALICE_KEY))).toBe('alice');
  expect(await arrivedAs(world, 'password', basic('alice', ALICE_KEY))).toBe('alice');
  expect(await arrivedAs(world, 'password', basic('bob', ALICE_KEY))).toBeUndefined();
  expect(await arrivedAs(world, 'password', bearer(ALICE_KEY))).toBe('alice');
  expect(await arrivedAs(world, 'password', bearer(`pst_alice123_${'x'.repeat(43)}`))).toBeUndefined();
  expect(await arrivedAs(world, 'password', bearer('some.jwt.token'))).toBeUndefined();
  expect(await arrivedAs(world, 'password', { authorization: 'Digest x' })).toBeUndefined();
  expect(await arrivedAs(world, 'password')).toBeUndefined();
});

test('kind Oidc without an issuer keeps passwords and keys, and says why a token is refused', async ({ world }) => {
  expect(await arrivedAs(world, 'oidc', basic('alice', PASSWORD))).toBe('alice');
  expect(await arrivedAs(world, 'oidc', bearer(ALICE_KEY))).toBe('alice');
  const response = await query(world, 'oidc', bearer('some.jwt.token'));
  expect([response.status, await response.text()]).toEqual([401, 'OIDC issuer is not configured']);
});

/** imm-057: every credential passes the one policy. */
test.for([
  ['mz_system', false, true, true],
  ['mz_support', false, true, true],
  ['mz_analytics', false, true, true],
  ['alice', true, false, true],
  ['external_asdf', false, false, false],
  ['pg_somebody', false, false, false],
  ['mz_unknown', false, false, false],
  ['PUBLIC', false, false, false],
] as const)('%s: Normal %s, Internal %s, both %s, whatever the credential', async ([name, ...expected], { world }) => {
  const key = `pst_policy12_${name.padEnd(43, 'x').replaceAll(/[^\w-]/g, 'x')}`;
  world.stub.keys.set(key, name);
  const { token } = world.stub.openSession(name);
  const credentials = [basic(name, PASSWORD), bearer(key), basic('', key), cookie(token)];
  for (const headers of credentials) {
    const admitted = await Promise.all(
      ['password_normal', 'password_internal', 'password'].map(
        async (listener) => (await query(world, listener, headers)).status === 200,
      ),
    );
    expect(admitted).toEqual(expected);
  }
  const believed = await Promise.all(
    ['none_normal', 'none_internal', 'none'].map(
      async (listener) => (await query(world, listener, basic(name, ''))).status === 200,
    ),
  );
  expect(believed).toEqual(expected);
});

test('anonymous_http_user is a normal user', async ({ world }) => {
  const statuses = await Promise.all(
    ['none_normal', 'none_internal', 'none'].map(async (listener) => (await query(world, listener)).status),
  );
  expect(statuses).toEqual([200, 401, 200]);
});

test('a trusted header names the user on None listeners, before Basic, and only one of two users', async ({ world }) => {
  const system = { 'x-materialize-user': 'mz_system' };
  expect(await arrivedAs(world, 'none_internal', system)).toBe('mz_system');
  expect(await arrivedAs(world, 'none_internal', { 'x-postern-user': 'mz_support' })).toBe('mz_support');
  expect(await arrivedAs(world, 'none', { ...system, ...basic('alice', PASSWORD) })).toBe('mz_system');
  expect(await arrivedAs(world, 'none', { ...system, 'x-postern-user': 'mz_system' })).toBe('mz_system');
  expect(await arrivedAs(world, 'none', { ...system, 'x-postern-user': 'mz_support' })).toBeUndefined();
  expect(await arrivedAs(world, 'none', { 'x-materialize-user': 'alice' })).toBeUndefined();
  expect(await arrivedAs(world, 'none', { 'x-materialize-user': 'mz_analytics' })).toBeUndefined();
  expect(await arrivedAs(world, 'none_normal', system)).toBeUndefined();
});

test('a trusted header means nothing on other kinds, and nothing on routes without the layer', async ({ world }) => {
  expect(await arrivedAs(world, 'password', { 'x-materialize-user': 'mz_system' })).toBeUndefined();
  expect(await arrivedAs(world, 'password', { 'x-materialize-user': 'mz_system', ...basic('alice', PASSWORD) })).toBe('alice');
  const asSystem = await fetch(`${world.origins['none_internal']}/metrics`, { headers: { 'x-materialize-user': 'mz_system' } });
  expect(asSystem.status).toBe(401);
});

test('a header beats the cookie, and leaves it as it is', async ({ world }) => {
  const { token } = world.stub.openSession('bob');
  expect(await arrivedAs(world, 'password', cookie(token))).toBe('bob');
  expect(await arrivedAs(world, 'password', { ...cookie(token), ...basic('alice', PASSWORD) })).toBe('alice');
  expect(await arrivedAs(world, 'password', { ...cookie(token), ...basic('alice', 'wrong') })).toBeUndefined();
  expect(world.stub.sessions.has(token)).toBe(true);
  expect(await arrivedAs(world, 'none', cookie(token))).toBe('anonymous_http_user');
});

test('a malformed header counts as none, so the cookie speaks', async ({ world }) => {
  const { token } = world.stub.openSession('bob');
  expect(await arrivedAs(world, 'password', { ...cookie(token), authorization: 'Digest x' })).toBe('bob');
  expect(await arrivedAs(world, 'password', { ...cookie(token), authorization: 'Basic !!!' })).toBe('bob');
});

test('an expired cookie is denied, one of no session is as good as none', async ({ world }) => {
  const session = world.stub.openSession('bob');
  session.expired = true;
  const expired = await fetch(`${world.origins['password']}/`, { headers: cookie(session.token) });
  expect([expired.status, expired.headers.get('www-authenticate')]).toEqual([401, null]);
  const unknown = await fetch(`${world.origins['password']}/`, { headers: cookie('n'.repeat(43)) });
  expect([unknown.status, unknown.headers.get('www-authenticate')]).toEqual([401, 'Basic realm=Postern']);
});

test('only the page asks a browser for a password, and only when there was none', async ({ world }) => {
  const challenge = async (path: string, headers: Record<string, string> = {}): Promise<string | null> =>
    (await fetch(`${world.origins['password']}${path}`, { headers })).headers.get('www-authenticate');
  expect(await challenge('/')).toBe('Basic realm=Postern');
  expect(await challenge('/', basic('alice', 'wrong'))).toBeNull();
  expect(await challenge('/metrics')).toBeNull();
  expect(await challenge('/api/me')).toBeNull();
  expect((await query(world, 'password')).headers.get('www-authenticate')).toBeNull();
});

test('denials of every kind are the same bytes', async ({ world }) => {
  const denials = await Promise.all(
    [
      {},
      basic('alice', 'wrong'),
      basic('nobody', 'x'),
      basic('', 'x'),
      bearer('x.y.z'),
      bearer(`pst_12345678_${'y'.repeat(43)}`),
      basic('mz_unknown', PASSWORD),
    ].map(async (headers) => {
      const response = await query(world, 'password', headers as Record<string, string>);
      const shown = [...response.headers].filter(([name]) => name !== 'x-request-id' && name !== 'date');
      return JSON.stringify([response.status, shown, await response.text()]);
    }),
  );
  expect(new Set(denials).size).toBe(1);
});

test('a person who is locked out is told for how long', async ({ world }) => {
  world.stub.lockedForSeconds = 77;
  const response = await query(world, 'password', basic('bob', 'guess'));
  expect([response.status, response.headers.get('retry-after')]).toEqual([429, '77']);
  expect(await response.json()).toMatchObject({ code: 'TOO_MANY_ATTEMPTS', status: 429 });
});

/** imm-004: who the client is, is what the connection says, unless a listener trusts its proxy. */
test('attempts are counted by the address of the connection, not by what a header claims', async ({ world }) => {
  world.stub.clients.length = 0;
  const forged = { 'x-forwarded-for': '9.9.9.9', forwarded: 'for=9.9.9.9', 'x-real-ip': '9.9.9.9' };
  await query(world, 'password', { ...basic('bob', 'guess-1'), ...forged });
  await query(world, 'proxied', { ...basic('bob', 'guess-2'), 'x-forwarded-for': '8.8.8.8, 7.7.7.7' });
  await query(world, 'proxied', { ...basic('bob', 'guess-3'), 'x-forwarded-for': 'nonsense' });
  expect(world.stub.clients).toEqual(['127.0.0.1', '7.7.7.7', '127.0.0.1']);
});

/** imm-006 */
test('nothing about a request but path and credential lets it in', async ({ world }) => {
  for (const agent of ['kube-probe/1.30', 'GoogleHC/1.0', 'ELB-HealthChecker/2.0', 'Prometheus/3', 'curl/8']) {
    expect(await arrivedAs(world, 'password', { 'user-agent': agent })).toBeUndefined();
  }
});

test('one credential is asked about once in five seconds, however many requests come', async ({ world }) => {
  const key = `pst_cached12_${'c'.repeat(43)}`;
  world.stub.keys.set(key, 'bob');
  world.stub.calls.length = 0;
  await Promise.all(Array.from({ length: 20 }, () => arrivedOk(world, bearer(key))));
  expect(world.stub.calls.filter((name) => name === 'verifyApiKey')).toHaveLength(1);
  expect(world.stub.calls.filter((name) => name === 'mint').length).toBeLessThanOrEqual(1);
});

const arrivedOk = async (world: World, headers: Record<string, string>): Promise<void> => {
  expect((await query(world, 'password', headers)).status).toBe(200);
};

test('a revoked key, a changed person and an ended session are dead at once', async ({ world }) => {
  const key = `pst_revoke12_${'r'.repeat(43)}`;
  world.stub.keys.set(key, 'bob');
  const { token, id } = world.stub.openSession('bob');
  await arrivedOk(world, bearer(key));
  await arrivedOk(world, cookie(token));
  world.stub.keys.delete(key);
  world.revoke('id-bob', key.slice(0, 12));
  await eventually(async () => expect((await query(world, 'password', bearer(key))).status).toBe(401), { timeoutMs: 1_000 });
  await arrivedOk(world, cookie(token));
  world.stub.sessions.delete(token);
  world.revokeSession('id-bob', id);
  await eventually(async () => expect((await query(world, 'password', cookie(token))).status).toBe(401), { timeoutMs: 1_000 });
  await arrivedOk(world, basic('bob', PASSWORD));
  world.stub.people.set('bob', 'changed');
  world.revoke('id-bob');
  await eventually(async () => expect((await query(world, 'password', basic('bob', PASSWORD))).status).toBe(401), {
    timeoutMs: 1_000,
  });
  world.stub.people.set('bob', PASSWORD);
});

/** imm-007, imm-042: what a service is shown is signed, for it alone. */
test('a service is shown an assertion that is valid for it and for no other', async ({ world }) => {
  await arrivedOk(world, basic('alice', PASSWORD));
  expect(world.sql.last().principal).toMatchObject({ name: 'alice', method: 'password' });
  const me = await fetch(`${world.origins['password']}/api/me`, { headers: basic('alice', PASSWORD) });
  expect(await me.json()).toEqual({ name: 'alice', url: '/api/me' });
  expect(world.auth.last().values('x-postern-principal')).not.toEqual(world.sql.last().values('x-postern-principal'));
});

/** imm-059 */
test('no answer and no log line shows a credential', async ({ world }) => {
  const response = await query(world, 'password', basic('alice', PASSWORD));
  const shown = JSON.stringify([...response.headers]) + (await response.text()) + JSON.stringify(world.lines);
  expect(shown).not.toMatch(/eyJ[\w-]+\./);
  expect(shown).not.toContain(PASSWORD);
  expect(shown).not.toContain(ALICE_KEY);
  expect(shown).not.toContain(Buffer.from(`alice:${PASSWORD}`).toString('base64'));
});

/** Otherwise what auth and session write about a call cannot be found from what the edge writes about the request. */
test('auth and session are told which request a question is part of', async ({ open }) => {
  await using world = await open();
  const { token } = world.stub.openSession('alice');
  const origins = world.origins;
  const asked: readonly (() => Promise<Response>)[] = [
    () => fetch(`${origins['password']}/api/me`, { headers: basic('alice', PASSWORD) }),
    () => fetch(`${origins['password']}/api/me`, { headers: bearer(ALICE_KEY) }),
    () => fetch(`${origins['password']}/api/sessions`, { headers: { cookie: `postern_session=${token}` } }),
    () => fetch(`${origins['none']}/api/me`),
    () =>
      fetch(`${origins['password']}/api/login`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ username: 'alice', password: PASSWORD }),
      }),
  ];
  for (const ask of asked) {
    world.stub.requestIds.length = 0;
    const response = await ask();
    expect(response.status).toBe(200);
    expect(new Set(world.stub.requestIds)).toEqual(new Set([response.headers.get('x-request-id')]));
  }
});
