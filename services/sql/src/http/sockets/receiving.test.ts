import fc from 'fast-check';
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';

import { createReceiving, MessageWatch } from './receiving.ts';

const TEXT = 1;
const CONTINUATION = 0;
const PING = 9;

/** As a client sends it, with a mask that changes nothing. */
function frame(opcode: number, bytes: number, isLast = true): Buffer {
  const size =
    bytes < 126
      ? [0x80 | bytes]
      : bytes < 65_536
        ? [0xfe, bytes >> 8, bytes & 255]
        : [0xff, 0, 0, 0, 0, 0, bytes >> 16, (bytes >> 8) & 255, bytes & 255];
  return Buffer.concat([Buffer.from([(isLast ? 0x80 : 0) | opcode, ...size, 0, 0, 0, 0]), Buffer.alloc(bytes, 0x20)]);
}

interface Opened {
  readonly closed: [string, number][];
  open(name: string, messageBytesMax?: number): PassThrough;
}

function world(bytesMax: number, usual: number): Opened {
  const receiving = createReceiving(bytesMax);
  const closed: [string, number][] = [];
  return {
    closed,
    open(name, messageBytesMax = usual) {
      const socket = new PassThrough();
      let isEnded = false;
      const end = (code: number): void => {
        if (!isEnded) closed.push([name, code]);
        isEnded = true;
        socket.resume();
      };
      receiving({ socket, ws: { pause: () => void socket.pause() }, owner: { end }, messageBytesMax });
      return socket;
    },
  };
}

/** imm-126 */
test('the socket with which messages that are not whole become too many bytes is closed, and no other', () => {
  const { closed, open } = world(100, 60);
  const [one, two, three] = [open('one'), open('two'), open('three')];
  for (let count = 0; count < 20; count += 1) one.emit('data', frame(TEXT, 50));
  one.emit('data', frame(TEXT, 54).subarray(0, 50));
  two.emit('data', frame(TEXT, 44, false));
  expect(closed).toEqual([]);
  three.emit('data', frame(TEXT, 1, false));
  expect(closed).toEqual([['three', 1013]]);
  three.emit('close');
  one.emit('close');
  two.emit('data', frame(CONTINUATION, 40));
  two.emit('data', frame(TEXT, 50, false));
  expect(closed).toEqual([['three', 1013]]);
});

/** imm-126 */
test('sockets that take messages of different lengths have one bound together', () => {
  const { closed, open } = world(100, 60);
  const [short, long] = [open('short', 20), open('long')];
  long.emit('data', frame(TEXT, 80, false));
  expect(closed).toEqual([]);
  short.emit('data', frame(TEXT, 14, false));
  expect(closed).toEqual([['short', 1013]]);
  open('other', 20).emit('data', frame(TEXT, 40, false));
  expect(closed).toEqual([
    ['short', 1013],
    ['other', 1009],
  ]);
});

/** imm-126: a part of a message keeps all the memory with which it came. */
test('frames that came together with parts of a message count as long as it is not whole', () => {
  const { closed, open } = world(1_000_000, 1_000);
  const socket = open('one');
  const chunk = (opcode: number): Buffer => Buffer.concat([frame(opcode, 1, false), frame(PING, 100), frame(PING, 100)]);
  socket.emit('data', chunk(TEXT));
  for (let count = 0; count < 8; count += 1) socket.emit('data', chunk(CONTINUATION));
  expect(closed).toEqual([]);
  socket.emit('data', chunk(CONTINUATION));
  expect(closed).toEqual([['one', 1009]]);
  expect(socket.isPaused()).toBe(true);
  socket.destroy();
});

test('a socket that is only kept alive never comes to an end for it', () => {
  const { closed, open } = world(1_000, 1_000);
  const socket = open('one');
  for (let count = 0; count < 1_000; count += 1) socket.emit('data', frame(PING, 100));
  socket.emit('data', frame(TEXT, 1, false));
  for (let count = 0; count < 1_000; count += 1) socket.emit('data', frame(PING, 100));
  expect(closed).toEqual([]);
});

test('messages are found however they are cut', () => {
  const message = fc.record({ parts: fc.array(fc.nat(300), { minLength: 1, maxLength: 4 }), isPinged: fc.boolean() });
  const cut = fc.integer({ min: 1, max: 200 });
  fc.assert(
    fc.property(fc.array(message), fc.array(cut), fc.boolean(), (messages, cuts, isOpen) => {
      const frames = messages.flatMap(({ parts, isPinged }) =>
        parts.flatMap((bytes, index) => [
          frame(index === 0 ? TEXT : CONTINUATION, bytes, index === parts.length - 1),
          ...(isPinged ? [frame(PING, 5)] : []),
        ]),
      );
      const bytes = Buffer.concat([...frames, ...(isOpen ? [frame(TEXT, 70_000, false), frame(PING, 5)] : [])]);
      const watch = new MessageWatch();
      let ended = 0;
      let at = 0;
      for (const length of [...cuts, bytes.length]) {
        ended += watch.pass(bytes.subarray(at, at + length)).ended;
        at += length;
      }
      expect([ended, watch.isOpen]).toEqual([messages.length, isOpen]);
    }),
  );
});
