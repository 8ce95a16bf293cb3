import fc from 'fast-check';
import { expect, test } from 'vitest';

import { CHUNK_BYTES, Output } from './output.ts';

const text = (out: Output): string => Buffer.concat(out.held()).toString('latin1');

test('bytes come out as they went in, however they are cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 50 }),
      fc.integer({ min: 1, max: 900 }),
      (runs, times) => {
        const out = new Output();
        const expected: Buffer[] = [];
        for (const run of runs) {
          const bytes = Buffer.concat(Array.from({ length: run.length % 7 === 0 ? times : 1 }, () => Buffer.from(run)));
          out.bytes(bytes, 0, bytes.length);
          expected.push(bytes);
        }
        expect(Buffer.concat(out.held()).equals(Buffer.concat(expected))).toBe(true);
        expect(out.offset).toBe(expected.reduce((sum, bytes) => sum + bytes.length, 0));
      },
    ),
    { numRuns: 100 },
  );
});

test('truncate goes back to any offset, also into chunks that are full', () => {
  const source = Buffer.alloc(CHUNK_BYTES * 3 + 77, 'abcdefg');
  for (const offset of [0, 1, 900, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, CHUNK_BYTES * 2, source.length]) {
    const out = new Output();
    out.bytes(source, 0, source.length);
    out.truncate(offset);
    out.ascii('!');
    expect(text(out)).toBe(`${source.toString('latin1', 0, offset)}!`);
  }
});

test('bytes that were taken count for the offset and are held no more', () => {
  const out = new Output();
  out.ascii('taken');
  expect(Buffer.concat(out.take()).toString()).toBe('taken');
  out.ascii('held');
  expect(out.offset).toBe(9);
  expect(out.heldBytes).toBe(4);
  expect(out.takenBytes).toBe(5);
  out.truncate(3);
  expect(out.takenBytes).toBe(3);
  expect(text(out)).toBe('');
});

/** A small buffer is a part of memory that the whole process shares: written again, it would show in others' answers. */
test('only memory of its own is written again', () => {
  const neighbours = Array.from({ length: 200 }, () => Buffer.allocUnsafe(100).fill('n'));
  const out = new Output();
  out.ascii('small');
  out.reserve(CHUNK_BYTES);
  for (let round = 0; round < 40; round += 1) {
    out.bytes(Buffer.alloc(CHUNK_BYTES * 2, 'x'), 0, CHUNK_BYTES * 2);
    const chunks = out.take();
    out.recycle(chunks);
    out.bytes(Buffer.alloc(CHUNK_BYTES * 3, 'y'), 0, CHUNK_BYTES * 3);
    out.recycle(out.take());
    expect(out.heldBytes).toBe(0);
  }
  expect(neighbours.every((buffer) => buffer.equals(Buffer.alloc(100, 'n')))).toBe(true);
  out.ascii('end');
  expect(Buffer.concat(out.held()).toString()).toBe('end');
});
