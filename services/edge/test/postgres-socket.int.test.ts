/** PostgreSQL's wire protocol over WebSocket at the edge: up to the password, and what the service sees of it. */
import { cancelRequested } from '@postern/contracts/edge';
import { listen } from '@postern/rpc/events';
import { createLogger } from '@postern/service-kit/log';
import { eventually } from '@postern/testkit/eventually';
import { beforeEach, expect } from 'vitest';

import { clientFrame, OPCODE } from '../src/domain/frames.ts';
import { edgeTest as test } from './edge-test.ts';
import type { Talk } from './socket-client.ts';
import { errorFields, MASK, openRaw, passwordMessage, startupMessage, talk } from './socket-client.ts';
import type { World } from './world.ts';
import { ALICE_KEY, PASSWORD } from './world.ts';

const PATH = '/v2';
const PASSWORD_REQUEST = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3]);
const QUERY = Buffer.from('Q\0\0\0\x0dselect 1\0', 'latin1');
const sslRequest = (code: number): Buffer => Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, code]);
const SSL = sslRequest(0x2f);
const GSS = sslRequest(0x30);

const silent = createLogger({ service: 'test', level: 'silent' });

beforeEach<{ world: World }>(({ world }) => {
  world.sql.upgrade = undefined;
  world.sql.release();
  world.stub.lockedForSeconds = 0;
});

const startup = (user = 'alice', settings: Record<string, string> = {}): Buffer =>
  startupMessage({ user, database: 'app', ...settings });

/** Everything that the service was sent, as the byte stream that it is. */
const streamOf = (world: World): string =>
  Buffer.concat(
    world.sql
      .lastSocket()
      .heard.filter(({ kind }) => kind === 'binary')
      .map(({ bytes }) => bytes),
  ).toString('latin1');

async function opened(world: World, password = PASSWORD, listener = 'password'): Promise<Talk> {
  const client = await talk(world, listener, PATH);
  client.ws.send(startup());
  expect(await client.next()).toEqual(PASSWORD_REQUEST);
  client.ws.send(passwordMessage(password));
  return client;
}

test('start-up and password one after the other: the service sees the start-up and nothing of the password', async ({
  world,
}) => {
  await using client = await talk(world, 'password', `${PATH}?address=evil.test%3A5432&options=%7B%7D`);
  client.ws.send(SSL);
  expect(String(await client.next())).toBe('N');
  client.ws.send(GSS);
  expect(String(await client.next())).toBe('N');
  const message = startup('alice', { application_name: 'é', options: '-c search_path=a' });
  client.ws.send(message);
  expect(await client.next()).toEqual(PASSWORD_REQUEST);
  client.ws.send(passwordMessage(PASSWORD));
  expect(String(await client.next())).toBe('hello alice');
  client.ws.send(QUERY);
  await eventually(() => expect(streamOf(world)).toBe(message.toString('latin1') + QUERY.toString('latin1')));
  const { url, principal, values } = world.sql.lastSocket();
  expect([url, principal?.name, values('x-postern-principal').length]).toEqual(['/v2', 'alice', 1]);
});

test('all of it may be pipelined in one frame, also over many, and cut anywhere', async ({ world }) => {
  const message = startup();
  const large = Buffer.concat([Buffer.from('Q'), Buffer.alloc(200_000, 'x')]);
  const all = Buffer.concat([message, passwordMessage(PASSWORD), large]);
  const expected = message.toString('latin1') + large.toString('latin1');
  const cuts = [1, 8, message.length - 1, message.length, message.length + 3, message.length + passwordMessage(PASSWORD).length];
  const whole = clientFrame(OPCODE.binary, all, MASK);
  const fragments = Buffer.concat([
    clientFrame(OPCODE.binary, all.subarray(0, 10), MASK, false),
    clientFrame(OPCODE.continuation, all.subarray(10, message.length + 30), MASK, false),
    clientFrame(OPCODE.ping, Buffer.from('p'), MASK),
    clientFrame(OPCODE.continuation, all.subarray(message.length + 30), MASK, true),
  ]);
  const messages = (cut: number): Buffer =>
    Buffer.concat([
      clientFrame(OPCODE.binary, all.subarray(0, cut), MASK),
      clientFrame(OPCODE.binary, Buffer.alloc(0), MASK),
      clientFrame(OPCODE.binary, all.subarray(cut), MASK),
    ]);
  const streams = [whole, fragments, ...cuts.map(messages)];
  for (const stream of streams) {
    for (const first of [0, 5, 60, 170, 1_000, stream.length]) {
      using client = await openRaw(world, 'password', PATH, stream.subarray(0, first));
      const before = world.sql.sockets.length;
      client.socket.write(stream.subarray(first, first + 7));
      client.socket.write(stream.subarray(first + 7));
      await eventually(() => {
        expect(world.sql.sockets.length).toBeGreaterThanOrEqual(before);
        expect(streamOf(world).length).toBe(expected.length);
      });
      expect(streamOf(world)).toBe(expected);
      expect(world.sql.lastSocket().heard[0]?.bytes).toEqual(message);
      world.sql.lastSocket().heard.length = 0;
    }
  }
});

test('password, key and nothing else are taken in the place of the password', async ({ world }) => {
  for (const [password, isRight] of [
    [PASSWORD, true],
    [ALICE_KEY, true],
    ['wrong', false],
    ['', false],
    [`pst_alice123_${'x'.repeat(43)}`, false],
    ['eyJhbGciOiJub25lIn0.e30.x', false],
  ] as const) {
    await using client = await opened(world, password);
    const answer = await client.next();
    if (isRight) expect(String(answer)).toBe('hello alice');
    else {
      expect(answer[0]).toBe(0x45);
      expect(errorFields(answer)).toEqual({
        S: 'FATAL',
        V: 'FATAL',
        C: '28P01',
        M: 'password authentication failed for user "alice"',
      });
      expect((await client.closed).code).toBe(1_002);
    }
  }
});

test("a key is its owner's alone, and a cookie, a header and a default name open nothing", async ({ world }) => {
  const { token } = world.stub.openSession('alice');
  await using bob = await talk(world, 'password', PATH);
  bob.ws.send(Buffer.concat([startup('bob'), passwordMessage(ALICE_KEY)]));
  expect(await bob.next()).toEqual(PASSWORD_REQUEST);
  expect(errorFields(await bob.next())).toMatchObject({ C: '28P01' });
  const headers = { cookie: `postern_session=${token}`, 'x-materialize-user': 'mz_system', authorization: `Bearer ${ALICE_KEY}` };
  await using client = await talk(world, 'password', PATH, { headers });
  client.ws.send(Buffer.concat([startup('alice'), passwordMessage('wrong')]));
  await client.next();
  expect(errorFields(await client.next())).toMatchObject({ C: '28P01' });
});

test('somebody who is locked out is told for how long', async ({ world }) => {
  world.stub.lockedForSeconds = 77;
  await using client = await opened(world, 'guess');
  expect(errorFields(await client.next())).toMatchObject({ C: '28000', M: 'too many failed logins; try again in 77 s' });
});

test('what the service says against a known client is said as an error of the protocol', async ({ world }) => {
  const body = JSON.stringify({ message: 'too many connections', code: '53300' });
  world.sql.upgrade = (_request, socket) =>
    void socket.end(`HTTP/1.1 500 No\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`);
  await using client = await opened(world);
  expect(errorFields(await client.next())).toMatchObject({ S: 'FATAL', C: '53300', M: 'too many connections' });
  expect(await client.closed).toEqual({ code: 1_002, reason: 'too many connections' });
});

const withLength = (length: number, code = 196_608): Buffer => {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(length);
  head.writeUInt32BE(code, 4);
  return head;
};

test.for([
  ['a length that is too short', withLength(4), '08P01'],
  ['a length that is too long', withLength(10_001), '08P01'],
  ['protocol 2.0', startupMessage({ user: 'alice' }, 131_072), '0A000'],
  ['no user', startupMessage({ database: 'app' }), '28000'],
  ['an empty user', startupMessage({ user: '' }), '28000'],
  ['no end', Buffer.concat([withLength(12), Buffer.from('user')]), '08P01'],
  ['something behind the end', Buffer.concat([withLength(22), Buffer.from('user\0alice\0\0xx')]), '08P01'],
  ['a user twice', Buffer.concat([withLength(8 + 11 + 9 + 1), Buffer.from('user\0alice\0user\0bob\0\0')]), '08P01'],
  ['bytes that are not UTF-8', Buffer.concat([withLength(8 + 8), Buffer.from('user\0\xff\0\0', 'latin1')]), '08P01'],
  ['two requests for encryption', Buffer.concat([SSL, SSL]), '08P01'],
  ['a query in the place of the password', Buffer.concat([startup(), QUERY]), '08P01'],
  ['a password without an end', Buffer.concat([startup(), Buffer.from('p\0\0\0\x08abcd', 'latin1')]), '08P01'],
  ['a password with something in it', Buffer.concat([startup(), Buffer.from('p\0\0\0\x08a\0b\0', 'latin1')]), '08P01'],
  ['a password that is too long', Buffer.concat([startup(), Buffer.from('p\0\0\xff\xff', 'latin1')]), '08P01'],
] as const)('%s is refused in the words of the protocol, and nothing is opened', async ([_what, bytes, code], { world }) => {
  const before = world.sql.sockets.length;
  await using client = await talk(world, 'password', PATH);
  client.ws.send(bytes);
  await client.closed;
  const last = client.heard.at(-1) ?? Buffer.alloc(0);
  expect(errorFields(last)).toMatchObject({ S: 'FATAL', C: code });
  expect(world.sql.sockets.length).toBe(before);
});

test('protocol 3.2 and later 3.x are left to the service; text is not the protocol', async ({ world }) => {
  for (const version of [196_610, 196_620]) {
    await using client = await talk(world, 'password', PATH);
    const message = startupMessage({ user: 'alice', _pq_: 'x' }, version);
    client.ws.send(Buffer.concat([message, passwordMessage(PASSWORD)]));
    await eventually(() => expect(streamOf(world)).toBe(message.toString('latin1')));
  }
  await using text = await talk(world, 'password', PATH);
  text.ws.send('user');
  expect((await text.closed).code).toBe(1_002);
});

test('a client that waits with its password is shown out', async ({ open }) => {
  await using world = await open({ socketLimits: { authMs: 1_000 } });
  await using client = await talk(world, 'password', PATH);
  client.ws.send(startup());
  await client.closed;
  expect(errorFields(client.heard.at(-1) ?? Buffer.alloc(0))).toMatchObject({
    C: '57014',
    M: 'canceling authentication due to timeout',
  });
});

const cancelRequest = (processId: number, secretKey: number): Buffer => {
  const request = Buffer.alloc(16);
  request.writeUInt32BE(16);
  request.writeUInt32BE(80_877_102, 4);
  request.writeInt32BE(processId, 8);
  request.writeInt32BE(secretKey, 12);
  return request;
};

test('a request to cancel is told to the mesh, without credentials; its socket closes when it has been acknowledged', async ({
  open,
}) => {
  await using world = await open();
  const heard: unknown[] = [];
  let signals = 0;
  using _ear = listen(world.buses.sql, cancelRequested, silent, (key, acknowledge) => {
    heard.push(key);
    setImmediate(() => {
      signals += 1;
      acknowledge();
    });
  });
  await world.buses.sql.flush();
  // One after the other, and as many as there are: whoever knows the keys does not guess.
  for (let count = 1; count <= 90; count += 1) {
    await using client = await talk(world, 'password', PATH);
    client.ws.send(cancelRequest(-5, 77));
    expect((await client.closed).code).toBe(1_000);
    expect(signals).toBe(count);
  }
  expect(heard[0]).toEqual({ processId: -5, secretKey: 77 });
  expect(world.sql.sockets.length).toBe(0);
});

test('keys that nobody knows are not asked about faster than one may, and their sockets close all the same', async ({ open }) => {
  // However long it takes, nobody may ask again in this time.
  const nowMs = Date.now();
  await using world = await open({ identityClock: { nowMs: () => nowMs } });
  const heard: unknown[] = [];
  using _ear = listen(world.buses.sql, cancelRequested, silent, (key) => void heard.push(key));
  await world.buses.sql.flush();
  const guess = async (secretKey: number): Promise<number> => {
    await using client = await talk(world, 'password', PATH);
    client.ws.send(cancelRequest(1, secretKey));
    return (await client.closed).code;
  };
  const codes = await Promise.all(Array.from({ length: 99 }, async (_, index) => guess(index)));
  expect(new Set(codes)).toEqual(new Set([1_000]));
  // All that was asked has come by then.
  await world.buses.edge.flush();
  await world.buses.sql.flush();
  expect(heard).toHaveLength(40);
  const request = cancelRequest(1, 1);
  await using odd = await talk(world, 'password', PATH);
  const long = Buffer.concat([request, Buffer.alloc(4)]);
  long.writeUInt32BE(20);
  odd.ws.send(long);
  await odd.closed;
  expect(errorFields(odd.heard.at(-1) ?? Buffer.alloc(0))).toMatchObject({ C: '08P01' });
});

/** imm-059 */
test('no line shows a password', async ({ world }) => {
  for (const password of [PASSWORD, 'guess-word', ALICE_KEY]) {
    await using client = await opened(world, password);
    await client.next();
  }
  await eventually(() => expect(world.lines.filter(({ msg }) => msg === 'socket').length).toBeGreaterThan(2));
  const text = JSON.stringify(world.lines);
  for (const secret of [PASSWORD, 'guess-word', ALICE_KEY]) expect(text).not.toContain(secret);
  expect(world.lines.filter(({ level }) => Number(level) >= 50)).toEqual([]);
});
