/** Values of named composite types: PostgreSQL's `(…)` text as JSON objects. */
import { wholeOrText } from './array.ts';
import type { Encoder, Pieces } from './encoder.ts';
import { BACKSLASH, QUOTE, UnreadableValue } from './encoder.ts';
import type { Output } from './output.ts';

const OPEN = 0x28;
const CLOSE = 0x29;
const COMMA = 0x2c;
const NULL = Buffer.from('null');

export interface Field {
  readonly name: string;
  readonly encoder: Encoder;
}

interface Slot {
  /** `{"a":` of the first field, `,"b":` of the others. */
  readonly key: Buffer;
  readonly encoder: Encoder;
}

/** open: before the parenthesis; field: a field comes next; bare, quoted: in one; quote: after a quote in one; escaped. */
type State = 'open' | 'field' | 'bare' | 'quoted' | 'quote' | 'escaped' | 'done';

class RecordPieces implements Pieces {
  readonly #out: Output;
  readonly #slots: readonly Slot[];
  readonly #fields: Pieces[] = [];
  #index = -1;
  #state: State = 'open';

  constructor(out: Output, slots: readonly Slot[]) {
    this.#out = out;
    this.#slots = slots;
  }

  begin(): void {
    this.#state = 'open';
    this.#index = -1;
  }

  write(bytes: Buffer, from: number, to: number): void {
    let at = from;
    while (at < to) {
      if (this.#state === 'quoted') at = this.#run(bytes, at, to, BACKSLASH);
      else if (this.#state === 'bare') at = this.#run(bytes, at, to, COMMA);
      else {
        this.#step(bytes, at);
        at += 1;
      }
    }
  }

  end(): void {
    if (this.#state !== 'done') throw new UnreadableValue('a record ends early');
  }

  #step(bytes: Buffer, at: number): void {
    const code = bytes[at] ?? 0;
    switch (this.#state) {
      case 'open':
        if (code !== OPEN) throw new UnreadableValue('a record lacks its parenthesis');
        return this.#next();
      case 'field':
        return this.#firstOf(code, bytes, at);
      case 'quote':
        // A quote inside quotes is doubled; otherwise it ends them.
        if (code === QUOTE) {
          this.#field().write(bytes, at, at + 1);
          this.#state = 'quoted';
          return;
        }
        this.#field().end();
        return this.#separator(code);
      case 'escaped':
        this.#field().write(bytes, at, at + 1);
        this.#state = 'quoted';
        return;
      case 'bare':
      case 'quoted':
        return;
      case 'done':
        throw new UnreadableValue('a record goes on after its end');
    }
  }

  #firstOf(code: number, bytes: Buffer, at: number): void {
    if (code === COMMA || (code === CLOSE && this.#slots.length > 0)) {
      this.#key();
      this.#out.bytes(NULL, 0, NULL.length);
      return this.#separator(code);
    }
    if (code === CLOSE) {
      this.#out.ascii('{}');
      this.#state = 'done';
      return;
    }
    this.#key();
    this.#field().begin();
    if (code === QUOTE) {
      this.#state = 'quoted';
      return;
    }
    this.#field().write(bytes, at, at + 1);
    this.#state = 'bare';
  }

  /** Passes a run on: in quotes up to a quote or backslash, without them up to a comma or parenthesis. */
  #run(bytes: Buffer, from: number, to: number, stop: number): number {
    const other = stop === BACKSLASH ? QUOTE : CLOSE;
    let at = from;
    while (at < to && bytes[at] !== stop && bytes[at] !== other) at += 1;
    if (at > from) this.#field().write(bytes, from, at);
    if (at === to) return at;
    if (this.#state === 'bare') {
      this.#field().end();
      this.#separator(bytes[at] ?? 0);
    } else {
      this.#state = bytes[at] === BACKSLASH ? 'escaped' : 'quote';
    }
    return at + 1;
  }

  #separator(code: number): void {
    if (code === COMMA) return this.#next();
    if (code !== CLOSE || this.#index !== this.#slots.length - 1) throw new UnreadableValue('a record has other fields');
    this.#out.byte(0x7d);
    this.#state = 'done';
  }

  #next(): void {
    this.#index += 1;
    if (this.#index > 0 && this.#index >= this.#slots.length) throw new UnreadableValue('a record has other fields');
    this.#state = 'field';
  }

  #key(): void {
    const slot = this.#slots[this.#index];
    if (slot === undefined) throw new UnreadableValue('a record has other fields');
    this.#out.bytes(slot.key, 0, slot.key.length);
  }

  #field(): Pieces {
    const made = this.#fields[this.#index];
    if (made !== undefined) return made;
    const slot = this.#slots[this.#index];
    if (slot === undefined) throw new UnreadableValue('a record has other fields');
    const pieces = slot.encoder.pieces(this.#out);
    this.#fields[this.#index] = pieces;
    return pieces;
  }
}

/** Every field of the type in its order. Two fields never have one name, so no key is written twice. */
export function record(fields: readonly Field[]): Encoder {
  const slots = fields.map(({ name, encoder }, index) => ({
    key: Buffer.from(`${index === 0 ? '{' : ','}${JSON.stringify(name)}:`),
    encoder,
  }));
  const pieces = (out: Output): Pieces => new RecordPieces(out, slots);
  return { value: wholeOrText(pieces), pieces };
}
