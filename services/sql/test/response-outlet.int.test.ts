/** How long readers of an answer that is sent while it is made are waited for. */
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';

import type { Outlet } from '../src/domain/outlet.ts';
import { createResponseOutlet } from '../src/http/response-outlet.ts';

interface Pair extends AsyncDisposable {
  readonly outlet: Outlet;
  readonly response: http.ServerResponse;
  /** Its body is not read until somebody does. */
  readonly reader: Promise<http.IncomingMessage>;
}

async function pair(stallMs: number): Promise<Pair> {
  const asked = Promise.withResolvers<http.ServerResponse>();
  const server = http.createServer((_request, response) => asked.resolve(response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const head = Promise.withResolvers<http.IncomingMessage>();
  // One who is given up may be so before the head has come, and then nobody asks for it.
  head.promise.catch(() => {});
  const { port } = server.address() as AddressInfo;
  http.get({ port, host: '127.0.0.1', agent: false }, head.resolve).on('error', head.reject);
  const response = await asked.promise;
  return {
    outlet: createResponseOutlet({ response, contentType: 'text/plain', stallMs }),
    response,
    reader: head.promise,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

const CHUNK = Buffer.alloc(65_536, 'x');
/** More than the kernel keeps for a reader who takes nothing. */
const PLENTY = 400;

test('a reader who takes nothing is given up, but not while there is nothing to take', async () => {
  await using idle = await pair(40);
  await using stalled = await pair(160);
  idle.outlet.send([Buffer.from('first ')], () => {});
  const reader = await idle.reader;
  const given = once(stalled.response, 'close');
  for (let chunk = 0; chunk < PLENTY; chunk += 1) stalled.outlet.send([CHUNK], () => {});
  const behind = stalled.outlet.behind();
  expect(behind).toBeDefined();
  await given;
  // Whoever waited for the reader waits no more.
  await behind;
  expect(stalled.outlet.behind()).toBeUndefined();
  // The other one was silent for as long, four times over.
  idle.outlet.send([Buffer.from('second')], () => {});
  idle.outlet.end();
  let text = '';
  for await (const piece of reader) text += String(piece);
  expect(text).toBe('first second');
});

test('a reader who goes on taking is waited for, and memory is free again as it is taken', async () => {
  await using slow = await pair(60_000);
  let free = 0;
  for (let chunk = 0; chunk < PLENTY; chunk += 1) slow.outlet.send([CHUNK], () => (free += 1));
  const behind = slow.outlet.behind();
  expect(free).toBeLessThan(PLENTY);
  const reader = await slow.reader;
  slow.outlet.end();
  let bytes = 0;
  for await (const piece of reader) bytes += (piece as Buffer).length;
  await behind;
  expect([bytes, free]).toEqual([PLENTY * CHUNK.length, PLENTY]);
});

test('an answer that is broken off is seen to be', async () => {
  await using broken = await pair(60_000);
  broken.outlet.send([Buffer.from('half')], () => {});
  const reader = await broken.reader;
  broken.outlet.abort();
  await expect(reader.toArray()).rejects.toThrow();
});
