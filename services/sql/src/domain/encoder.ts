/** How one value goes from PostgreSQL's text to JSON's text, bytes to bytes: no strings, numbers or trees in between. */
import type { Output } from './output.ts';
import { CHUNK_BYTES } from './output.ts';

export interface Encoder {
  /** A value that is at hand as a whole. */
  value(out: Output, bytes: Buffer, from: number, to: number): void;
  /** A value that comes in pieces, or several one after the other; large values are never held as a whole. */
  pieces(out: Output): Pieces;
}

export interface Pieces {
  begin(): void;
  write(bytes: Buffer, from: number, to: number): void;
  end(): void;
}

/** A value whose text is not what its type promises, or whose kind has to be held as a whole and is too large for that. */
export class UnreadableValue extends Error {
  override readonly name = 'UnreadableValue';
}

export const QUOTE = 0x22;
export const BACKSLASH = 0x5c;
const HEX = Buffer.from('0123456789abcdef');

/** 0: may stand in a JSON string as it is; 1: as \\u00xx; otherwise the letter after the backslash. */
const ESCAPES = new Uint8Array(256).fill(1, 0, 0x20);
ESCAPES[QUOTE] = QUOTE;
ESCAPES[BACKSLASH] = BACKSLASH;
for (const [code, letter] of [
  [0x08, 'b'],
  [0x09, 't'],
  [0x0a, 'n'],
  [0x0c, 'f'],
  [0x0d, 'r'],
] as const) {
  ESCAPES[code] = letter.charCodeAt(0);
}

/** The inside of a JSON string. */
function writeEscaped(out: Output, bytes: Buffer, from: number, to: number): void {
  let start = from;
  while (start < to) {
    let end = start;
    while (end < to && ESCAPES[bytes[end] ?? 0] === 0) end += 1;
    if (end > start) out.bytes(bytes, start, end);
    if (end < to) writeEscape(out, bytes[end] ?? 0);
    start = end + 1;
  }
}

function writeEscape(out: Output, code: number): void {
  const letter = ESCAPES[code] ?? 0;
  if (letter !== 1) {
    out.reserve(2);
    out.byte(BACKSLASH);
    out.byte(letter);
    return;
  }
  out.ascii('\\u00');
  out.byte(HEX[code >> 4] ?? 0);
  out.byte(HEX[code & 15] ?? 0);
}

/** Longest value of a kind that has to be held as a whole; the longest numeric has 147,457 characters. */
const WHOLE_MAX_BYTES = 1_048_576;

class WholePieces implements Pieces {
  readonly #out: Output;
  readonly #write: Encoder['value'];
  #held: Buffer = Buffer.alloc(0);
  #length = 0;

  constructor(out: Output, write: Encoder['value']) {
    this.#out = out;
    this.#write = write;
  }

  begin(): void {
    this.#length = 0;
  }

  write(bytes: Buffer, from: number, to: number): void {
    const needed = this.#length + to - from;
    if (needed > WHOLE_MAX_BYTES) throw new UnreadableValue('a value of this type is too large');
    if (needed > this.#held.length) {
      const grown = Buffer.allocUnsafe(Math.max(64, needed * 2));
      this.#held.copy(grown, 0, 0, this.#length);
      this.#held = grown;
    }
    bytes.copy(this.#held, this.#length, from, to);
    this.#length = needed;
  }

  end(): void {
    this.#write(this.#out, this.#held, 0, this.#length);
  }
}

/** An encoder of values that are short by nature. */
export const whole = (write: Encoder['value']): Encoder => ({
  value: write,
  pieces: (out) => new WholePieces(out, write),
});

export const text: Encoder = {
  value(out, bytes, from, to) {
    if (to - from < CHUNK_BYTES) out.reserve(to - from + 2);
    out.byte(QUOTE);
    writeEscaped(out, bytes, from, to);
    out.byte(QUOTE);
  },
  pieces: (out) => ({
    begin: () => out.byte(QUOTE),
    write: (bytes, from, to) => writeEscaped(out, bytes, from, to),
    end: () => out.byte(QUOTE),
  }),
};

const TRUE = Buffer.from('true');
const FALSE = Buffer.from('false');

export const boolean: Encoder = whole((out, bytes, from, to) => {
  const isTrue = bytes[from] === 0x74;
  if (to - from !== 1 || !(isTrue || bytes[from] === 0x66)) throw new UnreadableValue('it is not a boolean');
  const word = isTrue ? TRUE : FALSE;
  out.bytes(word, 0, word.length);
});

const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39;

/** PostgreSQL prints the shortest text that reads back as the same number; a whole number gets `.0`. */
export const float: Encoder = whole((out, bytes, from, to) => {
  let isWhole = true;
  for (let index = from; index < to && isWhole; index += 1) {
    const code = bytes[index] ?? 0;
    isWhole = isDigit(code) || code === 0x2d;
  }
  out.byte(QUOTE);
  writeEscaped(out, bytes, from, to);
  if (isWhole) out.ascii('.0');
  out.byte(QUOTE);
});

const isSpace = (code: number): boolean => code === 0x20 || (code >= 0x09 && code <= 0x0d);

/** JSON stands for itself, digit for digit; only a number with nothing around it becomes a string. */
class JsonPieces implements Pieces {
  readonly #out: Output;
  #kind: 'unknown' | 'number' | 'other' = 'unknown';

  constructor(out: Output) {
    this.#out = out;
  }

  begin(): void {
    this.#kind = 'unknown';
  }

  write(bytes: Buffer, from: number, to: number): void {
    let start = from;
    if (this.#kind === 'unknown') {
      while (start < to && isSpace(bytes[start] ?? 0)) start += 1;
      if (start === to) return;
      const first = bytes[start] ?? 0;
      this.#kind = isDigit(first) || first === 0x2d ? 'number' : 'other';
      if (this.#kind === 'number') this.#out.byte(QUOTE);
    }
    let end = to;
    // Type json keeps the space around a value; inside the string it would be noise.
    if (this.#kind === 'number') while (end > start && isSpace(bytes[end - 1] ?? 0)) end -= 1;
    this.#out.bytes(bytes, start, end);
  }

  end(): void {
    if (this.#kind === 'number') this.#out.byte(QUOTE);
  }
}

/** Runs a whole value through the machine that takes pieces. */
export const fromPieces = (pieces: Encoder['pieces']): Encoder => ({
  value(out, bytes, from, to) {
    const machine = pieces(out);
    machine.begin();
    machine.write(bytes, from, to);
    machine.end();
  },
  pieces,
});

export const json: Encoder = fromPieces((out) => new JsonPieces(out));
