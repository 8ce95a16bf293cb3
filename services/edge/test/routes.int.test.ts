import { eventually } from '@postern/testkit/eventually';
import { connect } from 'node:net';
import { expect } from 'vitest';

import type { Route } from '../src/domain/routes.ts';
import { routeTable } from '../src/http/route-table.ts';
import { basic, edgeTest as test } from './edge-test.ts';
import { rawRequest } from './raw-client.ts';
import { passwordMessage, startupMessage, talk } from './socket-client.ts';
import type { World } from './world.ts';
import { PASSWORD } from './world.ts';

const JSON_HEADERS = { 'content-type': 'application/json' };

const login = (world: World, body: unknown, headers: Record<string, string> = {}, listener = 'password'): Promise<Response> =>
  fetch(`${world.origins[listener]}/api/login`, {
    method: 'POST',
    headers: { ...JSON_HEADERS, ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

const cookieOf = (response: Response): string => response.headers.getSetCookie()[0]?.split(';')[0] ?? '';

const alice = { username: 'alice', password: PASSWORD };

test('logging in gives a cookie that a browser keeps to itself, and an empty answer', async ({ world }) => {
  const response = await login(world, alice);
  expect([response.status, await response.text()]).toEqual([200, '']);
  expect(response.headers.getSetCookie()).toEqual([
    expect.stringMatching(/^postern_session=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict$/),
  ]);
  const me = await fetch(`${world.origins['password']}/api/me`, { headers: { cookie: cookieOf(response) } });
  expect(await me.json()).toMatchObject({ name: 'alice' });
});

test('a wrong name and a wrong password get the same empty 401', async ({ world }) => {
  for (const body of [
    { ...alice, password: 'wrong' },
    { ...alice, username: 'nobody' },
  ]) {
    const response = await login(world, body);
    expect([response.status, await response.text(), response.headers.getSetCookie()]).toEqual([401, '', []]);
  }
});

test.for([
  ['not json', 400, JSON_HEADERS],
  ['{"username":"a"', 400, JSON_HEADERS],
  ['\xff', 400, JSON_HEADERS],
  ['{}', 422, JSON_HEADERS],
  ['[]', 422, JSON_HEADERS],
  ['{"username":"alice","password":1}', 422, JSON_HEADERS],
  ['{"username":"","password":"x"}', 422, JSON_HEADERS],
  [JSON.stringify(alice), 415, { 'content-type': 'text/plain' }],
  [JSON.stringify(alice), 415, { 'content-type': 'application/x-www-form-urlencoded' }],
  [JSON.stringify(alice), 415, { ...JSON_HEADERS, 'content-encoding': 'gzip' }],
  ['x'.repeat(65_537), 413, JSON_HEADERS],
] as const)('a login of %j is %i', async ([body, status, headers], { world }) => {
  const response = await fetch(`${world.origins['password']}/api/login`, {
    method: 'POST',
    headers,
    body: Buffer.from(body, 'latin1'),
  });
  expect([response.status, response.headers.get('content-type')]).toEqual([status, 'application/problem+json']);
});

test('unknown keys of a login are ignored', async ({ world }) => {
  expect((await login(world, { ...alice, more: true })).status).toBe(200);
});

test('a login that is limited is told when to try again', async ({ world }) => {
  world.stub.lockedForSeconds = 61;
  const response = await login(world, alice).finally(() => (world.stub.lockedForSeconds = 0));
  expect([response.status, response.headers.get('retry-after')]).toEqual([429, '61']);
  expect(await response.json()).toMatchObject({ code: 'TOO_MANY_ATTEMPTS' });
});

test('a login ends the session of the cookie that came with it', async ({ world }) => {
  const first = cookieOf(await login(world, alice));
  const second = cookieOf(await login(world, alice, { cookie: first }));
  expect(second).not.toBe(first);
  const old = await fetch(`${world.origins['password']}/api/me`, { headers: { cookie: first } });
  expect(old.status).toBe(401);
});

test('login and logout are on listeners that have passwords, whatever groups are on, and on no other', async ({ world }) => {
  expect((await login(world, alice, {}, 'metrics_only')).status).toBe(200);
  expect((await login(world, alice, {}, 'oidc')).status).toBe(200);
  expect((await login(world, alice, {}, 'none')).status).toBe(404);
  const logout = await fetch(`${world.origins['none']}/api/logout`, { method: 'POST' });
  expect(logout.status).toBe(404);
});

test('logging out ends the session here before it is answered, and is fine without one', async ({ world }) => {
  const cookie = cookieOf(await login(world, alice));
  const me = (): Promise<Response> => fetch(`${world.origins['password']}/api/me`, { headers: { cookie } });
  expect((await me()).status).toBe(200);
  const logout = (): Promise<Response> =>
    fetch(`${world.origins['password']}/api/logout`, { method: 'POST', headers: { cookie } });
  const ended = await logout();
  expect([ended.status, await ended.text()]).toEqual([200, '']);
  expect(ended.headers.getSetCookie()).toEqual(['postern_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0']);
  expect((await me()).status).toBe(401);
  expect((await logout()).status).toBe(200);
  expect((await fetch(`${world.origins['password']}/api/logout`, { method: 'POST' })).status).toBe(200);
});

test('people see and end their own sessions, not those of others', async ({ world }) => {
  const sessions = `${world.origins['password']}/api/sessions`;
  const bob = world.stub.openSession('bob');
  const other = world.stub.openSession('bob');
  const strange = world.stub.openSession('carol');
  const headers = { cookie: `postern_session=${bob.token}` };
  const listed = (await (await fetch(sessions, { headers })).json()) as { sessions: { id: string; current: boolean }[] };
  expect(new Map(listed.sessions.map(({ id, current }) => [id, current]))).toEqual(
    new Map([
      [bob.id, true],
      [other.id, false],
    ]),
  );
  expect(JSON.stringify(listed)).not.toContain(bob.token);
  const end = async (id: string): Promise<number> => (await fetch(`${sessions}/${id}`, { method: 'DELETE', headers })).status;
  expect(await end(strange.id)).toBe(404);
  expect(await end('no-such-session')).toBe(404);
  expect(await end('x')).toBe(404);
  expect(world.stub.sessions.has(strange.token)).toBe(true);
  expect(await end(other.id)).toBe(204);
  const all = await fetch(sessions, { method: 'DELETE', headers });
  expect([all.status, all.headers.getSetCookie()[0]]).toEqual([204, expect.stringContaining('Max-Age=0')]);
  expect((await fetch(sessions, { headers })).status).toBe(401);
});

/** A cookie is sent by itself; a page of another site must not be able to act with it. */
test('a session that a page of another site uses may read nothing new and change nothing', async ({ world }) => {
  const { token } = world.stub.openSession('alice');
  const origin = world.origins['password'] ?? '';
  const cookie = `postern_session=${token}`;
  const send = async (headers: Record<string, string>, path = '/api/sql'): Promise<number> =>
    (await fetch(`${origin}${path}`, { method: 'POST', headers: { ...JSON_HEADERS, ...headers }, body: '{}' })).status;
  expect(await send({ cookie })).toBe(200);
  expect(await send({ cookie, origin })).toBe(200);
  expect(await send({ cookie, origin: 'https://evil.test' })).toBe(403);
  expect(await send({ cookie, origin: 'https://app.test' })).toBe(403);
  expect(await send({ cookie, origin: 'null' })).toBe(403);
  expect(await send({ cookie, origin: 'https://evil.test' }, '/api/logout')).toBe(403);
  expect(world.stub.sessions.has(token)).toBe(true);
  expect(await send({ ...basic('alice', PASSWORD), origin: 'https://evil.test' })).toBe(200);
});

test('two session cookies are refused: one of them may be somebody else’s', async ({ world }) => {
  const { token } = world.stub.openSession('alice');
  const response = await fetch(`${world.origins['password']}/api/me`, {
    headers: { cookie: `postern_session=${token}; postern_session=${token}` },
  });
  expect([response.status, await response.json()]).toEqual([400, expect.objectContaining({ code: 'HEADER_MALFORMED' })]);
});

test('preflights of allowed origins need no credentials, and answers to them are readable', async ({ world }) => {
  const url = `${world.origins['password']}/api/sql`;
  const preflight = (origin: string): Promise<Response> =>
    fetch(url, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST' } });
  const allowed = await preflight('https://app.test');
  expect([allowed.status, await allowed.text()]).toEqual([200, '']);
  expect(Object.fromEntries(allowed.headers)).toMatchObject({
    'access-control-allow-origin': 'https://app.test',
    'access-control-allow-headers': 'authorization,content-type,last-event-id,x-materialize-version,x-postern-version',
    'access-control-allow-methods': '*',
    'access-control-max-age': '3600',
    vary: 'origin',
  });
  expect((await preflight('https://a.example.com')).headers.get('access-control-allow-origin')).toBe('https://a.example.com');
  const refused = await preflight('https://evil.test');
  expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([200, null]);
  const denied = await fetch(url, { method: 'POST', headers: { origin: 'https://app.test' } });
  expect([denied.status, denied.headers.get('access-control-allow-origin')]).toEqual([401, 'https://app.test']);
  const served = await fetch(url, {
    method: 'POST',
    body: '{}',
    headers: { ...basic('alice', PASSWORD), origin: 'https://evil.test' },
  });
  expect([served.status, served.headers.get('access-control-allow-origin')]).toEqual([200, null]);
  const metrics = await fetch(`${world.origins['password']}/metrics`, { headers: { origin: 'https://app.test' } });
  expect(metrics.headers.get('access-control-allow-origin')).toBeNull();
});

test('the home page shows the build and only what this listener has, and runs no script', async ({ world }) => {
  const page = async (listener: string): Promise<Response> =>
    fetch(`${world.origins[listener]}/`, { headers: basic('alice', PASSWORD) });
  const response = await page('password');
  const html = await response.text();
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
  expect(response.headers.get('content-security-policy')).toMatch(
    /^default-src 'none'; style-src 'sha256-[\w+/=]+'; .*frame-ancestors 'none'$/,
  );
  expect(html).toContain('1.2.3');
  expect(html).toContain('/api/login');
  expect(html).toContain('/metrics');
  expect(html).not.toContain('<script');
  const none = await (await page('none')).text();
  expect(none).not.toContain('/api/login');
  const proxied = await (await page('proxied')).text();
  expect(proxied).not.toContain('/metrics');
});

test('a group that is off is 404, a known path with another method is 405 and says which it takes', async ({ world }) => {
  const answer = async (listener: string, method: string, path: string): Promise<[number, string | null]> => {
    const response = await fetch(`${world.origins[listener]}${path}`, { method, headers: basic('alice', PASSWORD) });
    return [response.status, response.headers.get('allow')];
  };
  expect(await answer('metrics_only', 'POST', '/api/sql')).toEqual([404, null]);
  expect(await answer('proxied', 'GET', '/metrics')).toEqual([404, null]);
  expect(await answer('password', 'GET', '/api/sql')).toEqual([405, 'POST']);
  expect(await answer('password', 'POST', '/metrics')).toEqual([405, 'GET, HEAD']);
  expect(await answer('password', 'GET', '/api/login')).toEqual([405, 'POST']);
});

test('probes answer without credentials on every kind', async ({ world }) => {
  for (const listener of ['none', 'password', 'oidc', 'password_internal', 'metrics_only']) {
    const alive = await fetch(`${world.origins[listener]}/api/livez`);
    expect([alive.status, await alive.text()]).toEqual([200, 'Liveness check successful!']);
    const ready = await fetch(`${world.origins[listener]}/api/readyz`);
    expect([ready.status, await ready.text()]).toEqual([200, 'ready']);
  }
});

test('a client that leaves with requests in the pipeline leaves none of them under way', async ({ open }) => {
  await using world = await open();
  world.sql.reply = (request) => void request.resume();
  const body = '{}';
  const { authorization } = basic('alice', PASSWORD);
  const bytes = rawRequest('POST /api/sql HTTP/1.1', [`Authorization: ${authorization}`, `Content-Length: ${body.length}`], body);
  const socket = connect(world.port('password'), '127.0.0.1').on('error', () => {});
  socket.write(bytes.repeat(3));
  await eventually(() => expect(world.sql.arrived.length).toBe(3));
  socket.destroy();
  await eventually(() => expect(world.sql.arrived.map(({ aborted }) => aborted)).toEqual([true, true, true]));
  await eventually(async () =>
    expect(await world.metrics.metrics()).toContain('postern_http_requests_active{path="/api/sql",source="password"} 0'),
  );
});

test('metrics count by template, listener and status, and the gauge falls when a client leaves', async ({ open }) => {
  await using world = await open();
  const headers = basic('alice', PASSWORD);
  await fetch(`${world.origins['password']}/api/people/somebody`, { headers });
  await fetch(`${world.origins['password']}/nothing/${'x'.repeat(50)}`, { headers });
  world.sql.reply = (request) => void request.resume();
  const left = new AbortController();
  const hanging = fetch(`${world.origins['password']}/api/sql`, { method: 'POST', body: '{}', headers, signal: left.signal });
  await eventually(() => world.sql.arrived.length === 1);
  const scrape = async (): Promise<string> => (await fetch(`${world.origins['none']}/metrics`)).text();
  expect(await scrape()).toContain('postern_http_requests_active{path="/api/sql",source="password"} 1');
  left.abort();
  await hanging.catch(() => {});
  await eventually(async () =>
    expect(await scrape()).toContain('postern_http_requests_active{path="/api/sql",source="password"} 0'),
  );
  const text = await scrape();
  expect(text).toContain('postern_http_requests_total{path="/api/people/{name}",source="password",status="200"} 1');
  expect(text).toContain('postern_http_requests_total{path="none",source="password",status="404"} 1');
  expect(text).toContain('postern_http_requests_total{path="/api/sql",source="password",status="499"} 1');
  expect(text).toContain(
    'postern_http_request_duration_seconds_bucket{le="0.000128",path="/api/people/{name}",source="password"}',
  );
  expect(text).not.toContain('somebody');
});

/** What a route answers to that name with its password, or to nobody; 101 for a socket that is opened. */
async function verdictOf(
  world: World,
  listener: string,
  route: Route,
  method: string,
  name: string | undefined,
): Promise<number> {
  const path = route.path.replaceAll(/\{\w+\}/g, 'a-name-of-length');
  if (route.socket === undefined) {
    const credentials = name === undefined ? {} : basic(name, PASSWORD);
    const string =
      name === undefined ? 'nobody' : `postgres://${encodeURIComponent(name)}:${encodeURIComponent(PASSWORD)}@edge/db`;
    const headers = route.dialect === 'neon' ? { 'neon-connection-string': string } : credentials;
    return (await fetch(`${world.origins[listener]}${path}`, { method, headers })).status;
  }
  await using client = await talk(world, listener, path);
  const user = name === undefined ? {} : { user: name };
  if (route.socket === 'sql') client.ws.send(JSON.stringify({ ...user, password: PASSWORD }));
  else client.ws.send(Buffer.concat([startupMessage(user), passwordMessage(PASSWORD)]));
  client.ws.on('message', (bytes: Buffer) => void (String(bytes).startsWith('hello') && client.ws.close(4_000)));
  return (await client.closed).code === 4_000 ? 101 : 401;
}

/** imm-058: every route × kind × policy, against what was reviewed. A new route without a line here fails. */
test('who may use which route is what was reviewed', async ({ world }) => {
  const verdicts: string[] = [];
  const listeners = ['none_normal', 'none_internal', 'none', 'password_normal', 'password_internal', 'password'];
  for (const route of routeTable) {
    for (const method of route.methods) {
      const row: string[] = [];
      for (const listener of listeners) {
        for (const name of ['alice', 'mz_system', 'pg_somebody', undefined]) {
          const status = await verdictOf(world, listener, route, method, name);
          expect(status).not.toBe(503);
          const isDenied = status === 401 || (status === 400 && route.dialect === 'neon');
          row.push(isDenied ? '-' : status === 404 && route.group === 'login' ? '.' : '+');
        }
        row.push(' ');
      }
      const label = route.socket === undefined ? method : 'SOCKET';
      verdicts.push(`${label.padEnd(6)} ${route.path.padEnd(34)} ${row.join('').trim()}`);
    }
  }
  await expect(`${verdicts.join('\n')}\n`).toMatchFileSnapshot('verdicts.txt');
});
