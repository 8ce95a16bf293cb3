import fc from 'fast-check';
import { expect, test } from 'vitest';

import { Utf8Check } from './utf8.ts';

/** Cuts at every multiple of `size`, in memory that is written again after each chunk, as the output's is. */
function check(bytes: Buffer, size: number): boolean {
  const memory = Buffer.alloc(size);
  const utf8 = new Utf8Check();
  for (let at = 0; at < bytes.length; at += size) {
    const length = bytes.copy(memory, 0, at, at + size);
    utf8.add([memory.subarray(0, length)]);
    memory.fill(0xff);
  }
  return utf8.isValid;
}

test('text is valid however it is cut, and stays valid when its memory is used again', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('a', 'é', '€', '\u{1f600}'), maxLength: 60 }),
      fc.integer({ min: 1, max: 9 }),
      (text, size) => {
        expect(check(Buffer.from(text), size)).toBe(true);
      },
    ),
    { numRuns: 1_000 },
  );
});

test('bytes that are not UTF-8 are found however they are cut', () => {
  for (const hex of ['ff', '61c3', 'c328', 'e28228', 'f0288cbc', 'eda080', 'c0af', '80']) {
    for (let size = 1; size <= 5; size += 1) expect(check(Buffer.from(hex, 'hex'), size), `${hex} by ${size}`).toBe(false);
  }
});
