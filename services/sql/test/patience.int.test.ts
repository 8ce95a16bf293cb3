/** How long the door waits for those who send and read slowly. Node's own socket timers are not among the faked ones. */
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import net from 'node:net';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { takeBody } from '../src/http/middleware/body.ts';
import { sendAnswer } from '../src/http/routes/sql.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterEach(() => void vi.useRealTimers());

async function serve(listener: http.RequestListener): Promise<{ readonly port: number } & AsyncDisposable> {
  const server = http.createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function get(port: number): Promise<http.IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  http.get({ port, host: '127.0.0.1', agent: false }, resolve).on('error', reject);
  return promise;
}

/** Each byte that is taken is a sign of life, so that a limit on silence alone is none. */
test('an answer that is taken by the byte ends at a deadline of its own', async () => {
  const length = 128_000;
  const disposed = Promise.withResolvers<void>();
  const trickle = { next: Promise.withResolvers<void>() };
  await using server = await serve(
    (_request, response) =>
      void sendAnswer(
        {
          length,
          whole: undefined,
          async *pieces() {
            for (;;) {
              yield Buffer.from('x');
              await trickle.next.promise;
              trickle.next = Promise.withResolvers();
            }
          },
          dispose: async () => disposed.resolve(),
        },
        response,
      ),
  );
  const response = await get(server.port);
  const ended = once(response, 'error').then(() => 'cut off');
  response.resume();
  for (let second = 0; second < 60; second += 1) {
    vi.advanceTimersByTime(1_000);
    const arrived = once(response, 'data');
    trickle.next.resolve();
    await arrived;
  }
  vi.advanceTimersByTime(1_000);
  trickle.next.resolve();
  expect(await ended).toBe('cut off');
  await disposed.promise;
});

test('an answer in one piece has the same deadline, and none is left when it has been taken', async () => {
  const whole = Buffer.alloc(8_388_608, 'x');
  const answer = { length: whole.length, whole, pieces: () => [][Symbol.iterator]() as never, dispose: async () => {} };
  const closed = Promise.withResolvers<void>();
  await using server = await serve((_request, response) => {
    response.once('close', () => closed.resolve());
    void sendAnswer(answer, response);
  });
  const response = await get(server.port);
  expect(vi.getTimerCount()).toBe(1);
  let bytes = 0;
  for await (const piece of response as AsyncIterable<Buffer>) bytes += piece.length;
  expect(bytes).toBe(whole.length);
  await closed.promise;
  expect(vi.getTimerCount()).toBe(0);
});

test('a body that is turned away is not timed any more', async () => {
  const outcome = Promise.withResolvers<unknown>();
  await using server = await serve((request) => void takeBody(request).catch((error: unknown) => outcome.resolve(error)));
  const socket = net.connect(server.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99000000\r\n\r\n');
  socket.write(Buffer.alloc(34_000_000, 'x'));
  expect(await outcome.promise).toMatchObject({ code: 'SQL_BODY_TOO_LARGE' });
  expect(vi.getTimerCount()).toBe(0);
  socket.destroy();
});
