/** Which encoder a PostgreSQL type has: a table for what every server has, the catalog for the rest. */
import { array } from './array.ts';
import { bytea } from './bytea.ts';
import { checkedJson } from './checked-json.ts';
import type { Encoder } from './encoder.ts';
import { boolean, float, json, text } from './encoder.ts';
import { record } from './record.ts';
import { timestamp } from './timestamp.ts';

/** What the catalog says of a type that is not in the table. */
export type TypeShape =
  | { readonly kind: 'array'; readonly element: number; readonly delimiter: string }
  | { readonly kind: 'composite'; readonly fields: readonly { readonly name: string; readonly type: number }[] }
  | { readonly kind: 'domain'; readonly base: number }
  | { readonly kind: 'text' };

const builtIn = new Map<number, Encoder>();
const define = (encoder: Encoder, ...oids: readonly number[]): void => {
  for (const oid of oids) builtIn.set(oid, encoder);
};

// int8, int2, int4, oid, tid, xid, cid, numeric, xid8
define(text, 20, 21, 23, 26, 27, 28, 29, 1700, 5069);
define(boolean, 16);
define(float, 700, 701);
define(bytea, 17);
define(json, 114, 3802);
define(timestamp, 1114, 1184);
// regproc, regclass, regtype: names, whose objects only the session itself could tell for certain
define(text, 24, 2205, 2206);
// "char", name, text, bpchar, varchar, unknown, cstring, void, refcursor, uuid, xml, aclitem
define(text, 18, 19, 25, 1042, 1043, 705, 2275, 2278, 1790, 2950, 142, 1033);
// date, time, timetz, interval, inet, cidr, macaddr, macaddr8, money, bit, varbit, tsvector, tsquery, jsonpath, pg_lsn
define(text, 1082, 1083, 1266, 1186, 869, 650, 829, 774, 790, 1560, 1562, 3614, 3615, 4072, 3220);
// point, lseg, path, box, polygon, line, circle; int4range, numrange, tsrange, tstzrange, daterange, int8range, multiranges
define(text, 600, 601, 602, 603, 604, 628, 718, 3904, 3906, 3908, 3910, 3912, 3926, 4451, 4532, 4533, 4534, 4535, 4536);
// Two vectors that are arrays in the catalog but print without braces; record, which has no field names on the wire.
define(text, 22, 30, 2249);
/** An array and its element. anyarray (2277) prints as an array of what is not told; its elements are strings. */
const arrays: readonly (readonly [number, number])[] = [
  [1000, 16],
  [1001, 17],
  [1002, 18],
  [1003, 19],
  [1005, 21],
  [1006, 22],
  [1007, 23],
  [1009, 25],
  [1010, 27],
  [1011, 28],
  [1012, 29],
  [1013, 30],
  [1014, 1042],
  [1015, 1043],
  [1016, 20],
  [1017, 600],
  [1021, 700],
  [1022, 701],
  [1028, 26],
  [1034, 1033],
  [1041, 869],
  [1115, 1114],
  [1182, 1082],
  [1183, 1083],
  [1185, 1184],
  [1187, 1186],
  [1231, 1700],
  [1270, 1266],
  [1263, 2275],
  [199, 114],
  [271, 5069],
  [651, 650],
  [791, 790],
  [143, 142],
  [1008, 24],
  [2210, 2205],
  [2211, 2206],
  [2287, 2249],
  [2951, 2950],
  [3221, 3220],
  [3643, 3614],
  [3645, 3615],
  [3807, 3802],
  [3905, 3904],
  [3907, 3906],
  [3909, 3908],
  [3911, 3910],
  [3913, 3912],
  [3927, 3926],
  [2277, 25],
];
for (const [oid, element] of arrays) define(array(builtIn.get(element) ?? text), oid);

const elements = new Map(arrays);

/** The element of an array that is built in. */
export const builtInElement = (oid: number): number | undefined => elements.get(oid);

/** Types with a name that this table knows, for tests and for the cache of the catalog. */
export const builtInEncoder = (oid: number): Encoder | undefined => builtIn.get(oid);

/** Inside a type that the catalog told of, JSON is copied only when it is some: the type may have changed since. */
const insideMade: ReadonlyMap<number, Encoder> = new Map([
  [114, checkedJson],
  [3802, checkedJson],
  [199, array(checkedJson)],
  [3807, array(checkedJson)],
]);

/** Deeper nesting of types than this is shown as text. */
const NESTING_MAX = 16;

/** The encoder of a type, from shapes the catalog told; a type without a shape is shown as text. */
export function encoderOf(oid: number, shapes: ReadonlyMap<number, TypeShape>, depth = 0): Encoder {
  const known = (depth > 0 ? insideMade.get(oid) : undefined) ?? builtIn.get(oid);
  if (known !== undefined) return known;
  const shape = shapes.get(oid);
  if (shape === undefined || depth > NESTING_MAX) return text;
  switch (shape.kind) {
    case 'array':
      return array(encoderOf(shape.element, shapes, depth + 1), shape.delimiter);
    case 'composite':
      return record(shape.fields.map(({ name, type }) => ({ name, encoder: encoderOf(type, shapes, depth + 1) })));
    case 'domain':
      return encoderOf(shape.base, shapes, depth + 1);
    case 'text':
      return text;
  }
}

/** The types a shape is made of. */
export function partsOf(shape: TypeShape): readonly number[] {
  switch (shape.kind) {
    case 'array':
      return [shape.element];
    case 'composite':
      return shape.fields.map((field) => field.type);
    case 'domain':
      return [shape.base];
    case 'text':
      return [];
  }
}
