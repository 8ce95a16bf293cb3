import { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';

import { clientFrame, OPCODE } from '../domain/frames.ts';
import { createClientSocket } from './client-socket.ts';

const MASK = Buffer.from([1, 2, 3, 4]);

/** imm-126 */
test('pongs that nobody reads are not kept: nothing more is read before they have gone', async () => {
  const kept: (() => void)[] = [];
  let pongs = 0;
  const socket = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _encoding, taken) => {
      pongs += Math.floor(chunk.length / 127);
      kept.push(taken);
    },
  });
  const ping = clientFrame(OPCODE.ping, Buffer.alloc(125), MASK);
  const head = Buffer.concat([...Array.from({ length: 10_000 }, () => ping), clientFrame(OPCODE.text, Buffer.from('me'), MASK)]);
  const client = createClientSocket({ socket, head, messageBytesMax: 100, waitMs: 60_000 });
  const reading = client.read();
  await turn();
  expect(socket.writableLength).toBeLessThan(100_000);
  // As soon as they are read, all are answered, and what stands behind them is heard.
  while (pongs < 10_000) {
    kept.shift()?.();
    await turn();
  }
  expect(await reading).toMatchObject({ kind: 'payload', last: true });
  socket.destroy();
});

test('who leaves while pongs wait to be read is gone', async () => {
  const socket = new Duplex({ read: () => {}, write: () => {} });
  const ping = clientFrame(OPCODE.ping, Buffer.alloc(125), MASK);
  const head = Buffer.concat(Array.from({ length: 1_000 }, () => ping));
  const client = createClientSocket({ socket, head, messageBytesMax: 100, waitMs: 60_000 });
  const reading = client.read();
  await turn();
  socket.destroy();
  expect(await reading).toEqual({ kind: 'gone' });
});
