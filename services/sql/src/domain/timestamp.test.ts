import fc from 'fast-check';
import { expect, test } from 'vitest';

import { Output } from './output.ts';
import { timestamp } from './timestamp.ts';

function epoch(text: string): string {
  const out = new Output();
  const bytes = Buffer.from(text);
  timestamp.value(out, bytes, 0, bytes.length);
  return JSON.parse(Buffer.concat(out.held()).toString()) as string;
}

test.each([
  ['1970-01-01 00:00:00', '0.000'],
  ['2023-12-19 12:30:37.123056', '1702989037123.056'],
  ['2023-12-19 12:30:37.123056+00', '1702989037123.056'],
  ['2023-12-19 14:30:37.123056+02', '1702989037123.056'],
  ['2023-12-19 18:15:37.123056+05:45', '1702989037123.056'],
  ['2023-12-19 07:00:37.1-05:30', '1702989037100.000'],
  ['1970-01-01 00:00:00.000001', '0.001'],
  ['1969-12-31 23:59:59.999999', '-0.001'],
  ['1969-12-31 23:59:59.9', '-100.000'],
  ['1969-12-31 23:59:59', '-1000.000'],
  ['1969-12-31 23:59:58.5', '-1500.000'],
  ['1890-01-01 00:00:00+00:53:28', '-2524524808000.000'],
  ['2000-02-29 00:00:00', '951782400000.000'],
  ['10000-01-01 00:00:00', '253402300800000.000'],
  ['294276-12-31 23:59:59.999999', '9224318015999999.999'],
  ['0001-01-01 00:00:00 BC', '-62167219200000.000'],
  ['4714-11-24 00:00:00 BC', '-210866803200000.000'],
  ['0044-03-15 12:00:00+00 BC', '-63517780800000.000'],
  ['infinity', 'Infinity'],
  ['-infinity', '-Infinity'],
])('%s is %s', (text, expected) => {
  expect(epoch(text)).toBe(expected);
});

test.each([
  ['Tue Dec 19 12:30:37.123056 2023', '1702989037123.056'],
  ['Tue 19 Dec 12:30:37.123056 2023', '1702989037123.056'],
  ['Thu Mar 15 12:00:00 0044 BC', '-63517780800000.000'],
  ['19.12.2023 12:30:37.123056', '1702989037123.056'],
  ['15.03.0044 12:00:00 BC', '-63517780800000.000'],
])('%s, in which day and month are certain, is %s', (text, expected) => {
  expect(epoch(text)).toBe(expected);
});

/** `UTC` may be the name that a zone of its own gives itself (`UTC+3`), and so may `+03` (`<+03>-5`). */
test.each([
  '05/06/2023 00:00:00',
  '19/12/2023 12:30:37.123056',
  '12/19/2023 15:30:37.123056+03',
  '19.12.2023 12:30:37.123056 UTC',
  'Tue Dec 19 12:30:37.123056 2023 UTC',
  'Tue Dec 19 15:30:37.123056 2023 +03',
  'Sun Oct 29 02:30:00 2023 CET',
  'Thu Mar 15 12:00:00 0044 UTC BC',
])('%s is not certain, and is left as it is', (text) => {
  expect(epoch(text)).toBe(text);
});

test('any instant in any zone is the same number', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_999 }),
      fc.integer({ min: 0, max: 999 }),
      fc.integer({ min: -14 * 60, max: 14 * 60 }),
      (millis, micros, minutes) => {
        const iso = new Date(millis + minutes * 60_000).toISOString();
        // A year outside four digits has another form; those have tests of their own.
        fc.pre(/^\d{4}-/.test(iso) && !iso.startsWith('0000'));
        const sign = minutes < 0 ? '-' : '+';
        const pad = (value: number): string => String(value).padStart(2, '0');
        const offset = `${sign}${pad(Math.floor(Math.abs(minutes) / 60))}:${pad(Math.abs(minutes) % 60)}`;
        const printed = `${iso.slice(0, 10)} ${iso.slice(11, 23)}${String(micros).padStart(3, '0')}${offset}`;
        const total = BigInt(millis) * 1_000n + BigInt(micros);
        const magnitude = total < 0n ? -total : total;
        const expected = `${total < 0n ? '-' : ''}${magnitude / 1_000n}.${String(magnitude % 1_000n).padStart(3, '0')}`;
        expect(epoch(printed)).toBe(expected);
      },
    ),
    { numRuns: 2_000 },
  );
});
