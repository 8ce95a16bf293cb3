import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { expect, test } from 'vitest';

import { openDoor } from '../src/door.ts';

async function open(port: number, bytes = ''): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.on('error', () => {});
  socket.resume();
  if (bytes !== '') socket.write(bytes);
  return socket;
}

/** Otherwise one idle connection makes every stop take as long as a stop may. */
test('a stop waits for answers under way, and for no connection on which nothing is', { timeout: 5_000 }, async () => {
  const held = Promise.withResolvers<void>();
  const began = Promise.withResolvers<void>();
  const door = await openDoor(
    (_request, response) => {
      response.write('begun');
      began.resolve();
      void held.promise.then(() => response.end());
    },
    { host: '127.0.0.1', port: 0 },
  );
  const silent = await open(door.port);
  const halfSent = await open(door.port, 'GET / HTTP/1.1\r\nHost: door\r\nX-Half: ');
  const answering = await open(door.port, 'GET / HTTP/1.1\r\nHost: door\r\n\r\n');
  await began.promise;
  const closing = door[Symbol.asyncDispose]();
  await Promise.all([once(silent, 'close'), once(halfSent, 'close')]);
  expect(answering.closed).toBe(false);
  answering.write('GET / HTTP/1.1\r\nX-Half: ');
  held.resolve();
  await closing;
});
