/** SQL over WebSocket at the edge: who may open one, what the service sees of it, and how it is refused. */
import { announce } from '@postern/rpc/announce';
import { eventually } from '@postern/testkit/eventually';
import { beforeEach, expect } from 'vitest';
import type { WebSocket } from 'ws';

import { clientFrame, OPCODE, serverFrame } from '../src/domain/frames.ts';
import { openCanary } from './canary.ts';
import { basic, bearer, edgeTest as test } from './edge-test.ts';
import { rawRequest, sendRaw } from './raw-client.ts';
import { MASK, openRaw, refusedWith, talk, textFrame, UPGRADE } from './socket-client.ts';
import type { World } from './world.ts';
import { ALICE_KEY, PASSWORD } from './world.ts';

const PATHS = ['/api/experimental/sql', '/api/v1/sql'] as const;
const PATH = '/api/v1/sql';
const ALICE = { user: 'alice', password: PASSWORD };
const UNAUTHORIZED = { code: 1_002, reason: 'unauthorized' };

beforeEach<{ world: World }>(({ world }) => {
  world.sql.upgrade = undefined;
  world.sql.release();
  world.stub.hold = undefined;
  world.stub.lockedForSeconds = 0;
});

const cookie = (token: string): Record<string, string> => ({ cookie: `postern_session=${token}` });

/** What the socket says first after this message: a greeting with the name, or how it is closed. */
async function greeted(
  world: World,
  listener: string,
  message: unknown,
  headers: Record<string, string> = {},
): Promise<string | { code: number; reason: string }> {
  await using client = await talk(world, listener, PATH, { headers });
  client.ws.send(typeof message === 'string' ? message : JSON.stringify(message));
  return await Promise.race([client.next().then(String), client.closed]).catch(async () => client.closed);
}

test.for(PATHS)(
  '%s: who the first message names is who the service is told of, and everything behind it passes',
  async (path, { world }) => {
    await using client = await talk(world, 'password', `${path}?options=%7B%22a%22%3A%22b%22%7D&x=y`, {
      headers: { 'user-agent': 'mine' },
    });
    client.ws.send(JSON.stringify({ ...ALICE, options: { search_path: 'a, "b"', application_name: 'é' }, other: 1 }));
    client.ws.send('{"query":"select 1"}');
    client.ws.send(Buffer.from([0, 1, 2]));
    expect([String(await client.next()), String(await client.next())]).toEqual(['hello alice', '{"query":"select 1"}']);
    expect(await client.next()).toEqual(Buffer.from([0, 1, 2]));
    const { url, values, principal, heard } = world.sql.lastSocket();
    expect(new URL(url, 'http://x').pathname).toBe(path);
    expect([...new URL(url, 'http://x').searchParams]).toEqual([
      ['options', JSON.stringify({ search_path: 'a, "b"', application_name: 'é' })],
    ]);
    expect([values('user-agent'), values('x-request-id').length, values('x-postern-principal').length]).toEqual([['mine'], 1, 1]);
    expect(values('sec-websocket-extensions')).toEqual([]);
    expect(principal).toMatchObject({ name: 'alice', method: 'password' });
    expect(heard.map(({ kind, bytes }) => [kind, bytes.toString('latin1')])).toEqual([
      ['text', '{"query":"select 1"}'],
      ['binary', '\0\x01\x02'],
    ]);
    client.ws.close(4_000, 'enough');
    await eventually(() => expect(heard.at(-1)).toMatchObject({ kind: 'close', code: 4_000 }));
    expect((await client.closed).code).toBe(4_000);
  },
);

test('the three shapes are tried in order, on every kind', async ({ world }) => {
  const token = { token: ALICE_KEY };
  expect(await greeted(world, 'password', ALICE)).toBe('hello alice');
  expect(await greeted(world, 'password', { user: 'alice', password: ALICE_KEY })).toBe('hello alice');
  expect(await greeted(world, 'password', { user: 'bob', password: ALICE_KEY })).toEqual(UNAUTHORIZED);
  expect(await greeted(world, 'password', token)).toBe('hello alice');
  expect(await greeted(world, 'password', { ...ALICE, ...token })).toBe('hello alice');
  expect(await greeted(world, 'password', { user: 'bob', ...token })).toBe('hello alice');
  expect(await greeted(world, 'password', { ...ALICE, password: 'wrong' })).toEqual(UNAUTHORIZED);
  expect(await greeted(world, 'password', { token: 'some.jwt.token' })).toEqual(UNAUTHORIZED);
  expect(await greeted(world, 'oidc', { token: 'some.jwt.token' })).toEqual(UNAUTHORIZED);
  for (const none of [{}, { options: {} }, { user: 'alice' }, { user: 1, password: 2 }]) {
    expect(await greeted(world, 'password', none)).toEqual(UNAUTHORIZED);
    expect(await greeted(world, 'none', none)).toEqual(UNAUTHORIZED);
  }
  expect(await greeted(world, 'none', { user: 'somebody', password: '' })).toBe('hello somebody');
  expect(await greeted(world, 'none', { token: 'whatever' })).toBe('hello anonymous_http_user');
});

test('a name with a colon is a name like others', async ({ world }) => {
  world.stub.people.set('a:b', 'c:d');
  expect(await greeted(world, 'password', { user: 'a:b', password: 'c:d' })).toBe('hello a:b');
  expect(await greeted(world, 'password', { user: 'a', password: 'b:c:d' })).toEqual(UNAUTHORIZED);
});

test.for([
  'not json',
  '{"user":"alice"',
  '[]',
  'null',
  '"text"',
  '1',
  '',
  JSON.stringify({ ...ALICE, options: [] }),
  JSON.stringify({ ...ALICE, options: 'a' }),
  JSON.stringify({ ...ALICE, options: { a: 1 } }),
  JSON.stringify([ALICE]),
])('a first message %j opens nothing', async (message, { world }) => {
  const before = world.sql.sockets.length;
  expect(await greeted(world, 'password', message)).toEqual(UNAUTHORIZED);
  expect(world.sql.sockets.length).toBe(before);
});

/** imm-057 */
test('the role policy of the group holds in band as in a header', async ({ world }) => {
  const system = { user: 'mz_system', password: PASSWORD };
  const names = ['password_normal', 'password_internal', 'password', 'none_normal', 'none_internal', 'none'];
  const verdicts = async (message: unknown): Promise<boolean[]> =>
    Promise.all(names.map(async (listener) => typeof (await greeted(world, listener, message)) === 'string'));
  expect(await verdicts(ALICE)).toEqual([true, false, true, true, false, true]);
  expect(await verdicts(system)).toEqual([false, true, true, false, true, true]);
  expect(await verdicts({ user: 'pg_somebody', password: PASSWORD })).toEqual([false, false, false, false, false, false]);
});

test('a live cookie of this origin speaks for a message without credentials, and is beaten by one that has some', async ({
  world,
}) => {
  const session = world.stub.openSession('bob');
  const own = cookie(session.token);
  expect(await greeted(world, 'password', { options: {} }, own)).toBe('hello bob');
  expect(world.sql.lastSocket().principal).toMatchObject({ sessionId: session.id, method: 'session' });
  expect(await greeted(world, 'password', ALICE, own)).toBe('hello alice');
  expect(await greeted(world, 'password', { ...ALICE, password: 'x' }, own)).toEqual(UNAUTHORIZED);
  expect(await greeted(world, 'password', {}, cookie('n'.repeat(43)))).toEqual(UNAUTHORIZED);
  expect(await greeted(world, 'none', {}, own)).toEqual(UNAUTHORIZED);
  expect(await greeted(world, 'password_internal', {}, own)).toEqual(UNAUTHORIZED);
  session.expired = true;
  world.revokeSession('id-bob', session.id);
  await eventually(async () => expect(await refusedWith(world, 'password', PATH, { headers: own })).toBe(401));
});

test('a socket ends with the session that opened it, also if nobody says that the session is over', async ({ world }) => {
  const session = world.stub.openSession('bob');
  await using socket = await talk(world, 'password', PATH, { headers: cookie(session.token) });
  socket.ws.send('{}');
  await socket.next();
  world.stub.sessions.delete(session.token);
  expect(await socket.closed).toMatchObject({ code: 4401 });
});

test('an Authorization header on the upgrade says nothing', async ({ world }) => {
  expect(await greeted(world, 'password', {}, basic('alice', PASSWORD))).toEqual(UNAUTHORIZED);
  expect(await greeted(world, 'none', {}, basic('alice', PASSWORD))).toEqual(UNAUTHORIZED);
});

test('a trusted header names the user of None listeners, and credentials beside it are one too many', async ({ world }) => {
  const system = { 'x-materialize-user': 'mz_system' };
  expect(await greeted(world, 'none_internal', {}, system)).toBe('hello mz_system');
  expect(await greeted(world, 'none', { options: {} }, { 'x-postern-user': 'mz_support' })).toBe('hello mz_support');
  expect(await greeted(world, 'none', { user: 'mz_system', password: '' }, system)).toEqual(UNAUTHORIZED);
  expect(await greeted(world, 'none', { token: 'x' }, system)).toEqual(UNAUTHORIZED);
  expect(await greeted(world, 'none_normal', {}, system)).toEqual(UNAUTHORIZED);
  expect(await refusedWith(world, 'none', PATH, { headers: { 'x-materialize-user': 'alice' } })).toBe(401);
  expect(await refusedWith(world, 'none', PATH, { headers: { ...system, 'x-postern-user': 'mz_support' } })).toBe(401);
  expect(await greeted(world, 'password', {}, system)).toEqual(UNAUTHORIZED);
});

/** imm-078, imm-110: the same-origin policy does not hold for sockets; a page can open one to wherever its reader can. */
test('a page of another site is refused: with the cookie always, without one unless it was named', async ({ world }) => {
  const { token } = world.stub.openSession('alice');
  const own = world.origins['password'] ?? '';
  const status = async (listener: string, headers: Record<string, string>, path: string = PATH): Promise<number> =>
    refusedWith(world, listener, path, { headers });
  const before = world.sql.sockets.length;
  for (const path of PATHS) {
    expect(await status('password', { origin: own, ...cookie(token) }, path)).toBe(101);
    expect(await status('password', { origin: 'https://app.test' }, path)).toBe(101);
    for (const origin of ['http://evil.test', 'null', own.replace('127.0.0.1', 'localhost'), `${own}.evil.test`]) {
      expect(await status('password', { origin, ...cookie(token) }, path)).toBe(403);
      expect(await status('password', { origin }, path)).toBe(403);
    }
    expect(await status('password', { origin: 'https://app.test', ...cookie(token) }, path)).toBe(403);
    expect(await status('password', { 'sec-fetch-site': 'cross-site', ...cookie(token) }, path)).toBe(403);
  }
  // Whoever reaches a None listener is believed: there, a name that somebody else answers for is no proof either.
  const none = world.origins['none'] ?? '';
  const rebound = { host: `evil.test:${world.port('none')}`, origin: `http://evil.test:${world.port('none')}` };
  for (const path of [...PATHS, '/v2']) {
    expect(await status('none', { origin: none }, path)).toBe(101);
    expect(await status('none', { origin: 'https://app.test' }, path)).toBe(101);
    expect(await status('none', { origin: 'http://evil.test' }, path)).toBe(403);
    expect(await status('none', rebound, path)).toBe(403);
  }
  expect(await status('password', { origin: 'http://evil.test' }, '/v2')).toBe(101);
  expect(world.sql.sockets.length).toBe(before);
});

/** imm-003: what holds for requests holds for upgrades. */
test('an identity header in any spelling never reaches the service over an upgrade', async ({ world }) => {
  for (const name of ['x-postern-principal', 'x_postern_principal', 'X.Postern.Principal', 'x-materialize-user', 'remote_user'])
    for (const value of ['mz_system', 'e30.e30.e30', 'mz_system, mz_system']) {
      const before = world.sql.sockets.length;
      expect(await greeted(world, 'password', ALICE, { [name]: value, 'x-deadline-ms': '1' })).toBe('hello alice');
      expect(world.sql.sockets.length).toBe(before + 1);
      const { values } = world.sql.lastSocket();
      expect([values('x-postern-principal').length, values('x-deadline-ms')]).toEqual([1, ['30000']]);
      for (const other of ['x-materialize-user', 'remote-user', 'authorization', 'cookie']) expect(values(other)).toEqual([]);
    }
});

const upgradeStatus = async (world: World, line: string, headers: readonly string[] = UPGRADE): Promise<number | undefined> =>
  (await sendRaw(world.port('password'), rawRequest(line, headers))).answers[0]?.status;

/** imm-021, imm-022: with bytes, since libraries repair a path before they send it. */
test.for([
  ['GET /./api/v1/sql', 400],
  ['GET /x/../api/v1/sql', 400],
  ['GET /api/v1/../v1/sql', 400],
  ['GET /api/%2e%2e/api/v1/sql', 400],
  ['GET /api%2fv1/sql', 400],
  ['GET /api/v1%5csql', 400],
  ['GET /api\\v1\\sql', 400],
  ['GET //api/v1/sql', 400],
  ['GET /api//v1/sql', 400],
  ['GET /api/v1/sql;x=y', 400],
  ['GET /api/v1/sql%00', 400],
  ['GET /api/v1/sql%2e', 400],
  ['GET /api/v1/%73ql', 404],
  ['GET /API/v1/sql', 404],
  ['GET /api/v1/sql/', 404],
  ['GET /api/v1/SQL', 404],
  ['GET /V2', 404],
  ['GET /v2/', 404],
  ['GET /v2%2f', 400],
  ['GET http://edge/api/v1/sql', 400],
  ['GET ws://edge/api/v1/sql', 400],
  ['GET /nothing?/api/v1/sql', 404],
  ['GET /api/sql', 404],
  ['GET /metrics', 404],
  ['GET /api/me', 404],
  ['POST /api/v1/sql', 405],
] as const)('an upgrade of %s is %i and opens nothing', async ([line, status], { world }) => {
  const before = [world.sql.sockets.length, world.sql.arrived.length];
  expect(await upgradeStatus(world, `${line} HTTP/1.1`)).toBe(status);
  expect([world.sql.sockets.length, world.sql.arrived.length]).toEqual(before);
});

const without = (name: string): string[] => UPGRADE.filter((line) => !line.startsWith(name));

test.for([
  ['no upgrade at all', [], 426],
  ['another protocol beside it', [...without('Upgrade'), 'Upgrade: websocket, h2c'], 426],
  ['version 8', [...without('Sec-WebSocket-Version'), 'Sec-WebSocket-Version: 8'], 426],
  ['no version', without('Sec-WebSocket-Version'), 426],
  ['two versions', [...UPGRADE, 'Sec-WebSocket-Version: 13'], 400],
  ['no key', without('Sec-WebSocket-Key'), 400],
  ['a key that is too short', [...without('Sec-WebSocket-Key'), 'Sec-WebSocket-Key: AAAA'], 400],
  ['two keys', [...UPGRADE, 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='], 400],
  ['a connection that names something else', [...without('Connection'), 'Connection: Upgrade, x-postern-principal'], 400],
  ['a body', [...UPGRADE, 'Content-Length: 5'], 400],
  ['a body in chunks', [...UPGRADE, 'Transfer-Encoding: chunked'], 400],
  ['a trusted header twice', [...UPGRADE, 'x-materialize-user: a', 'x-materialize-user: a'], 400],
  ['two hosts', [...UPGRADE, 'Host: other'], 400],
] as const)('a handshake with %s is refused', async ([_what, headers, status], { world }) => {
  for (const path of [PATH, '/v2']) {
    const { answers, closed } = await sendRaw(world.port('password'), rawRequest(`GET ${path} HTTP/1.1`, headers));
    expect([answers[0]?.status, closed || status === 426]).toEqual([status, true]);
    expect(answers[0]?.headers['content-type']).toBe('application/problem+json');
    if (status === 426) expect(answers[0]?.headers['sec-websocket-version']).toBe('13');
  }
});

test('HTTP/1.0 opens no socket', async ({ world }) => {
  const { answers } = await sendRaw(world.port('password'), rawRequest(`GET ${PATH} HTTP/1.0`, UPGRADE));
  expect([400, 426]).toContain(answers[0]?.status);
});

/** imm-009: bytes behind a request whose answer is still to come are not those of a socket. */
test('an upgrade behind a request that is under way is refused, and that request answered', async ({ world }) => {
  const { authorization } = basic('alice', PASSWORD);
  const request = rawRequest('GET /api/me HTTP/1.1', [`Authorization: ${authorization}`]);
  const bytes = request + rawRequest(`GET ${PATH} HTTP/1.1`, UPGRADE) + request;
  const { answers, closed } = await sendRaw(world.port('password'), bytes, 3);
  expect([answers.map(({ status }) => status), closed]).toEqual([[200, 400], true]);
});

test('no extension and no subprotocol is agreed to', async ({ world }) => {
  await using client = await talk(world, 'password', PATH, { perMessageDeflate: true });
  expect([client.ws.extensions, client.ws.protocol]).toEqual(['', '']);
});

/** What would be the message of somebody known, but for its first byte. */
const firstByte = (byte: number): Buffer => Buffer.concat([Buffer.from([byte]), textFrame(ALICE).subarray(1)]);

test.for([
  ['is not masked', serverFrame(OPCODE.text, Buffer.from(JSON.stringify(ALICE))), 1_002],
  ['has a reserved bit', firstByte(0xc1), 1_002],
  ['has the last reserved bit', firstByte(0x91), 1_002],
  ['has an unknown opcode', firstByte(0x83), 1_002],
  ['has an unknown control opcode', Buffer.concat([firstByte(0x8b), textFrame(ALICE)]), 1_002],
  ['goes on with what was not begun', firstByte(0x80), 1_002],
  ['begins anew in the middle', Buffer.concat([firstByte(0x01), textFrame(ALICE)]), 1_002],
  ['is a fragmented ping', Buffer.concat([firstByte(0x09), textFrame(ALICE)]), 1_002],
  ['is a ping that is too long', Buffer.concat([clientFrame(OPCODE.ping, Buffer.alloc(126), MASK), textFrame(ALICE)]), 1_002],
  ['is longer than an auth message may be', clientFrame(OPCODE.text, Buffer.alloc(65_537), MASK), 1_009],
  ['says that it is enormous', Buffer.from([0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), 1_009],
] as const)('a first frame that %s ends the socket', async ([_what, bytes, code], { world }) => {
  const before = world.sql.sockets.length;
  using client = await openRaw(world, 'password', PATH, bytes);
  await client.ended;
  const received = client.received();
  expect([received[0], received.readUInt16BE(2), world.sql.sockets.length]).toEqual([0x88, code, before]);
});

test('the message may come in fragments, byte by byte, with pings between; what is behind it arrives as it was', async ({
  world,
}) => {
  const text = Buffer.from(JSON.stringify(ALICE));
  const third = Math.ceil(text.length / 3);
  const parts = [0, 1, 2].map((index) => text.subarray(index * third, (index + 1) * third));
  const frames = parts.flatMap((part, index) => [
    clientFrame(index === 0 ? OPCODE.text : OPCODE.continuation, part, MASK, index === 2),
    ...(index < 2
      ? [clientFrame(OPCODE.ping, Buffer.from(`p${index}`), MASK), clientFrame(OPCODE.pong, Buffer.alloc(0), MASK)]
      : []),
  ]);
  const behind = [textFrame('one'), clientFrame(OPCODE.ping, Buffer.from('later'), MASK), textFrame('x'.repeat(70_000))];
  const all = Buffer.concat([...frames, ...behind]);
  using client = await openRaw(world, 'password', PATH);
  for (let index = 0; index < 600; index += 1) client.socket.write(all.subarray(index, index + 1));
  client.socket.write(all.subarray(600));
  await eventually(() => expect(world.sql.sockets.at(-1)?.heard.length).toBe(3));
  const { heard } = world.sql.lastSocket();
  expect(heard.map(({ kind, bytes }) => [kind, bytes.length])).toEqual([
    ['text', 3],
    ['ping', 5],
    ['text', 70_000],
  ]);
  expect(client.received().subarray(0, 8)).toEqual(
    Buffer.concat([serverFrame(OPCODE.pong, Buffer.from('p0')), serverFrame(OPCODE.pong, Buffer.from('p1'))]),
  );
});

test('everything may come with the handshake, in one packet', async ({ world }) => {
  const first = Buffer.concat([textFrame(ALICE), textFrame('pipelined'), textFrame('cut').subarray(0, 5)]);
  using client = await openRaw(world, 'password', PATH, first);
  await eventually(() => expect(world.sql.sockets.at(-1)?.heard.map(({ bytes }) => String(bytes))).toEqual(['pipelined']));
  client.socket.write(textFrame('cut').subarray(5));
  await eventually(() => expect(world.sql.lastSocket().heard.map(({ bytes }) => String(bytes))).toEqual(['pipelined', 'cut']));
});

test('a client that says nothing is shown out, one that closes is answered, one that leaves is forgotten', async ({ open }) => {
  await using world = await open({ socketLimits: { authMs: 150, perClient: 1 } });
  await using silent = await talk(world, 'password', PATH);
  silent.ws.ping();
  expect(await silent.closed).toEqual(UNAUTHORIZED);
  await eventually(async () => {
    await using polite = await talk(world, 'password', PATH);
    polite.ws.close(1_000);
    expect((await polite.closed).code).toBe(1_000);
  });
  using gone = await openRaw(world, 'password', PATH);
  gone.socket.resetAndDestroy();
  await eventually(async () => expect(await greeted(world, 'password', ALICE)).toBe('hello alice'));
});

test('sockets whose clients have not said who they are are bounded, by client and by listener', async ({ open }) => {
  await using world = await open({ socketLimits: { perListener: 4, perClient: 2 } });
  const first = await talk(world, 'password', PATH);
  const second = await talk(world, 'password', '/v2');
  const refused = await sendRaw(world.port('password'), rawRequest(`GET ${PATH} HTTP/1.1`, UPGRADE));
  expect([refused.answers[0]?.status, refused.answers[0]?.headers['retry-after']]).toEqual([429, '1']);
  expect(await refusedWith(world, 'none', PATH)).toBe(101);
  first.ws.send(JSON.stringify(ALICE));
  expect(String(await first.next())).toBe('hello alice');
  await using third = await talk(world, 'password', PATH);
  expect(await refusedWith(world, 'password', PATH)).toBe(429);
  second.ws.terminate();
  third.ws.terminate();
  await eventually(async () => expect(await refusedWith(world, 'password', PATH)).toBe(101));
  first.ws.terminate();
});

test('with as many waiting clients as there may be, the next is 503', async ({ open }) => {
  await using world = await open({ socketLimits: { perListener: 1, perClient: 2 } });
  await using _one = await talk(world, 'password', PATH);
  expect(await refusedWith(world, 'password', PATH)).toBe(503);
});

test('what the service says against a known client is the reason of the close', async ({ world }) => {
  const refuse = (status: number, body: string): void => {
    world.sql.upgrade = (_request, socket) =>
      void socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`);
  };
  const message = 'creating connection would violate max_connections limit (desired: 2, limit: 2, current: 1)';
  refuse(500, JSON.stringify({ message, code: '53300' }));
  expect(await greeted(world, 'password', ALICE)).toEqual({ code: 1_002, reason: message });
  refuse(500, JSON.stringify({ message: `é${'ü'.repeat(200)}` }));
  expect(await greeted(world, 'password', ALICE)).toEqual({ code: 1_002, reason: `é${'ü'.repeat(60)}` });
  refuse(403, JSON.stringify({ title: 'No', detail: 'not from there' }));
  expect(await greeted(world, 'password', ALICE)).toEqual({ code: 1_002, reason: 'not from there' });
  refuse(404, 'not found');
  expect(await greeted(world, 'password', ALICE)).toEqual({ code: 1_002, reason: 'not found' });
  refuse(401, 'unauthorized');
  expect(await greeted(world, 'password', ALICE)).toEqual(UNAUTHORIZED);
  refuse(503, JSON.stringify({ title: 'full' }));
  expect(await greeted(world, 'password', ALICE)).toEqual({ code: 1_013, reason: 'full' });
  world.sql.upgrade = (_request, socket) =>
    void socket.end(
      'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: AAAA\r\n\r\n',
    );
  expect(await greeted(world, 'password', ALICE)).toMatchObject({ code: 1_013 });
});

test('somebody who is locked out is told for how long, and what is away is said to be', async ({ world }) => {
  world.stub.lockedForSeconds = 77;
  expect(await greeted(world, 'password', { user: 'bob', password: 'guess' })).toEqual({
    code: 1_013,
    reason: 'too many failed logins; try again in 77 s',
  });
});

test('a replica whose door is shut is passed over; with none left the client is told to come again', async ({ open }) => {
  await using world = await open();
  const dead = await announce(world.buses.sql, 'sql', {
    replicaId: 'dead',
    url: 'http://127.0.0.1:9',
    isReady: async () => true,
  });
  for (let count = 0; count < 6; count += 1) expect(await greeted(world, 'password', ALICE)).toBe('hello alice');
  await using client = await talk(world, 'password', PATH);
  await world.without('sql');
  client.ws.send(JSON.stringify(ALICE));
  expect(await client.closed).toMatchObject({ code: 1_013 });
  await dead[Symbol.asyncDispose]();
  expect(await refusedWith(world, 'password', PATH)).toBe(503);
});

test('who has too many sockets at one replica is not tried at another', async ({ open }) => {
  await using world = await open();
  await using second = await openCanary(async () => Promise.reject(new Error('nobody')));
  const { origin: url } = second;
  await using _second = await announce(world.buses.sql, 'sql', { replicaId: 'sql-2', url, isReady: async () => true });
  let asked = 0;
  let answer = '';
  for (const replica of [world.sql, second]) {
    replica.upgrade = (_request, socket) => {
      asked += 1;
      socket.end(`HTTP/1.1 ${answer}\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfull`);
    };
  }
  const full = { code: 1_013, reason: 'full' };
  answer = '503 No';
  await eventually(async () => {
    asked = 0;
    expect([await greeted(world, 'password', ALICE), asked]).toEqual([full, 2]);
  });
  answer = '429 No';
  asked = 0;
  expect([await greeted(world, 'password', ALICE), asked]).toEqual([full, 1]);
});

/** A socket is work under way for as long as it is open. */
test('of two replicas each gets every other socket, whatever requests come between', async ({ open }) => {
  await using world = await open();
  await using second = await openCanary(async () => Promise.reject(new Error('nobody')));
  const { origin: url } = second;
  await using _second = await announce(world.buses.sql, 'sql', { replicaId: 'sql-2', url, isReady: async () => true });
  const ask = async (): Promise<number> =>
    (await fetch(`${world.origins['password']}/api/sql`, { method: 'POST', headers: basic('alice', PASSWORD), body: '{}' }))
      .status;
  await eventually(async () => {
    expect(await ask()).toBe(200);
    expect(second.arrived.length).toBeGreaterThan(0);
  });
  await using sockets = new AsyncDisposableStack();
  for (let count = 1; count <= 8; count += 1) {
    const client = sockets.use(await talk(world, 'password', PATH));
    client.ws.send(JSON.stringify(ALICE));
    await client.next();
    if (count % 3 === 0) expect(await ask()).toBe(200);
  }
  expect([world.sql.sockets.length, second.sockets.length]).toEqual([4, 4]);
});

/** imm-055 */
test('without auth, session or the bus no socket is opened', async ({ open }) => {
  await using world = await open();
  await using client = await talk(world, 'password', PATH);
  await world.without('auth');
  expect(await refusedWith(world, 'password', PATH)).toBe(503);
  client.ws.send(JSON.stringify({ token: `pst_unasked1_${'u'.repeat(43)}` }));
  expect(await client.closed).toMatchObject({ code: 1_013 });
});

/** imm-056: not handed out to somebody who ended while it was found out who they are. */
test('who is revoked while a socket is being opened gets none', async ({ world }) => {
  const before = world.sql.sockets.length;
  const key = `pst_revoked3_${'v'.repeat(43)}`;
  world.stub.keys.set(key, 'bob');
  const reached = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const canary = world.sql;
  world.sql.upgrade = (request, socket, head) => {
    reached.resolve();
    void go.promise.then(() => {
      canary.upgrade = undefined;
      canary.server.emit('upgrade', request, socket, head);
    });
  };
  await using client = await talk(world, 'password', PATH);
  client.ws.send(JSON.stringify({ token: key }));
  await reached.promise;
  world.revoke('id-bob', key.slice(0, 12));
  // Heard by the edge when it asks anew what it remembered.
  await eventually(async () => {
    world.stub.calls.length = 0;
    await fetch(`${world.origins['password']}/api/me`, { headers: bearer(key) });
    expect(world.stub.calls).toContain('verifyApiKey');
  }).finally(() => go.resolve());
  expect(await client.closed).toMatchObject({ code: 4_401 });
  expect(client.heard).toEqual([]);
  expect(world.sql.sockets.length).toBeGreaterThan(before);
});

test('news that comes right behind the handshake still ends the socket', async ({ world }) => {
  await using client = await talk(world, 'password', PATH);
  client.ws.send(JSON.stringify(ALICE));
  expect(String(await client.next())).toBe('hello alice');
  await using other = await talk(world, 'password', PATH);
  other.ws.send(JSON.stringify({ user: 'bob', password: PASSWORD }));
  expect(String(await other.next())).toBe('hello bob');
  world.revoke('id-alice');
  expect(await client.closed).toEqual({ code: 4_401, reason: 'the credentials have ended' });
  other.ws.send('still there');
  expect(String(await other.next())).toBe('still there');
});

/** What the kernel holds on two connections is less than half of it. */
const LARGE = 64 * 1_048_576;

/** Sends one message after the other, and counts the bytes that were handed on. */
function pump(ws: WebSocket, row: Buffer): { bytes(): number } {
  let handedOn = 0;
  const send = (sent: number): void => {
    if (sent >= LARGE) return;
    ws.send(row, () => {
      handedOn += row.length;
      send(sent + row.length);
    });
  };
  send(0);
  return { bytes: () => handedOn };
}

/** Resolves with the bytes that were handed on when no more are taken. */
async function settled(bytes: () => number): Promise<number> {
  let last = -1;
  let same = 0;
  await eventually(
    () => {
      same = bytes() === last ? same + 1 : 0;
      last = bytes();
      return same >= 15;
    },
    { timeoutMs: 20_000 },
  );
  return last;
}

test('a slow reader slows the service, and a slow service the writer; nothing is held in between', async ({ world }) => {
  await using client = await talk(world, 'password', PATH);
  client.ws.send(JSON.stringify(ALICE));
  await client.next();
  const { ws } = world.sql.lastSocket();
  const row = Buffer.alloc(1_048_576, 'x');
  client.ws.pause();
  const down = pump(ws, row);
  expect(await settled(down.bytes)).toBeLessThan(LARGE / 2);
  client.ws.resume();
  await eventually(() => expect(client.heard.length).toBe(1 + LARGE / row.length), { timeoutMs: 60_000 });
  expect(client.heard.at(-1)?.equals(row)).toBe(true);
  ws.removeAllListeners('message');
  let received = 0;
  ws.on('message', () => (received += 1));
  ws.pause();
  const up = pump(client.ws, row);
  expect(await settled(up.bytes)).toBeLessThan(LARGE / 2);
  ws.resume();
  await eventually(() => expect(received).toBe(LARGE / row.length), { timeoutMs: 60_000 });
});

test('a side that leaves takes the other with it, with what it had said', async ({ world }) => {
  const opened = async () => {
    const client = await talk(world, 'password', PATH);
    client.ws.send(JSON.stringify(ALICE));
    await client.next();
    return { client, service: world.sql.lastSocket() };
  };
  const one = await opened();
  one.client.ws.terminate();
  await eventually(() => expect(one.service.heard.at(-1)).toMatchObject({ kind: 'close', code: 1_006 }));
  const two = await opened();
  two.service.ws.send('x'.repeat(1_000_000));
  two.service.ws.close(1_012, 'come again');
  expect(await two.client.closed).toEqual({ code: 1_012, reason: 'come again' });
  expect(two.client.heard.at(-1)?.length).toBe(1_000_000);
  const three = await opened();
  three.service.ws.terminate();
  expect(await three.client.closed).toEqual({ code: 1_012, reason: 'the service was lost; connect again' });
  const four = await opened();
  four.service.stream.write(Buffer.from([0x82, 100, 1, 2, 3]));
  four.service.ws.terminate();
  expect((await four.client.closed).code).toBe(1_006);
  using five = await openRaw(world, 'password', PATH, textFrame(ALICE));
  await eventually(() => expect(five.received().toString()).toContain('hello alice'));
  const service = world.sql.lastSocket();
  five.socket.resetAndDestroy();
  await eventually(() => expect(service.heard.at(-1)).toMatchObject({ kind: 'close', code: 1_006 }));
});

/** A frame of which not all has been written by the client: nothing may be put into it. */
test('a stop asks the service to end its sockets, between two frames of the client', async ({ open }) => {
  const world = await open();
  await using idle = await talk(world, 'password', PATH);
  idle.ws.send(JSON.stringify(ALICE));
  await idle.next();
  const idleService = world.sql.lastSocket();
  await using waiting = await talk(world, 'password', PATH);
  const last = textFrame('the last request');
  using cut = await openRaw(world, 'password', PATH, Buffer.concat([textFrame(ALICE), last.subarray(0, 9)]));
  await eventually(() => expect(world.sql.sockets.length).toBe(2));
  const cutService = world.sql.lastSocket();
  for (const { ws } of world.sql.sockets)
    ws.on('ping', (payload) => {
      if (String(payload) === 'postern-drain') ws.close(1_001, 'going away');
    });
  const drained = world.drain();
  expect(await waiting.closed).toMatchObject({ code: 1_001 });
  expect(await idle.closed).toEqual({ code: 1_001, reason: 'going away' });
  expect(idleService.heard.map(({ kind }) => kind)).toEqual(['ping', 'close']);
  expect(cutService.heard).toEqual([]);
  cut.socket.write(Buffer.concat([last.subarray(9), textFrame('one too many')]));
  await eventually(() => expect(cutService.heard.length).toBeGreaterThanOrEqual(2));
  expect(cutService.heard.slice(0, 2).map(({ kind, bytes }) => [kind, String(bytes)])).toEqual([
    ['text', 'the last request'],
    ['ping', 'postern-drain'],
  ]);
  await cut.ended;
  await drained;
});

test('a socket whose cookie is still asked about when the sockets are told to end is not opened', async ({ open }) => {
  const world = await open();
  const { token } = world.stub.openSession('alice');
  const held = Promise.withResolvers<void>();
  world.stub.hold = held.promise;
  const status = refusedWith(world, 'password', PATH, { headers: cookie(token) });
  await eventually(() => expect(world.stub.calls).toContain('resolve'));
  const drained = world.drain();
  await eventually(() => expect(fetch(`${world.origins['password']}/api/livez`)).rejects.toThrow()).finally(() => held.resolve());
  expect(await status).toBe(503);
  await drained;
});

test('a socket that does not end by itself is ended when the time is over', async ({ open }) => {
  const world = await open({ socketDrainMs: 200 });
  await using client = await talk(world, 'password', PATH);
  client.ws.send(JSON.stringify(ALICE));
  await client.next();
  const service = world.sql.lastSocket();
  using middle = await openRaw(world, 'password', PATH, textFrame(ALICE));
  await eventually(() => expect(middle.received().toString()).toContain('hello alice'));
  // In the middle of a frame to the client there is no place for a Close.
  const cut = Buffer.from([0x82, 100, 1, 2, 3]);
  world.sql.lastSocket().stream.write(cut);
  const shown = Buffer.concat([serverFrame(OPCODE.text, Buffer.from('hello alice')), cut]);
  await eventually(() => expect(middle.received()).toEqual(shown));
  await world.drain();
  expect((await client.closed).code).toBe(1_001);
  await middle.ended;
  expect(middle.received().subarray(0, shown.length)).toEqual(shown);
  expect(middle.received().toString('latin1')).not.toContain('going away');
  await eventually(() => expect(service.heard.at(-1)?.kind).toBe('close'));
});

test('sockets are counted while they are open, and told of once when they end', async ({ open }) => {
  const world = await open();
  const scrape = async (): Promise<string> => world.metrics.metrics();
  const client = await talk(world, 'password', PATH);
  client.ws.send(JSON.stringify(ALICE));
  await client.next();
  client.ws.send('ping');
  await client.next();
  expect(await scrape()).toContain(`postern_sockets_open{path="${PATH}",source="password"} 1`);
  expect(await scrape()).toContain(`postern_http_requests_active{path="${PATH}",source="password"} 0`);
  client.ws.close();
  await client.closed;
  await greeted(world, 'password', { ...ALICE, password: 'wrong' });
  await refusedWith(world, 'password', PATH, { headers: { origin: 'http://evil.test' } });
  const lines = await eventually(() => {
    const found = world.lines.filter(({ route }) => route === PATH);
    expect(found.length).toBe(3);
    return found;
  });
  expect(lines.map(({ msg, status, principalId }) => [msg, status, principalId])).toEqual([
    ['socket', 101, 'id-alice'],
    ['socket', 401, undefined],
    ['request', 403, undefined],
  ]);
  expect(lines[0]).toMatchObject({ bytesIn: 10 + 6, bytesOut: 13 + 6 + 2, listener: 'password' });
  const text = await scrape();
  expect(text).toContain(`postern_sockets_open{path="${PATH}",source="password"} 0`);
  for (const status of ['101', '401', '403'])
    expect(text).toContain(`postern_http_requests_total{path="${PATH}",source="password",status="${status}"} 1`);
  expect(text).not.toContain(`postern_http_request_duration_seconds_count{path="${PATH}",source="password"} 3`);
});

/** imm-059, imm-129 */
test('no line shows what the first message said', async ({ world }) => {
  await greeted(world, 'password', { ...ALICE, options: { secret_setting: 'hush' } });
  await greeted(world, 'password', { user: 'alice', password: 'guess-word' });
  await greeted(world, 'password', '{"user":"alice","password":"half-word');
  await greeted(world, 'password', { token: ALICE_KEY });
  await eventually(() => expect(world.lines.filter(({ msg }) => msg === 'socket').length).toBeGreaterThan(3));
  const text = JSON.stringify(world.lines);
  for (const secret of [PASSWORD, 'guess-word', 'half-word', 'hush', ALICE_KEY]) expect(text).not.toContain(secret);
  expect(text).not.toMatch(/eyJ[\w-]+\./);
  expect(world.lines.filter(({ level }) => Number(level) >= 50)).toEqual([]);
});

/** imm-126 */
test('who has not said a name has frames to say it in that are counted', async ({ world }) => {
  using endless = await openRaw(world, 'password', PATH, clientFrame(OPCODE.text, Buffer.alloc(0), MASK, false));
  const empty = clientFrame(OPCODE.continuation, Buffer.alloc(0), MASK, false);
  endless.socket.write(Buffer.concat(Array.from({ length: 2_000 }, () => empty)));
  await endless.ended;
  expect(endless.received().subarray(-33).toString('latin1')).toContain('the message has too many frames');
});
