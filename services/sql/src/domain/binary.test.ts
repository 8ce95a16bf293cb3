import fc from 'fast-check';
import { expect, test } from 'vitest';

import { binaryEncoder, mayNeedBinary } from './binary.ts';
import { Output } from './output.ts';

function encode(type: number, bytes: Buffer, size = bytes.length): string {
  const out = new Output();
  const pieces = binaryEncoder(type)?.pieces(out);
  pieces?.begin();
  for (let at = 0; at < bytes.length; at += size) pieces?.write(bytes, at, Math.min(bytes.length, at + size));
  pieces?.end();
  const text = Buffer.concat(out.held()).toString();
  const direct = new Output();
  binaryEncoder(type)?.value(direct, bytes, 0, bytes.length);
  expect(Buffer.concat(direct.held()).toString()).toBe(text);
  return text;
}

const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};
const int64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
};

test.each([
  [0n, '"946684800000.000"'],
  [-946_684_800_000_000n, '"0.000"'],
  [-946_684_800_000_001n, '"-0.001"'],
  [756_304_237_123_056n, '"1702989037123.056"'],
  [9_223_371_331_199_999_999n, '"9224318015999999.999"'],
  [-211_813_488_000_000_000n, '"-210866803200000.000"'],
  [2n ** 63n - 1n, '"Infinity"'],
  [-(2n ** 63n), '"-Infinity"'],
])('%d microseconds are %s', (micros, json) => {
  expect(encode(1114, int64(micros))).toBe(json);
  expect(encode(1184, int64(micros))).toBe(json);
});

test('an object identifier has no sign', () => {
  expect(encode(2205, int32(-1))).toBe('"4294967295"');
  expect(encode(24, int32(0))).toBe('"0"');
});

type Nested = readonly (number | null | Nested)[];
const nest = (values: readonly (number | null)[], sizes: readonly number[]): Nested => {
  const [, ...inner] = sizes;
  if (inner.length === 0) return values;
  const span = inner.reduce((product, size) => product * size, 1);
  return Array.from({ length: sizes[0] ?? 0 }, (_, at) => nest(values.slice(at * span, (at + 1) * span), inner));
};
const shown = (value: Nested): unknown =>
  value.map((one) => (one === null ? null : typeof one === 'number' ? String(one) : shown(one)));

test('any array of any dimensions reads back, however it is cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 4 }),
      fc.array(fc.option(fc.nat()), { minLength: 81, maxLength: 81 }),
      fc.integer({ min: 1, max: 9 }),
      (sizes, pool, size) => {
        const count = sizes.length === 0 ? 0 : sizes.reduce((product, one) => product * one, 1);
        const values = pool.slice(0, count);
        const bytes = Buffer.concat([
          int32(sizes.length),
          int32(1),
          int32(2205),
          ...sizes.flatMap((one) => [int32(one), int32(-2)]),
          ...values.flatMap((value) => (value === null ? [int32(-1)] : [int32(4), int32(value)])),
        ]);
        expect(JSON.parse(encode(2210, bytes, size))).toEqual(shown(sizes.length === 0 ? [] : nest(values, sizes)));
      },
    ),
  );
});

test('only what may need it is asked for its columns first', () => {
  expect(mayNeedBinary('select * from t', 'ISO, MDY')).toBe(false);
  expect(mayNeedBinary('select * from t', 'SQL, MDY')).toBe(true);
  expect(mayNeedBinary("select 't'::RegClass", 'ISO, MDY')).toBe(true);
  expect(mayNeedBinary('select oid, typinput from pg_type', 'ISO, DMY')).toBe(true);
});
