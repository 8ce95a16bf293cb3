import fc from 'fast-check';
import { expect, test } from 'vitest';

import type { Encoder } from './encoder.ts';
import { Output } from './output.ts';
import type { TypeShape } from './types.ts';
import { encoderOf } from './types.ts';

const NO_SHAPES: ReadonlyMap<number, TypeShape> = new Map();

function encode(encoder: Encoder, value: string, out = new Output()): string {
  const bytes = Buffer.from(`<<${value}>>`);
  encoder.value(out, bytes, 2, bytes.length - 2);
  return Buffer.concat(out.held()).toString();
}

/** The same in pieces of `size` bytes, as a large row passes through. */
function encodePieces(encoder: Encoder, value: string, size: number): string {
  const out = new Output();
  const bytes = Buffer.from(value);
  const pieces = encoder.pieces(out);
  pieces.begin();
  for (let at = 0; at < bytes.length; at += size) pieces.write(bytes, at, Math.min(bytes.length, at + size));
  pieces.end();
  return Buffer.concat(out.held()).toString();
}

const of = (oid: number): Encoder => encoderOf(oid, NO_SHAPES);

/** PostgreSQL's text, and the JSON text that stands for it; every row of the reference's table, and the traps beside it. */
const table: readonly (readonly [type: string, oid: number, text: string, json: string])[] = [
  ['bool', 16, 't', 'true'],
  ['bool', 16, 'f', 'false'],
  ['int2', 21, '-32768', '"-32768"'],
  ['int4', 23, '3', '"3"'],
  ['int8 beyond what a double holds', 20, '9007199254740993', '"9007199254740993"'],
  ['numeric', 1700, '123456789012345678901234567890.10', '"123456789012345678901234567890.10"'],
  ['numeric NaN', 1700, 'NaN', '"NaN"'],
  ['numeric infinity', 1700, '-Infinity', '"-Infinity"'],
  ['oid', 26, '4294967295', '"4294967295"'],
  ['"char"', 18, 'r', '"r"'],
  ['float8 that is whole', 701, '1', '"1.0"'],
  ['float8 negative zero', 701, '-0', '"-0.0"'],
  ['float8 with a fraction', 701, '0.1', '"0.1"'],
  ['float8 with an exponent', 701, '1e+300', '"1e+300"'],
  ['float8 NaN', 701, 'NaN', '"NaN"'],
  ['float8 infinity', 701, 'Infinity', '"Infinity"'],
  ['float4 negative infinity', 700, '-Infinity', '"-Infinity"'],
  ['text', 25, 'a"b\\c\n\u0001é\u{1f600}', '"a\\"b\\\\c\\n\\u0001é\u{1f600}"'],
  ['text that is empty', 25, '', '""'],
  ['bpchar keeps its blanks', 1042, 'a  ', '"a  "'],
  ['uuid', 2950, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"'],
  ['interval', 1186, '1 day 02:00:00', '"1 day 02:00:00"'],
  ['date', 1082, '2023-12-19', '"2023-12-19"'],
  ['date of other days', 1082, 'infinity', '"infinity"'],
  ['time', 1083, '12:30:00.5', '"12:30:00.5"'],
  ['range', 3904, '[1,5)', '"[1,5)"'],
  ['multirange', 4451, '{[1,3),[5,8)}', '"{[1,3),[5,8)}"'],
  ['aclitem', 1033, 'alice=r/"o ""p"', '"alice=r/\\"o \\"\\"p\\""'],
  ['money', 790, '$1,000.00', '"$1,000.00"'],
  ['anonymous record', 2249, '(1,x)', '"(1,x)"'],
  ['bytea in hex', 17, '\\x00ff7F', '[0,255,127]'],
  ['bytea in hex, empty', 17, '\\x', '[]'],
  ['bytea in the escape form', 17, 'a\\\\b\\000\\377', '[97,92,98,0,255]'],
  ['bytea in the escape form that begins with a backslash', 17, '\\\\x41', '[92,120,52,49]'],
  ['bytea in the escape form that begins with an octal', 17, '\\001x', '[1,120]'],
  ['bytea in the escape form, empty', 17, '', '[]'],
  ['jsonb object keeps its digits', 3802, '{"a": 1.10, "b": 1e400}', '{"a": 1.10, "b": 1e400}'],
  ['jsonb number alone', 3802, '1.10', '"1.10"'],
  ['jsonb negative number alone', 3802, '-5', '"-5"'],
  ['jsonb string alone', 3802, '"5"', '"5"'],
  ['jsonb null', 3802, 'null', 'null'],
  ['json number with space around it', 114, ' 7 ', '"7"'],
  ['json with space inside', 114, ' {"a" : 1}', '{"a" : 1}'],
  ['regclass that comes as text', 2205, 'pg_class', '"pg_class"'],
  ['regclass of a dropped table', 2205, '16384', '"16384"'],
  ['int4[]', 1007, '{1,2,NULL}', '["1","2",null]'],
  ['int4[] empty', 1007, '{}', '[]'],
  ['int4[][]', 1007, '{{1,2},{3,4}}', '[["1","2"],["3","4"]]'],
  ['int4[] with bounds', 1007, '[2:3]={1,2}', '["1","2"]'],
  ['int4[] with negative bounds', 1007, '[-1:0][5:5]={{1},{2}}', '[["1"],["2"]]'],
  ['text[] with what must be quoted', 1009, '{"a,b","NULL",null_,"","\\"\\\\","{}"}', '["a,b","NULL","null_","","\\"\\\\","{}"]'],
  ['text[] with nullish words', 1009, '{NUL,NULLS,NULL,N}', '["NUL","NULLS",null,"N"]'],
  ['bool[]', 1000, '{t,f}', '[true,false]'],
  ['float8[]', 1022, '{1,NaN,2.5}', '["1.0","NaN","2.5"]'],
  ['timestamptz[]', 1185, '{"1970-01-01 00:00:00+00",NULL}', '["0.000",null]'],
  ['bytea[]', 1001, '{"\\\\x01","\\\\x"}', '[[1],[]]'],
  ['jsonb[]', 3807, '{"{\\"a\\": 1}",1}', '[{"a": 1},"1"]'],
  ['record[]', 2287, '{"(1,x)"}', '["(1,x)"]'],
];

test.each(table)('%s (%i): %s', (_type, oid, value, json) => {
  expect(encode(of(oid), value)).toBe(json);
  for (const size of [1, 2, 3, 7]) expect(encodePieces(of(oid), value, size)).toBe(json);
  expect(() => JSON.parse(json) as unknown).not.toThrow();
});

const shapes = new Map<number, TypeShape>([
  [
    90001,
    {
      kind: 'composite',
      fields: [
        { name: 'a', type: 23 },
        { name: 'B "c"', type: 25 },
        { name: 'd', type: 1007 },
      ],
    },
  ],
  [90002, { kind: 'array', element: 90001, delimiter: ',' }],
  [90003, { kind: 'domain', base: 1007 }],
  [90004, { kind: 'composite', fields: [{ name: '__proto__', type: 90001 }] }],
  [90005, { kind: 'array', element: 603, delimiter: ';' }],
  [90006, { kind: 'composite', fields: [] }],
  [
    90007,
    {
      kind: 'composite',
      fields: [
        { name: 'j', type: 3802 },
        { name: 'js', type: 3807 },
        { name: 'b', type: 16 },
      ],
    },
  ],
]);

const made: readonly (readonly [type: string, oid: number, text: string, json: string])[] = [
  ['composite', 90001, '(1,x,"{1,2}")', '{"a":"1","B \\"c\\"":"x","d":["1","2"]}'],
  ['composite with nothing in it', 90001, '(,"",)', '{"a":null,"B \\"c\\"":"","d":null}'],
  ['composite with what must be quoted', 90001, '(,"a ""b"" \\\\ c,(",)', '{"a":null,"B \\"c\\"":"a \\"b\\" \\\\ c,(","d":null}'],
  ['composite[]', 90002, '{"(1,\\"a b\\",)",NULL}', '[{"a":"1","B \\"c\\"":"a b","d":null},null]'],
  ['domain over an array', 90003, '{1}', '["1"]'],
  ['composite in a composite', 90004, '("(1,x,)")', '{"__proto__":{"a":"1","B \\"c\\"":"x","d":null}}'],
  ['array with another delimiter', 90005, '{(1,1),(0,0);(2,2),(1,1)}', '["(1,1),(0,0)","(2,2),(1,1)"]'],
  ['composite without fields', 90006, '()', '{}'],
  ['type of which nothing is known', 99999, 'any "text"', '"any \\"text\\""'],
];

test.each(made)('%s: %3$s', (_type, oid, value, json) => {
  const encoder = encoderOf(oid, shapes);
  expect(encode(encoder, value)).toBe(json);
  for (const size of [1, 2, 5]) expect(encodePieces(encoder, value, size)).toBe(json);
});

test('text that does not fit its type is shown as it is', () => {
  const composite = encoderOf(90001, shapes);
  for (const value of ['(1,x)', '(1,x,,)', '(1', 'x', '(1,x,)y', ''])
    expect(encode(composite, value)).toBe(JSON.stringify(value));
  for (const value of ['{1', '1}', '{1}2', '']) expect(encode(of(1007), value)).toBe(JSON.stringify(value));
});

test('a composite type that has changed since it was looked up is shown as text', () => {
  const composite = encoderOf(90007, shapes);
  expect(encode(composite, '("{""a"": 1}","{1}",t)')).toBe('{"j":{"a": 1},"js":["1"],"b":true}');
  for (const value of ['(x,{},t)', '(1 2,{},t)', '("",{},t)', '({,{},t)', '(1,{x},t)', '(1,{},y)', '(1,{},true)'])
    expect(encode(composite, value)).toBe(JSON.stringify(value));
  expect(encode(encoderOf(90001, shapes), '("x""y",q,)')).toBe('{"a":"x\\"y","B \\"c\\"":"q","d":null}');
});

const quoteArrayElement = (value: string | null): string =>
  value === null ? 'NULL' : `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;

const character = fc
  .oneof(fc.integer({ min: 1, max: 0x7f }), fc.integer({ min: 0x80, max: 0xd7ff }), fc.integer({ min: 0xe000, max: 0x10_ffff }))
  .map((code) => String.fromCodePoint(code));

/** What PostgreSQL's text type can hold. */
const pgText = fc.string({ unit: character, maxLength: 12 });

type Nested = readonly (string | null | Nested)[];

const nested = (depth: number): fc.Arbitrary<Nested> =>
  depth === 1
    ? fc.array(fc.option(pgText), { minLength: 1, maxLength: 4 })
    : fc.array(nested(depth - 1), { minLength: 1, maxLength: 3 });

const printArray = (value: Nested): string =>
  `{${value.map((element) => (typeof element === 'string' || element === null ? quoteArrayElement(element) : printArray(element))).join(',')}}`;

test('any array of text reads back as the array it was printed from', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 3 }).chain(nested), fc.integer({ min: 1, max: 9 }), (value, size) => {
      const printed = printArray(value);
      expect(JSON.parse(encode(of(1009), printed))).toEqual(value);
      expect(encodePieces(of(1009), printed, size)).toBe(encode(of(1009), printed));
    }),
  );
});

const quoteField = (value: string | null): string =>
  value === null ? '' : `"${value.replaceAll('\\', '\\\\').replaceAll('"', '""')}"`;

test('any record of text reads back as the fields it was printed from', () => {
  fc.assert(
    fc.property(fc.array(fc.option(pgText), { minLength: 1, maxLength: 5 }), fc.integer({ min: 1, max: 9 }), (values, size) => {
      const fields = values.map((_, index) => ({ name: `f${index}`, type: 25 }));
      const encoder = encoderOf(1, new Map<number, TypeShape>([[1, { kind: 'composite', fields }]]));
      const printed = `(${values.map(quoteField).join(',')})`;
      expect(JSON.parse(encode(encoder, printed))).toEqual(
        Object.fromEntries(values.map((value, index) => [`f${index}`, value])),
      );
      expect(encodePieces(encoder, printed, size)).toBe(encode(encoder, printed));
    }),
  );
});

test('any text at all goes through every machine without a throw and comes out as JSON', () => {
  const soup = fc.string({
    unit: fc.constantFrom('{', '}', '(', ')', ',', '"', '\\', 'N', 'NULL', '1', ' ', '[', ']', '=', 'x', 'é'),
    maxLength: 30,
  });
  fc.assert(
    fc.property(soup, fc.constantFrom(1007, 1009, 90001, 90002, 90004, 90007, 1114, 701, 25), (value, oid) => {
      JSON.parse(encode(encoderOf(oid, shapes), value));
    }),
    { numRuns: 3_000 },
  );
});

test('any text becomes the JSON string of it', () => {
  fc.assert(
    fc.property(fc.string({ unit: character, maxLength: 300 }), (value) => {
      expect(JSON.parse(encode(of(25), value))).toBe(value);
    }),
  );
});
