/** Arrays: PostgreSQL's `{…}` text as nested JSON arrays. */
import type { Encoder, Pieces } from './encoder.ts';
import { BACKSLASH, QUOTE, text, UnreadableValue } from './encoder.ts';
import type { Output } from './output.ts';

const OPEN = 0x7b;
const CLOSE = 0x7d;
const NULL = Buffer.from('null');

/**
 * bounds: before the first brace, where `[2:3]=` may stand; value: a value or a nested array comes next;
 * bare: in a value without quotes; quoted, escaped: in one with quotes; after: a delimiter or a closing brace comes next.
 */
type State = 'bounds' | 'value' | 'bare' | 'quoted' | 'escaped' | 'after' | 'done';

class ArrayPieces implements Pieces {
  readonly #out: Output;
  readonly #element: Pieces;
  readonly #delimiter: number;
  #state: State = 'bounds';
  #depth = 0;
  /** Right after an opening brace, where the array may end as well. */
  #isFresh = false;
  /** The first bytes of a bare value: until it is longer, it may still be NULL. */
  readonly #word = Buffer.alloc(NULL.length);
  #wordLength = 0;
  #isNullPossible = false;

  constructor(out: Output, element: Encoder, delimiter: number) {
    this.#out = out;
    this.#element = element.pieces(out);
    this.#delimiter = delimiter;
  }

  begin(): void {
    this.#state = 'bounds';
    this.#depth = 0;
  }

  write(bytes: Buffer, from: number, to: number): void {
    let at = from;
    while (at < to) {
      if (this.#state === 'quoted') at = this.#quoted(bytes, at, to);
      else if (this.#state === 'bare') at = this.#bare(bytes, at, to);
      else {
        this.#step(bytes, at);
        at += 1;
      }
    }
  }

  end(): void {
    if (this.#state !== 'done') throw new UnreadableValue('an array ends early');
  }

  #step(bytes: Buffer, at: number): void {
    const code = bytes[at] ?? 0;
    switch (this.#state) {
      case 'bounds':
        if (code === OPEN) this.#open();
        return;
      case 'value':
        if (code === OPEN) return this.#open();
        if (code === CLOSE && this.#isFresh) return this.#close();
        if (code === CLOSE || code === this.#delimiter) throw new UnreadableValue('an array lacks a value');
        this.#isFresh = false;
        if (code === QUOTE) {
          this.#state = 'quoted';
          this.#element.begin();
        } else {
          this.#state = 'bare';
          this.#isNullPossible = true;
          this.#wordLength = 0;
          this.#bare(bytes, at, at + 1);
        }
        return;
      case 'escaped':
        this.#element.write(bytes, at, at + 1);
        this.#state = 'quoted';
        return;
      case 'after':
        if (code === CLOSE) return this.#close();
        if (code !== this.#delimiter) throw new UnreadableValue('an array lacks a delimiter');
        this.#out.byte(0x2c);
        this.#isFresh = false;
        this.#state = 'value';
        return;
      case 'bare':
      case 'quoted':
        return;
      case 'done':
        throw new UnreadableValue('an array goes on after its end');
    }
  }

  #quoted(bytes: Buffer, from: number, to: number): number {
    let at = from;
    while (at < to && bytes[at] !== QUOTE && bytes[at] !== BACKSLASH) at += 1;
    if (at > from) this.#element.write(bytes, from, at);
    if (at === to) return at;
    if (bytes[at] === BACKSLASH) this.#state = 'escaped';
    else {
      this.#element.end();
      this.#state = 'after';
    }
    return at + 1;
  }

  #bare(bytes: Buffer, from: number, to: number): number {
    let at = from;
    while (at < to && bytes[at] !== this.#delimiter && bytes[at] !== CLOSE) at += 1;
    this.#bareRun(bytes, from, at);
    if (at === to) return at;
    if (this.#isNullPossible && this.#wordLength === NULL.length && this.#word.toString('latin1') === 'NULL') {
      this.#out.bytes(NULL, 0, NULL.length);
    } else {
      this.#settle();
      this.#element.end();
    }
    this.#state = 'after';
    return at;
  }

  #bareRun(bytes: Buffer, from: number, to: number): void {
    if (this.#isNullPossible) {
      if (this.#wordLength + to - from <= NULL.length) {
        bytes.copy(this.#word, this.#wordLength, from, to);
        this.#wordLength += to - from;
        return;
      }
      this.#settle();
    }
    this.#element.write(bytes, from, to);
  }

  /** The bare value is not NULL: what was held of it goes on. */
  #settle(): void {
    if (!this.#isNullPossible) return;
    this.#isNullPossible = false;
    this.#element.begin();
    if (this.#wordLength > 0) this.#element.write(this.#word, 0, this.#wordLength);
  }

  #open(): void {
    this.#out.byte(0x5b);
    this.#depth += 1;
    this.#isFresh = true;
    this.#state = 'value';
  }

  #close(): void {
    this.#out.byte(0x5d);
    this.#depth -= 1;
    this.#state = this.#depth === 0 ? 'done' : 'after';
  }
}

export function array(element: Encoder, delimiter = ','): Encoder {
  const code = delimiter.charCodeAt(0);
  const pieces = (out: Output): Pieces => new ArrayPieces(out, element, code);
  return { value: wholeOrText(pieces), pieces };
}

/** Runs a machine over a whole value; text that the machine cannot read becomes a JSON string, unchanged. */
export function wholeOrText(pieces: Encoder['pieces']): Encoder['value'] {
  return (out, bytes, from, to) => {
    const start = out.offset;
    try {
      const machine = pieces(out);
      machine.begin();
      machine.write(bytes, from, to);
      machine.end();
    } catch (error) {
      if (!(error instanceof UnreadableValue)) throw error;
      out.truncate(start);
      text.value(out, bytes, from, to);
    }
  };
}
