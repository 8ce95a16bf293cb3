import { announce } from '@postern/rpc/announce';
import { eventually } from '@postern/testkit/eventually';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { beforeEach, expect } from 'vitest';

import { basic, edgeTest as test } from './edge-test.ts';
import type { Canary } from './canary.ts';
import { openCanary } from './canary.ts';
import { rawRequest, sendRaw } from './raw-client.ts';
import type { World } from './world.ts';
import { PASSWORD } from './world.ts';

const ALICE: Record<string, string> = { ...basic('alice', PASSWORD), 'content-type': 'application/json' };
const MiB = 1_048_576;

const post = (world: World, body: string | Uint8Array<ArrayBuffer>, init: RequestInit = {}): Promise<Response> =>
  fetch(`${world.origins['password']}/api/sql`, { method: 'POST', headers: ALICE, body, ...init });

/** A body in chunks, as a client that does not know its length sends it. */
const streamed = (parts: Iterable<string>): RequestInit => ({
  body: Readable.toWeb(Readable.from(parts)) as ReadableStream<Uint8Array<ArrayBuffer>>,
  duplex: 'half',
});

/** Answers nothing until it is told to. */
function hold(canary: Canary): PromiseWithResolvers<void> {
  const held = Promise.withResolvers<void>();
  canary.reply = (request, response) => {
    request.resume();
    void held.promise.then(() => response.end('{}'));
  };
  return held;
}

beforeEach<{ world: World }>(({ world }) => {
  world.sql.reply = undefined;
  world.sql.release();
});

test.for([
  ['nothing', 0],
  ['one byte', 1],
  ['what is held in memory', 65_536],
  ['one byte more than is held', 65_537],
  ['the whole 5 MiB', 5 * MiB],
] as const)('a body of %s arrives whole', async ([_what, bytes], { world }) => {
  const response = await post(world, 'x'.repeat(bytes));
  expect(response.status).toBe(200);
  expect(world.sql.last().body.length).toBe(bytes);
});

test('a body in chunks arrives whole, through the same gate', async ({ world }) => {
  const response = await post(world, '', streamed(['a'.repeat(70_000), 'b'.repeat(70_000)]));
  expect(response.status).toBe(200);
  const { body, principal, values } = world.sql.last();
  expect([body.length, principal?.name, values('x-postern-principal').length]).toEqual([140_000, 'alice', 1]);
});

test('a byte over 5 MiB is 413: at once if it is announced, when it comes if it is not', async ({ world }) => {
  const before = world.sql.arrived.length;
  const announced = await sendRaw(
    world.port('password'),
    rawRequest('POST /api/sql HTTP/1.1', [`Content-Length: ${5 * MiB + 1}`]),
  );
  expect([announced.answers[0]?.status, announced.closed]).toEqual([413, true]);
  // Plain text, like all that this API says about a request it cannot read.
  const told = ['text/plain; charset=utf-8', 'The body is too large'];
  expect([announced.answers[0]?.headers['content-type'], announced.answers[0]?.body]).toEqual(told);
  expect(world.sql.arrived.length).toBe(before);
  const counted = await post(world, '', streamed(Array.from({ length: 81 }, () => 'x'.repeat(65_536))));
  expect([counted.status, counted.headers.get('content-type'), await counted.text()]).toEqual([413, ...told]);
  await eventually(() => expect(world.sql.last().aborted).toBe(true));
});

test('other routes take 64 KiB, also in chunks', async ({ world }) => {
  const url = `${world.origins['password']}/api/keys`;
  const send = async (init: RequestInit): Promise<number> =>
    (await fetch(url, { method: 'POST', headers: ALICE, ...init })).status;
  expect(await send({ body: 'x'.repeat(65_536) })).toBe(200);
  expect(await send({ body: 'x'.repeat(65_537) })).toBe(413);
  const refused = await fetch(url, { method: 'POST', headers: ALICE, body: 'x'.repeat(65_537) });
  expect(await refused.json()).toMatchObject({ code: 'BODY_TOO_LARGE' });
  expect(await send(streamed(['x'.repeat(65_536)]))).toBe(200);
  expect(await send(streamed(['x'.repeat(65_536), 'y']))).toBe(413);
});

test('an answer comes through with its status and its own headers, and with no others', async ({ world }) => {
  world.sql.reply = (request, response) => {
    request.resume();
    response.writeHead(422, {
      'content-type': 'text/plain',
      etag: '"a"',
      'set-cookie': 'postern_session=stolen',
      server: 'secret/1.0',
      'access-control-allow-origin': '*',
      'www-authenticate': 'Basic',
      'x-internal': '1',
    });
    response.end('as it is');
  };
  for (const body of ['small', 'x'.repeat(100_000)]) {
    const response = await post(world, body);
    expect([response.status, await response.text()]).toEqual([422, 'as it is']);
    expect([...response.headers.keys()].toSorted()).toEqual([
      'connection',
      'content-type',
      'date',
      'etag',
      'keep-alive',
      'transfer-encoding',
      'vary',
      'x-content-type-options',
      'x-request-id',
    ]);
  }
});

test('HEAD and 204 have no body, whatever their length says', async ({ world }) => {
  world.auth.reply = (_request, response) => void response.writeHead(204).end();
  const url = `${world.origins['password']}/api/people/bob`;
  expect((await fetch(url, { method: 'DELETE', headers: ALICE })).status).toBe(204);
  world.auth.reply = undefined;
  const head = await fetch(url, { method: 'HEAD', headers: ALICE });
  expect([head.status, await head.text()]).toEqual([200, '']);
  expect(world.auth.last().method).toBe('HEAD');
});

test('a large answer comes whole, and no faster than it is read', async ({ world }) => {
  const total = 64 * MiB;
  let written = 0;
  world.sql.reply = (request, response) => {
    request.resume();
    response.writeHead(200);
    const chunk = Buffer.alloc(65_536, 'z');
    const write = (): void => {
      while (written < total) {
        written += chunk.length;
        if (!response.write(chunk)) return void response.once('drain', write);
      }
      response.end();
    };
    write();
  };
  const response = await post(world, '{}');
  const reader = (response.body ?? new ReadableStream<Uint8Array>()).getReader();
  const lengthOf = (part: unknown): number => (part instanceof Uint8Array ? part.length : 0);
  let bytes = lengthOf((await reader.read()).value);
  let before = -1;
  await eventually(
    () => {
      const isStill = written === before;
      before = written;
      return isStill;
    },
    { intervalMs: 100 },
  );
  expect(written).toBeLessThan(total / 2);
  for (let part = await reader.read(); !part.done; part = await reader.read()) bytes += lengthOf(part.value);
  expect(bytes).toBe(total);
  expect(written).toBe(total);
});

test('a client that leaves takes its request with it, before the answer and in the middle of it', async ({ world }) => {
  for (const body of ['{}', 'x'.repeat(100_000)]) {
    for (const begin of [false, true]) {
      world.sql.reply = (request, response) => {
        request.resume();
        if (begin) response.write('begun');
      };
      const before = world.sql.arrived.length;
      const left = new AbortController();
      const answer = post(world, body, { signal: left.signal });
      await (begin ? answer : eventually(() => world.sql.arrived.length > before));
      left.abort();
      await answer.catch(() => {});
      await eventually(() => expect(world.sql.last().aborted).toBe(true), { timeoutMs: 1_000 });
    }
  }
});

test('an answer that breaks off in the middle ends the connection: it never looks whole', async ({ world }) => {
  for (const headers of [{ 'content-length': '1000' }, {}]) {
    for (const body of ['{}', 'x'.repeat(100_000)]) {
      world.sql.reply = (request, response) => {
        request.resume();
        response.writeHead(200, headers);
        response.write('half', () => response.destroy());
      };
      const response = await post(world, body);
      await expect(response.text()).rejects.toThrow();
    }
  }
});

test('an answer that breaks off counts as 502, one whose client left as 499', async ({ open }) => {
  await using world = await open();
  const counted = async (status: number, count: number): Promise<void> =>
    eventually(async () =>
      expect(await world.metrics.metrics()).toContain(
        `postern_http_requests_total{path="/api/sql",source="password",status="${status}"} ${count}`,
      ),
    );
  let count = 0;
  for (const body of ['{}', 'x'.repeat(100_000)]) {
    count += 1;
    for (const kill of [true, false]) {
      world.sql.reply = (request, response) => {
        request.resume();
        request.once('end', () => response.write('half', () => kill && request.socket.resetAndDestroy()));
      };
      const left = new AbortController();
      const response = await post(world, body, { signal: left.signal });
      if (!kill) left.abort();
      await expect(response.text()).rejects.toThrow();
      await counted(kill ? 502 : 499, count);
    }
  }
});

/** Otherwise whoever reads nothing holds a connection to a service, and what it serves from, for as long as they like. */
test('a client that reads nothing of its answer is given up', async ({ open }) => {
  await using world = await open({ stallMs: 100 });
  for (const body of ['{}', 'x'.repeat(100_000)]) {
    world.sql.reply = (request, response) => {
      request.resume();
      request.once('end', () => response.end(Buffer.alloc(32 * MiB)));
    };
    const socket = connect(world.port('password'), '127.0.0.1').on('error', () => {});
    const headers = [`Authorization: ${ALICE['authorization']}`, `Content-Length: ${body.length}`];
    const before = world.sql.arrived.length;
    socket.pause().write(rawRequest('POST /api/sql HTTP/1.1', headers, body));
    await eventually(() => world.sql.arrived.length > before);
    await eventually(() => expect(world.sql.last().aborted).toBe(true));
    socket.destroy();
  }
});

test('a service that breaks off before it answers is a 502, and what it may have seen is not sent again', async ({ world }) => {
  world.sql.reply = (request, response) => {
    request.resume();
    request.once('end', () => response.destroy());
  };
  for (const body of ['{}', 'x'.repeat(100_000)]) {
    const before = world.sql.arrived.length;
    const response = await post(world, body);
    expect([response.status, response.headers.get('content-type')]).toEqual([502, 'application/problem+json']);
    expect(await response.json()).toMatchObject({ code: 'UPSTREAM_FAILED' });
    expect(world.sql.arrived.length).toBe(before + 1);
  }
});

test('an answer that cannot be understood is a 502, not a guess', async ({ open }) => {
  await using world = await open();
  await world.without('sql');
  const { createServer } = await import('node:net');
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'));
  });
  const listening = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', listening.resolve);
  await listening.promise;
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;
  await using _replica = await announce(world.buses.sql, 'sql', {
    replicaId: 'odd',
    url: `http://127.0.0.1:${port}`,
    isReady: async () => true,
  });
  await eventually(async () => expect((await post(world, '{}')).status).toBe(502));
  server.close();
});

test('a replica whose door is shut is passed over, also by a body that streams', async ({ open }) => {
  await using world = await open();
  await using _dead = await announce(world.buses.sql, 'sql', {
    replicaId: 'dead',
    url: 'http://127.0.0.1:9',
    isReady: async () => true,
  });
  const bodies = [...Array.from({ length: 8 }, () => '{}'), ...Array.from({ length: 8 }, () => 'x'.repeat(100_000))];
  const statuses = await Promise.all(bodies.map(async (body) => (await post(world, body)).status));
  expect(new Set(statuses)).toEqual(new Set([200]));
  expect((await post(world, '', streamed(['some', 'more']))).status).toBe(200);
});

test('a replica with too much to do is not one that is away: the one too many is 503, and it is asked again at once', async ({
  open,
}) => {
  await using world = await open({ socketsMax: 1, waitingMax: 1 });
  const held = hold(world.sql);
  const first = post(world, '{}');
  await eventually(() => world.sql.arrived.length === 1);
  const others = [post(world, '{}'), post(world, '{}')];
  const refused = await Promise.race(others);
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
  expect((await fetch(`${world.origins['password']}/api/readyz`)).status).toBe(200);
  held.resolve();
  const statuses = (await Promise.all([first, ...others])).map(({ status }) => status);
  expect(statuses.toSorted((left, right) => left - right)).toEqual([200, 200, 503]);
  expect((await post(world, '{}')).status).toBe(200);
});

test('what one replica has no room for goes to another, and is not counted there for ever', async ({ open }) => {
  await using world = await open({ socketsMax: 1, waitingMax: 0 });
  await using second = await openCanary(async () => Promise.reject(new Error('nobody')));
  const url = second.origin;
  await using _second = await announce(world.buses.sql, 'sql', { replicaId: 'sql-2', url, isReady: async () => true });
  const both = [world.sql, second];
  await eventually(async () => {
    await post(world, '{}');
    return second.arrived.length > 0;
  });
  const arrivals = (): number => world.sql.arrived.length + second.arrived.length;
  const held = both.map(hold);
  let before = arrivals();
  const [one, two] = both.map(({ arrived }) => arrived.length);
  // One small and one streamed, which waits elsewhere: as much to do for each, but room for another small one at one of them.
  const small = post(world, '{}');
  await eventually(() => arrivals() === before + 1);
  const large = post(world, 'x'.repeat(100_000));
  await eventually(() => arrivals() === before + 2);
  expect(both.map(({ arrived }) => arrived.length)).toEqual([(one ?? 0) + 1, (two ?? 0) + 1]);
  const third = post(world, '{}');
  await eventually(() => arrivals() === before + 3);
  held.forEach(({ resolve }) => resolve());
  expect((await Promise.all([small, large, third])).map(({ status }) => status)).toEqual([200, 200, 200]);
  before = second.arrived.length;
  const firstBefore = world.sql.arrived.length;
  for (let index = 0; index < 4; index += 1) expect((await post(world, '{}')).status).toBe(200);
  expect([world.sql.arrived.length - firstBefore, second.arrived.length - before]).toEqual([2, 2]);
});

test('if no replica can be reached the answer is 503, with a time to come back', async ({ open }) => {
  await using world = await open();
  await world.sql[Symbol.asyncDispose]();
  for (const body of ['{}', 'x'.repeat(100_000)]) {
    const response = await post(world, body);
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
    expect(await response.json()).toMatchObject({ code: 'UNAVAILABLE' });
  }
});

test('bodies of clients that are slow or gone hold nothing up', async ({ world }) => {
  const before = world.sql.arrived.length;
  const socket = connect(world.port('password'), '127.0.0.1').on('error', () => {});
  socket.write(
    rawRequest('POST /api/sql HTTP/1.1', [`Authorization: ${ALICE['authorization']}`, 'Content-Length: 100'], 'only some'),
  );
  expect((await post(world, '{}')).status).toBe(200);
  socket.destroy();
  expect((await post(world, '{}')).status).toBe(200);
  expect(world.sql.arrived.length).toBe(before + 2);
});

test('connections to services are kept and shared', async ({ open }) => {
  await using world = await open();
  const ports = new Set<number | undefined>();
  world.sql.reply = (request, response) => {
    ports.add(request.socket.remotePort);
    request.resume();
    response.end('{}');
  };
  for (let index = 0; index < 10; index += 1) await (await post(world, '{}')).text();
  expect(ports.size).toBe(1);
});
