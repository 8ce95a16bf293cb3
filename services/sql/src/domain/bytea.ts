/** bytea as an array of JSON numbers, from the `hex` and the `escape` form of its text. */
import type { Encoder, Pieces } from './encoder.ts';
import { BACKSLASH, fromPieces, UnreadableValue } from './encoder.ts';
import type { Output } from './output.ts';

const NUMBERS = Array.from({ length: 256 }, (_, value) => Buffer.from(`,${value}`));

/** Values of hexadecimal digits; 255 for anything else. */
const NIBBLES = new Uint8Array(256).fill(255);
for (let value = 0; value < 16; value += 1) {
  NIBBLES[value.toString(16).charCodeAt(0)] = value;
  NIBBLES[value.toString(16).toUpperCase().charCodeAt(0)] = value;
}

const LOWER_X = 0x78;

type State = 'start' | 'hex' | 'escape' | 'escaped' | 'octal';

class ByteaPieces implements Pieces {
  readonly #out: Output;
  #state: State = 'start';
  #isFirst = true;
  /** The first digit of a hexadecimal pair, or -1; in the escape form the octal value so far. */
  #partial = -1;
  #digits = 0;

  constructor(out: Output) {
    this.#out = out;
  }

  begin(): void {
    this.#state = 'start';
    this.#isFirst = true;
    this.#partial = -1;
    this.#out.byte(0x5b);
  }

  write(bytes: Buffer, from: number, to: number): void {
    let index = from;
    while (index < to) {
      if (this.#state === 'hex') return this.#writeHex(bytes, index, to);
      this.#step(bytes[index] ?? 0);
      index += 1;
    }
  }

  end(): void {
    if (this.#partial !== -1 || this.#state === 'octal' || this.#state === 'escaped')
      throw new UnreadableValue('bytea ends early');
    this.#out.byte(0x5d);
  }

  #writeHex(bytes: Buffer, from: number, to: number): void {
    for (let index = from; index < to; index += 1) {
      const nibble = NIBBLES[bytes[index] ?? 0] ?? 255;
      if (nibble === 255) throw new UnreadableValue('bytea is not hexadecimal');
      if (this.#partial === -1) this.#partial = nibble;
      else {
        this.#number((this.#partial << 4) | nibble);
        this.#partial = -1;
      }
    }
  }

  /** A lone backslash never begins a byte in the escape form, so `\x` is certain to mean the hex form. */
  #step(code: number): void {
    switch (this.#state) {
      case 'start':
      case 'escape':
        if (code !== BACKSLASH) {
          this.#state = 'escape';
          return this.#number(code);
        }
        this.#state = this.#state === 'start' && this.#isFirst ? 'escaped' : 'octal';
        this.#digits = 0;
        return;
      case 'escaped':
        if (code === LOWER_X) {
          this.#state = 'hex';
          return;
        }
        this.#state = 'octal';
        return this.#octal(code);
      case 'octal':
        return this.#octal(code);
      case 'hex':
        return;
    }
  }

  #octal(code: number): void {
    if (code === BACKSLASH && this.#digits === 0) {
      this.#state = 'escape';
      return this.#number(BACKSLASH);
    }
    if (code < 0x30 || code > 0x37) throw new UnreadableValue('bytea holds a bad escape');
    this.#partial = (this.#digits === 0 ? 0 : this.#partial) * 8 + code - 0x30;
    this.#digits += 1;
    if (this.#digits < 3) return;
    this.#state = 'escape';
    this.#number(this.#partial & 255);
    this.#partial = -1;
  }

  #number(value: number): void {
    const written = NUMBERS[value];
    if (written !== undefined) this.#out.bytes(written, this.#isFirst ? 1 : 0, written.length);
    this.#isFirst = false;
  }
}

export const bytea: Encoder = fromPieces((out) => new ByteaPieces(out));
