import fc from 'fast-check';
import { expect, test } from 'vitest';

import type { Part } from './frames.ts';
import { clientFrame, closeFrame, createBoundary, createFrameReader, OPCODE, serverFrame } from './frames.ts';

const MAX = 1_000_000;

interface Sent {
  readonly fragments: readonly Uint8Array[];
  readonly isText: boolean;
  /** Between the fragments. */
  readonly ping: boolean;
  readonly mask: Uint8Array;
}

/** Lengths that need the longer forms; the bytes matter less. */
const large = fc
  .tuple(fc.integer({ min: 60_000, max: 70_000 }), fc.nat(255))
  .map(([size, byte]) => new Uint8Array(size).fill(byte));

const sentMessage: fc.Arbitrary<Sent> = fc.record({
  fragments: fc.array(fc.oneof(fc.uint8Array({ maxLength: 200 }), large), {
    minLength: 1,
    maxLength: 3,
  }),
  isText: fc.boolean(),
  ping: fc.boolean(),
  mask: fc.uint8Array({ minLength: 4, maxLength: 4 }),
});

const encode = ({ fragments, isText, ping, mask }: Sent): Buffer =>
  Buffer.concat(
    fragments.flatMap((fragment, index) => {
      const opcode = index > 0 ? OPCODE.continuation : isText ? OPCODE.text : OPCODE.binary;
      const last = index === fragments.length - 1;
      const frame = clientFrame(opcode, Buffer.from(fragment), Buffer.from(mask), last);
      return ping ? [clientFrame(OPCODE.ping, Buffer.from('ping'), Buffer.from(mask)), frame] : [frame];
    }),
  );

/** Pushes in pieces of these sizes, over and over, and reads all there is after each. */
function readAll(bytes: Buffer, sizes: readonly number[], max = MAX): Part[] {
  const reader = createFrameReader(max);
  const parts: Part[] = [];
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1;
    reader.push(bytes.subarray(at, at + size));
    at += size;
    for (let part = reader.next(); part !== undefined; part = reader.next()) parts.push(part);
  }
  return parts;
}

const messagesOf = (parts: readonly Part[]): { bytes: Buffer; isText: boolean }[] => {
  const messages: { bytes: Buffer; isText: boolean }[] = [];
  let pending: Buffer[] = [];
  for (const part of parts) {
    if (part.kind !== 'payload') continue;
    pending.push(part.bytes);
    if (!part.last) continue;
    messages.push({ bytes: Buffer.concat(pending), isText: part.isText });
    pending = [];
  }
  return messages;
};

const sizesArbitrary = fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 5 });

test('whatever the fragments and wherever they are cut, messages come out as they went in', () => {
  fc.assert(
    fc.property(fc.array(sentMessage, { maxLength: 4 }), sizesArbitrary, (sent, sizes) => {
      const parts = readAll(Buffer.concat(sent.map(encode)), sizes);
      const expected = sent.map(({ fragments, isText }) => ({ bytes: Buffer.concat(fragments), isText }));
      const messages = messagesOf(parts);
      expect(messages.map(({ isText }) => isText)).toEqual(expected.map(({ isText }) => isText));
      expect(messages.every(({ bytes }, index) => expected[index]?.bytes.equals(bytes) === true)).toBe(true);
      const pings = sent.reduce((sum, { ping, fragments }) => sum + (ping ? fragments.length : 0), 0);
      expect(parts.filter(({ kind }) => kind === 'ping').length).toBe(pings);
      expect(parts.some(({ kind }) => kind === 'fault')).toBe(false);
    }),
    { numRuns: 60 },
  );
});

/** What is not read here goes to the service as frames: a byte that is lost or doubled would be somebody's statement. */
test('what was read and what is given away are together what came, wherever the reading stops', () => {
  fc.assert(
    fc.property(fc.array(sentMessage, { minLength: 1, maxLength: 3 }), fc.nat(), fc.nat(), (sent, cut, stop) => {
      const all = Buffer.concat(sent.map(encode));
      const arrived = all.subarray(0, 1 + (cut % all.length));
      const reader = createFrameReader(MAX);
      reader.push(arrived);
      const read: Part[] = [];
      for (let count = 0; count < stop % 6; count += 1) {
        const part = reader.next();
        if (part === undefined) break;
        read.push(part);
      }
      const { bytes, isOpen } = reader.rest();
      const taken = Buffer.concat(read.flatMap((part) => (part.kind === 'payload' ? [part.bytes] : [])));
      const mask = Buffer.from([9, 8, 7, 6]);
      const again = Buffer.concat([clientFrame(OPCODE.binary, taken, mask, !isOpen), bytes, all.subarray(arrived.length)]);
      const parts = readAll(again, [again.length], MAX * 10);
      expect(parts.find(({ kind }) => kind === 'fault')).toBeUndefined();
      const stream = (all: readonly { bytes: Buffer }[]): Buffer => Buffer.concat(all.map((message) => message.bytes));
      expect(stream(messagesOf(parts)).equals(Buffer.concat(sent.flatMap(({ fragments }) => fragments)))).toBe(true);
    }),
    { numRuns: 80 },
  );
});

test('a message of the limit passes, one byte more does not, however it is fragmented', () => {
  const mask = Buffer.from([1, 2, 3, 4]);
  const whole = (size: number): Buffer => clientFrame(OPCODE.text, Buffer.alloc(size), mask);
  const halves = (size: number): Buffer =>
    Buffer.concat([
      clientFrame(OPCODE.text, Buffer.alloc(50), mask, false),
      clientFrame(OPCODE.continuation, Buffer.alloc(size - 50), mask),
    ]);
  for (const encoded of [whole, halves]) {
    expect(messagesOf(readAll(encoded(100), [7], 100))).toEqual([{ bytes: Buffer.alloc(100), isText: true }]);
    expect(messagesOf(readAll(Buffer.concat([encoded(100), encoded(100)]), [7], 100))).toHaveLength(2);
    expect(readAll(encoded(101), [7], 100).at(-1)).toEqual({ kind: 'fault', code: 1_009, reason: 'the message is too long' });
  }
});

test('nothing is read behind a close or a fault', () => {
  const mask = Buffer.from([1, 2, 3, 4]);
  const behind = clientFrame(OPCODE.text, Buffer.from('x'), mask);
  expect(readAll(Buffer.concat([clientFrame(OPCODE.close, Buffer.alloc(0), mask), behind]), [1_000])).toEqual([
    { kind: 'close' },
  ]);
  expect(readAll(Buffer.concat([serverFrame(OPCODE.text, Buffer.from('x')), behind]), [1_000])).toEqual([
    { kind: 'fault', code: 1_002, reason: 'the frame is not masked' },
  ]);
});

test('a reason is cut at a character, and a Close is never longer than a control frame may be', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 200 }), (reason) => {
      const frame = closeFrame(1_002, reason);
      expect(frame.length).toBeLessThanOrEqual(127);
      expect(frame[1]).toBe(frame.length - 2);
      const shown = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(frame.subarray(4));
      expect(reason.toWellFormed().startsWith(shown)).toBe(true);
      expect(Buffer.byteLength(reason) > 123 || shown === reason.toWellFormed()).toBe(true);
    }),
  );
});

const frame = fc
  .tuple(fc.oneof(fc.nat(130), fc.integer({ min: 65_000, max: 66_000 })), fc.boolean())
  .map(([size, masked]) =>
    masked
      ? clientFrame(OPCODE.binary, Buffer.alloc(size), Buffer.from([1, 2, 3, 4]))
      : serverFrame(OPCODE.text, Buffer.alloc(size)),
  );

test('the ends of frames are found in any pieces', () => {
  fc.assert(
    fc.property(fc.array(frame, { minLength: 1, maxLength: 6 }), sizesArbitrary, fc.boolean(), (frames, sizes, isTiny) => {
      const all = Buffer.concat(frames);
      const ends = new Set([0]);
      for (const { length } of frames) ends.add(Math.max(...ends) + length);
      const boundary = createBoundary();
      for (let at = 0, turn = 0; at < all.length; turn += 1) {
        const size = isTiny && at < 300 ? 1 : (sizes[turn % sizes.length] ?? 1);
        const piece = all.subarray(at, at + size);
        expect(boundary.isBetween).toBe(ends.has(at));
        let passed = 0;
        while (passed < piece.length) {
          passed += boundary.pass(piece.subarray(passed), true);
          expect(boundary.isBetween).toBe(ends.has(at + passed));
          expect(boundary.isBetween || passed === piece.length).toBe(true);
        }
        at += piece.length;
      }
      expect(boundary.isBetween).toBe(true);
      const whole = createBoundary();
      expect([whole.pass(all), whole.isBetween, whole.isClosed]).toEqual([all.length, true, false]);
      // Whatever is in the payloads, a Close frame is one at its place alone.
      boundary.pass(closeFrame(1_000, '').subarray(0, 1));
      expect(boundary.isClosed).toBe(true);
    }),
    { numRuns: 40 },
  );
});

test('a message of endless frames, empty ones among them, is too much at some point (imm-126)', () => {
  const mask = Buffer.from([1, 2, 3, 4]);
  const begin = clientFrame(OPCODE.text, Buffer.alloc(0), mask, false);
  const empty = clientFrame(OPCODE.continuation, Buffer.alloc(0), mask, false);
  const endless = readAll(Buffer.concat([begin, ...Array.from({ length: 2_000 }, () => empty)]), [6]);
  expect(endless.at(-1)).toEqual({ kind: 'fault', code: 1_009, reason: 'the message has too many frames' });
  const end = clientFrame(OPCODE.continuation, Buffer.from('x'), mask, true);
  const whole = Buffer.concat([begin, ...Array.from({ length: 900 }, () => empty), end]);
  expect(readAll(Buffer.concat([whole, whole, whole]), [64]).filter(({ kind }) => kind === 'fault')).toEqual([]);
});
