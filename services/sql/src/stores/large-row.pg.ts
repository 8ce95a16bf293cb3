/** A row that is too large to be held: its values pass through in pieces. */
import type { Pieces } from '../domain/encoder.ts';
import type { Output } from '../domain/output.ts';
import type { RowForm } from '../domain/script.ts';

const COUNT_BYTES = 2;
const LENGTH_BYTES = 4;

export class LargeRow {
  readonly #out: Output;
  readonly #form: RowForm;
  #column = -1;
  #left = 0;
  #value: Pieces | undefined;
  /** The bytes of a count or length that a piece may have cut in two. */
  readonly #head = Buffer.alloc(LENGTH_BYTES);
  #headBytes = 0;

  constructor(out: Output, form: RowForm) {
    this.#out = out;
    this.#form = form;
  }

  write(bytes: Buffer, from: number, to: number): void {
    let at = from;
    while (at < to) {
      if (this.#value === undefined) {
        this.#head[this.#headBytes] = bytes[at] ?? 0;
        this.#headBytes += 1;
        at += 1;
        this.#readHead();
        continue;
      }
      const end = Math.min(to, at + this.#left);
      this.#value.write(bytes, at, end);
      this.#left -= end - at;
      at = end;
      if (this.#left === 0) this.#endValue();
    }
  }

  #readHead(): void {
    if (this.#column === -1) {
      if (this.#headBytes < COUNT_BYTES) return;
      // The count of columns is known from their description.
      this.#headBytes = 0;
      this.#column = 0;
      return;
    }
    if (this.#headBytes < LENGTH_BYTES) return;
    this.#headBytes = 0;
    const length = this.#head.readInt32BE(0);
    this.#separate();
    if (length < 0) {
      this.#out.bytes(this.#form.nothing, 0, this.#form.nothing.length);
      this.#column += 1;
      return;
    }
    this.#value = this.#form.encoders[this.#column]?.pieces(this.#out);
    this.#value?.begin();
    this.#left = length;
    if (length === 0) this.#endValue();
  }

  #separate(): void {
    const prefix = this.#form.prefixes?.[this.#column];
    if (prefix !== undefined) this.#out.bytes(prefix, 0, prefix.length);
    else if (this.#column > 0) this.#out.byte(0x2c);
  }

  #endValue(): void {
    this.#value?.end();
    this.#value = undefined;
    this.#column += 1;
  }
}
