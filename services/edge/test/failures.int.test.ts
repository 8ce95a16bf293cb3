import { once } from 'node:events';
import { connect } from 'node:net';
import { startOwnNats } from '@postern/testkit/own-nats';
import { eventually } from '@postern/testkit/eventually';
import { expect } from 'vitest';

import { basic, bearer, edgeTest as test } from './edge-test.ts';
import { rawRequest, sendRaw } from './raw-client.ts';
import { openWorld } from './world.ts';
import type { World } from './world.ts';
import { ALICE_KEY, PASSWORD } from './world.ts';

const routes: readonly (readonly [string, string])[] = [
  ['POST', '/api/sql'],
  ['GET', '/api/people'],
  ['GET', '/api/me'],
  ['GET', '/api/sessions'],
  ['GET', '/'],
  ['GET', '/metrics'],
];

const send = (world: World, method: string, path: string, headers: Record<string, string>): Promise<Response> =>
  fetch(`${world.origins['password']}${path}`, { method, headers, ...(method === 'POST' && { body: '{}' }) });

async function expectAway(world: World, affected: readonly (readonly [string, string])[]): Promise<void> {
  const { token } = world.stub.openSession('alice');
  const credentials = [basic('alice', PASSWORD), bearer(ALICE_KEY), { cookie: `postern_session=${token}` }, {}];
  for (const [method, path] of affected) {
    for (const headers of credentials as Record<string, string>[]) {
      const response = await send(world, method, path, headers);
      expect([method, path, response.status]).toEqual([method, path, 503]);
      expect([response.headers.get('content-type'), response.headers.get('retry-after')]).toEqual([
        'application/problem+json',
        '1',
      ]);
      expect(await response.json()).toMatchObject({ code: 'UNAVAILABLE', status: 503 });
    }
  }
  expect((await fetch(`${world.origins['password']}/api/livez`)).status).toBe(200);
  const ready = await fetch(`${world.origins['password']}/api/readyz`);
  expect([ready.status, await ready.text()]).toEqual([503, 'not ready']);
}

/** imm-055: what cannot be checked is refused, also where the answer would be remembered. */
test.for([
  ['auth', routes],
  ['session', routes],
  ['sql', [['POST', '/api/sql']]],
] as const)('without %s its routes answer 503 at once, whoever asks', async ([service, affected], { open }) => {
  await using world = await open();
  for (const headers of [basic('alice', PASSWORD), bearer(ALICE_KEY)])
    expect((await send(world, 'POST', '/api/sql', headers)).status).toBe(200);
  await world.without(service);
  await expectAway(world, affected);
});

test('without sql everything else goes on', async ({ open }) => {
  await using world = await open();
  await world.without('sql');
  expect((await send(world, 'GET', '/api/me', basic('alice', PASSWORD))).status).toBe(200);
});

test('without auth a None listener still shows its metrics', async ({ open }) => {
  await using world = await open();
  await world.without('auth');
  expect((await fetch(`${world.origins['none']}/metrics`)).status).toBe(200);
  expect((await fetch(`${world.origins['none']}/api/me`)).status).toBe(503);
});

test('an auth that does not answer in time is an auth that is away', async ({ open }) => {
  await using world = await open();
  const held = Promise.withResolvers<void>();
  world.stub.hold = held.promise;
  const response = await send(world, 'GET', '/api/me', bearer(ALICE_KEY)).finally(() => held.resolve());
  expect([response.status, await response.json()]).toEqual([503, expect.objectContaining({ code: 'UNAVAILABLE' })]);
});

test('login without a session service is 503', async ({ open }) => {
  await using world = await open();
  await world.without('session');
  const response = await fetch(`${world.origins['password']}/api/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username: 'alice', password: PASSWORD }),
  });
  expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
});

/** imm-055: the bus goes and comes back; nothing is restarted, and nothing that was remembered is believed meanwhile. */
test('without the bus everything protected answers 503, and serves again when it is back', async () => {
  await using nats = await startOwnNats();
  await using world = await openWorld({ nats });
  expect((await send(world, 'POST', '/api/sql', bearer(ALICE_KEY))).status).toBe(200);
  await nats.stop();
  await eventually(async () => expect((await send(world, 'POST', '/api/sql', bearer(ALICE_KEY))).status).toBe(503));
  await expectAway(world, routes);
  const waiting = fetch(`${world.origins['password']}/api/readyz?wait=true`);
  await nats.start();
  const ready = await waiting;
  expect([ready.status, await ready.text()]).toEqual([200, 'ready']);
  expect((await send(world, 'POST', '/api/sql', bearer(ALICE_KEY))).status).toBe(200);
});

test('readyz?wait=true waits until SQL can be served, and no longer than the edge does', async ({ open }) => {
  await using world = await open();
  await world.without('sql');
  const left = new AbortController();
  const gone = fetch(`${world.origins['password']}/api/readyz?wait=true`, { signal: left.signal });
  left.abort();
  await expect(gone).rejects.toThrow();
  const waiting = fetch(`${world.origins['password']}/api/readyz?wait=true`);
  await eventually(async () =>
    expect((await world.metrics.metrics()).includes('postern_http_requests_active{path="/api/readyz",source="password"} 1')).toBe(
      true,
    ),
  );
  await world.drain();
  const response = await waiting;
  expect([response.status, await response.text()]).toEqual([503, 'not ready']);
});

test('a stop says so, still serves for a while, and finishes what is under way', async ({ open }) => {
  await using world = await open({ drainNoticeMs: 2_000 });
  const held = Promise.withResolvers<void>();
  world.sql.reply = (request, response) => {
    request.resume();
    void held.promise.then(() => response.end('late'));
  };
  const underWay = send(world, 'POST', '/api/sql', bearer(ALICE_KEY));
  await eventually(() => world.sql.arrived.length === 1);
  const drained = world.drain();
  const during = await send(world, 'GET', '/api/me', bearer(ALICE_KEY));
  expect([during.status, during.headers.get('connection')]).toEqual([200, 'close']);
  expect((await fetch(`${world.origins['password']}/api/readyz`)).status).toBe(503);
  await eventually(() => expect(fetch(`${world.origins['password']}/api/livez`)).rejects.toThrow());
  held.resolve();
  const late = await underWay;
  expect([late.status, await late.text()]).toEqual([200, 'late']);
  await drained;
});

test('a stop waits for no connection on which nothing is under way', async ({ open }) => {
  await using world = await open();
  const held = Promise.withResolvers<void>();
  world.sql.reply = (request, response) => {
    request.resume();
    response.write('begun');
    void held.promise.then(() => response.end('done'));
  };
  const authorization = `Authorization: ${basic('alice', PASSWORD)['authorization'] ?? ''}`;
  const asking = rawRequest('POST /api/sql HTTP/1.1', [authorization, 'Content-Length: 2'], '{}');
  const bytes = ['', 'GET / HTTP/1.1\r\nX-Half: ', rawRequest('GET /api/livez HTTP/1.1'), asking];
  const options = { port: world.port('password'), host: '127.0.0.1', allowHalfOpen: true };
  const sockets = bytes.map(() =>
    connect(options)
      .on('error', () => {})
      .resume(),
  );
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  const begun = Promise.all(sockets.slice(3).map((socket) => once(socket, 'data')));
  sockets.forEach((socket, index) => void (bytes[index] !== '' && socket.write(bytes[index] ?? '')));
  await eventually(() => world.sql.arrived.length === 1);
  await begun;
  const drained = world.drain();
  await Promise.all(sockets.slice(0, 3).map((socket) => once(socket, 'end')));
  held.resolve();
  await drained;
});

/** imm-097: limits come before everything, and hold a slow client's connection only so long. */
test('a client that is slow with its head or its body is told 408, and long answers are not cut', async ({ open }) => {
  await using world = await open({ headMs: 500, requestMs: 800 });
  const slowHead = await sendRaw(world.port('password'), 'POST /api/sql HTTP/1.1\r\nHost: edge\r\nX-Slow: ');
  expect([slowHead.answers[0]?.status, slowHead.closed]).toEqual([408, true]);
  const authorization = `Authorization: ${basic('alice', PASSWORD)['authorization'] ?? ''}`;
  const slowBody = await sendRaw(
    world.port('password'),
    rawRequest('POST /api/sql HTTP/1.1', [authorization, 'Content-Length: 10'], 'only'),
  );
  expect([slowBody.answers[0]?.status, slowBody.closed]).toEqual([408, true]);
  expect(JSON.parse(slowBody.answers[0]?.body ?? '')).toMatchObject({ code: 'REQUEST_TIMEOUT' });
  const slow = Promise.withResolvers<void>();
  world.sql.reply = (request, response) => {
    request.resume();
    void slow.promise.then(() => response.end('late'));
  };
  const answer = send(world, 'POST', '/api/sql', bearer(ALICE_KEY));
  await sendRaw(world.port('password'), 'GET / HTTP/1.1\r\nX-Slow: ');
  await sendRaw(world.port('password'), 'GET / HTTP/1.1\r\nX-Slow: ');
  slow.resolve();
  expect((await answer).status).toBe(200);
});

test('a connection too many is shut at once, and the others go on', async ({ open }) => {
  await using world = await open({ connectionsMax: 2 });
  const held = [1, 2].map(() => connect(world.port('password'), '127.0.0.1').on('error', () => {}));
  await Promise.all(held.map((socket) => once(socket, 'connect')));
  const refused = await sendRaw(world.port('password'), rawRequest('GET /api/livez HTTP/1.1')).catch(() => ({
    answers: [],
    closed: true,
  }));
  expect(refused).toEqual({ answers: [], closed: true });
  held[0]?.destroy();
  await eventually(async () => expect((await fetch(`${world.origins['password']}/api/livez`)).status).toBe(200));
  held[1]?.destroy();
});
