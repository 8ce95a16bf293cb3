/**
 * Types whose text depends on the session (its search path, its DateStyle, its TimeZone), read from PostgreSQL's binary
 * form instead: it depends on nothing.
 */
import type { Encoder, Pieces } from './encoder.ts';
import { fromPieces, QUOTE, UnreadableValue, whole } from './encoder.ts';
import type { Output } from './output.ts';
import { writeEpoch } from './timestamp.ts';

const NULL = Buffer.from('null');

/** An object identifier: four bytes. */
const oid: Encoder = whole((out, bytes, from, to) => {
  if (to - from !== 4) throw new UnreadableValue('it is not an object identifier');
  out.ascii(`"${bytes.readUInt32BE(from)}"`);
});

const INFINITY = 0x7fff_ffff_ffff_ffffn;
const MICROS = 1_000_000n;
/** PostgreSQL counts from 2000-01-01. */
const START_SECONDS = 946_684_800;

/** Microseconds: eight bytes. */
const timestamp: Encoder = whole((out, bytes, from, to) => {
  if (to - from !== 8) throw new UnreadableValue('it is not a timestamp');
  const value = bytes.readBigInt64BE(from);
  if (value === INFINITY || value === -INFINITY - 1n) {
    out.byte(QUOTE);
    out.ascii(value > 0n ? 'Infinity' : '-Infinity');
    out.byte(QUOTE);
    return;
  }
  const micros = Number(((value % MICROS) + MICROS) % MICROS);
  writeEpoch(out, Number((value - BigInt(micros)) / MICROS) + START_SECONDS, micros);
});

const HEAD_BYTES = 12;
const DIMENSION_BYTES = 8;
const LENGTH_BYTES = 4;
/** PostgreSQL's own limits: six dimensions; an element here has a fixed length. */
const DIMENSIONS_MAX = 6;
const ELEMENT_BYTES_MAX = 8;

/** head, dimensions: before the elements; length, element: in one of them. */
type State = 'head' | 'dimensions' | 'length' | 'element' | 'done';

class ArrayPieces implements Pieces {
  readonly #out: Output;
  readonly #element: Encoder;
  /** The bytes of what comes next, which a piece may have cut. */
  readonly #held = Buffer.alloc(DIMENSIONS_MAX * DIMENSION_BYTES);
  #heldBytes = 0;
  #needed = HEAD_BYTES;
  #state: State = 'head';
  /** Elements in one array of each depth, the outermost first: of a row, a plane and so on in all. */
  #spans: number[] = [];
  #index = 0;

  constructor(out: Output, element: Encoder) {
    this.#out = out;
    this.#element = element;
  }

  begin(): void {
    this.#expect('head', HEAD_BYTES);
    this.#index = 0;
  }

  write(bytes: Buffer, from: number, to: number): void {
    let at = from;
    while (at < to) {
      const end = Math.min(to, at + this.#needed - this.#heldBytes);
      if (end === at) throw new UnreadableValue('an array goes on after its end');
      bytes.copy(this.#held, this.#heldBytes, at, end);
      this.#heldBytes += end - at;
      at = end;
      if (this.#heldBytes === this.#needed) this.#step();
    }
  }

  end(): void {
    if (this.#state !== 'done') throw new UnreadableValue('an array ends early');
  }

  #expect(state: State, bytes: number): void {
    this.#state = state;
    this.#needed = bytes;
    this.#heldBytes = 0;
  }

  #step(): void {
    switch (this.#state) {
      case 'head': {
        const dimensions = this.#held.readInt32BE(0);
        if (dimensions < 0 || dimensions > DIMENSIONS_MAX) throw new UnreadableValue('an array has too many dimensions');
        if (dimensions > 0) return this.#expect('dimensions', dimensions * DIMENSION_BYTES);
        this.#out.ascii('[]');
        return this.#expect('done', 0);
      }
      case 'dimensions': {
        const sizes = Array.from({ length: this.#needed / DIMENSION_BYTES }, (_, at) =>
          this.#held.readInt32BE(at * DIMENSION_BYTES),
        );
        this.#spans = sizes.map((_, depth) => sizes.slice(depth).reduce((product, size) => product * size, 1));
        return this.#expect('length', LENGTH_BYTES);
      }
      case 'length': {
        const length = this.#held.readInt32BE(0);
        if (length > ELEMENT_BYTES_MAX) throw new UnreadableValue('an element is too large');
        this.#open();
        if (length > 0) return this.#expect('element', length);
        this.#out.bytes(NULL, 0, NULL.length);
        return this.#close();
      }
      case 'element':
        this.#element.value(this.#out, this.#held, 0, this.#needed);
        return this.#close();
      case 'done':
    }
  }

  /** Before an element: a bracket for every array that it is the first of. */
  #open(): void {
    if (this.#index > 0) this.#out.byte(0x2c);
    for (const span of this.#spans) if (this.#index % span === 0) this.#out.byte(0x5b);
  }

  #close(): void {
    this.#index += 1;
    for (const span of this.#spans) if (this.#index % span === 0) this.#out.byte(0x5d);
    if (this.#index === this.#spans[0]) this.#expect('done', 0);
    else this.#expect('length', LENGTH_BYTES);
  }
}

const array = (element: Encoder): Encoder => fromPieces((out) => new ArrayPieces(out, element));

/** regproc, regclass, regtype, timestamp, timestamptz, and arrays of them. */
const encoders: ReadonlyMap<number, Encoder> = new Map([
  [24, oid],
  [2205, oid],
  [2206, oid],
  [1114, timestamp],
  [1184, timestamp],
  [1008, array(oid)],
  [2210, array(oid)],
  [2211, array(oid)],
  [1115, array(timestamp)],
  [1185, array(timestamp)],
]);

export const binaryEncoder = (type: number): Encoder | undefined => encoders.get(type);

/** Objects are shown by such types in the catalog, and in what names them with `::regclass` and the like. */
const NAMES_OBJECTS = /reg|pg_/i;

/** Whether a statement is worth asking for its columns before it runs, so that some of them can come in binary form. */
export const mayNeedBinary = (statement: string, dateStyle: string | undefined): boolean =>
  !(dateStyle ?? '').startsWith('ISO') || NAMES_OBJECTS.test(statement);
