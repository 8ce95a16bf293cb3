import fc from 'fast-check';
import { expect, test } from 'vitest';

import { UnreadableValue } from './encoder.ts';
import { JsonCheck } from './json-check.ts';

function passes(text: string, size = 1_000): boolean {
  const check = new JsonCheck();
  const bytes = Buffer.from(text);
  try {
    check.begin();
    for (let at = 0; at < bytes.length; at += size) check.write(bytes, at, Math.min(bytes.length, at + size));
    check.end();
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(UnreadableValue);
    return false;
  }
}

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

test('any JSON passes, however it is cut', () => {
  fc.assert(
    fc.property(fc.json(), fc.integer({ min: 1, max: 9 }), (text, size) => {
      expect(passes(text, size)).toBe(true);
      expect(passes(` ${JSON.stringify(JSON.parse(text), null, 1)}\n`, size)).toBe(true);
    }),
  );
});

test('whatever else there is, the check and JSON.parse agree', () => {
  const soup = fc.string({
    unit: fc.constantFrom(
      ...'{}[],:"\\ \n\t-+.0129eEutrfalsn/\u0001é'.split(''),
      'true',
      'false',
      'null',
      '"a"',
      '\\u00e9',
      '1.5',
    ),
    maxLength: 12,
  });
  fc.assert(
    fc.property(soup, fc.integer({ min: 1, max: 5 }), (text, size) => {
      expect(passes(text, size)).toBe(parses(text));
    }),
    { numRuns: 3_000 },
  );
});
