/** Values as the Neon driver's protocol has them where raw text is not asked for: numbers, booleans, JSON and arrays of JSON. */
import { array } from './array.ts';
import type { Encoder } from './encoder.ts';
import { boolean, fromPieces, text, whole } from './encoder.ts';
import type { TypeShape } from './types.ts';
import { builtInElement } from './types.ts';

/** What PostgreSQL prints of a number is a number of JSON; `NaN` and the infinities are strings. */
const number: Encoder = whole((out, bytes, from, to) => {
  const last = bytes[to - 1] ?? 0;
  if (last >= 0x30 && last <= 0x39) out.bytes(bytes, from, to);
  else text.value(out, bytes, from, to);
});

const verbatim: Encoder = fromPieces((out) => ({
  begin: () => {},
  write: (bytes, from, to) => out.bytes(bytes, from, to),
  end: () => {},
}));

const encoders = new Map<number, Encoder>([
  [16, boolean],
  // int2, int4, float4, float8; what a double may not hold exactly stays a string
  [21, number],
  [23, number],
  [700, number],
  [701, number],
  [114, verbatim],
  [3802, verbatim],
]);

/** Deeper nesting of types than this is shown as text. */
const NESTING_MAX = 16;

/** An array of a type that is not built in needs the shape that the catalog tells; without one it is text. */
export function neonEncoder(oid: number, shapes: ReadonlyMap<number, TypeShape>, depth = 0): Encoder {
  const own = encoders.get(oid);
  if (own !== undefined) return own;
  const element = builtInElement(oid);
  if (element !== undefined) return array(neonEncoder(element, shapes, depth + 1));
  const shape = shapes.get(oid);
  if (shape === undefined || depth > NESTING_MAX) return text;
  if (shape.kind === 'array') return array(neonEncoder(shape.element, shapes, depth + 1), shape.delimiter);
  return shape.kind === 'domain' ? neonEncoder(shape.base, shapes, depth + 1) : text;
}
