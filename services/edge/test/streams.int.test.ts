/** Answers without an end in sight, and requests that belong to one replica. */
import { announce } from '@postern/rpc/announce';
import { eventually } from '@postern/testkit/eventually';
import { beforeEach, expect } from 'vitest';

import type { Canary } from './canary.ts';
import { openCanary } from './canary.ts';
import { basic, bearer, edgeTest as test } from './edge-test.ts';
import { ALICE_KEY, PASSWORD } from './world.ts';

const ALICE: Record<string, string> = { ...basic('alice', PASSWORD), 'content-type': 'application/json' };

beforeEach<{ world: { sql: Canary } }>(({ world }) => {
  world.sql.reply = undefined;
  world.sql.release();
});

/** Begins a stream of that type and leaves it open. */
function stream(canary: Canary, type: string): { write(text: string): void } {
  const begun = Promise.withResolvers<(text: string) => void>();
  canary.reply = (request, response) => {
    request.resume();
    response.writeHead(200, { 'content-type': type, 'neon-batch-read-only': 'true' });
    response.flushHeaders();
    begun.resolve((text) => void response.write(text));
  };
  return { write: (text) => void begun.promise.then((write) => write(text)) };
}

test.for([
  ['POST', '/api/sql', 'application/x-ndjson'],
  ['POST', '/api/sql', 'text/csv'],
  ['POST', '/api/sql', 'text/event-stream'],
  ['GET', '/api/sql/subscribe?query=select%201', 'text/event-stream'],
  ['GET', '/api/sql/listen?channel=a&channel=b', 'text/event-stream'],
] as const)(
  '%s %s as %s: head and parts come when they are written, and a client that leaves is told on',
  async ([method, path, type], { world }) => {
    const { write } = stream(world.sql, type);
    const left = new AbortController();
    const response = await fetch(`${world.origins['password']}${path}`, {
      method,
      headers: { ...ALICE, accept: type, 'last-event-id': 'sql-1.17' },
      signal: left.signal,
      ...(method === 'POST' && { body: '{"query":"select 1"}' }),
    });
    expect([response.status, response.headers.get('content-type'), response.headers.get('neon-batch-read-only')]).toEqual([
      200,
      type,
      null,
    ]);
    const reader = response.body?.getReader();
    for (const part of ['one', 'two']) {
      write(part);
      expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe(part);
    }
    const { url, values } = world.sql.last();
    expect([url, values('accept'), values('last-event-id')]).toEqual([path, [type], ['sql-1.17']]);
    left.abort();
    await eventually(() => expect(world.sql.last().aborted).toBe(true), { timeoutMs: 2_000 });
  },
);

test('only feeds are told where a client was', async ({ world }) => {
  await fetch(`${world.origins['password']}/api/me`, { headers: { ...ALICE, 'last-event-id': 'x' } });
  expect(world.auth.last().values('last-event-id')).toEqual([]);
});

/** Otherwise as many feeds as there may be connections would shut everybody else out. */
test('feeds do not take the place of requests', async ({ open }) => {
  await using world = await open({ socketsMax: 1, waitingMax: 4 });
  const { write } = stream(world.sql, 'text/event-stream');
  const url = `${world.origins['password']}/api/sql/subscribe?query=x`;
  const feeds = await Promise.all([1, 2, 3].map(async () => fetch(url, { headers: ALICE })));
  write('x');
  world.sql.reply = undefined;
  const answer = await fetch(`${world.origins['password']}/api/sql`, { method: 'POST', headers: ALICE, body: '{}' });
  expect(answer.status).toBe(200);
  await Promise.all(feeds.map(async ({ body }) => body?.cancel()));
  await eventually(() => expect(world.sql.arrived.slice(0, 3).map(({ aborted }) => aborted)).toEqual([true, true, true]));
});

/** imm-078, imm-110: a browser sends the cookie by itself, and a GET without asking first. */
test.for(['/api/sql/subscribe?query=x', '/api/sql/listen?channel=x'])(
  'a page of another site cannot have the cookie open %s, nor a None listener believe it',
  async (path, { world }) => {
    const { token } = world.stub.openSession('alice');
    const cookie = `postern_session=${token}`;
    const status = async (listener: string, headers: Record<string, string>): Promise<number> =>
      (await fetch(`${world.origins[listener]}${path}`, { headers })).status;
    const own = world.origins['password'] ?? '';
    expect(await status('password', { cookie })).toBe(200);
    expect(await status('password', { cookie, origin: own, 'sec-fetch-site': 'same-origin' })).toBe(200);
    const before = world.sql.arrived.length;
    for (const foreign of ['http://evil.test', 'null', 'https://app.test', own.replace('http:', 'https:')]) {
      expect(await status('password', { cookie, origin: foreign })).toBe(403);
    }
    expect(await status('password', { cookie, 'sec-fetch-site': 'cross-site' })).toBe(403);
    expect(await status('password', { cookie, 'sec-fetch-site': 'same-site' })).toBe(403);
    expect(await status('none', { origin: 'http://evil.test' })).toBe(403);
    expect(await status('none', { 'sec-fetch-site': 'cross-site' })).toBe(403);
    expect(world.sql.arrived.length).toBe(before);
    expect(await status('none', {})).toBe(200);
    expect(await status('none', { origin: 'https://app.test' })).toBe(200);
    expect(await status('password', { ...bearer(ALICE_KEY), origin: 'https://app.test' })).toBe(200);
  },
);

test('what a replica holds is asked of that replica, while it is ready', async ({ open }) => {
  await using world = await open();
  await using second = await openCanary(async () => Promise.reject(new Error('nobody')));
  const replica = await announce(world.buses.sql, 'sql', { replicaId: 'sql-2', url: second.origin, isReady: async () => true });
  const get = async (path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<number> =>
    (await fetch(`${world.origins['password']}${path}`, { method, headers: { ...ALICE, ...headers } })).status;
  await eventually(async () => {
    await get('/api/sql/statements');
    return second.arrived.length > 0;
  });
  const [one, two] = [world.sql.arrived.length, second.arrived.length];
  for (let count = 0; count < 4; count += 1) {
    expect(await get('/api/sql/statements/sql-2.abc')).toBe(200);
    expect(await get('/api/sql/statements/sql-2.abc/results')).toBe(200);
    expect(await get('/api/sql/statements/sql-2.abc', {}, 'DELETE')).toBe(200);
    expect(await get('/api/sql/subscribe?query=x', { 'last-event-id': 'sql-2.9' })).toBe(200);
  }
  expect([world.sql.arrived.length, second.arrived.length]).toEqual([one, two + 16]);
  await replica[Symbol.asyncDispose]();
  await eventually(async () => {
    const before = second.arrived.length;
    expect(await get('/api/sql/statements/sql-2.abc')).toBe(200);
    expect(second.arrived.length).toBe(before);
  });
});
