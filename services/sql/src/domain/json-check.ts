/** Checks that bytes are the text of one JSON value, in pieces of any size; strict, so that they can be copied as they are. */
import { UnreadableValue } from './encoder.ts';

const code = (character: string): number => character.charCodeAt(0);
const QUOTE = code('"');
const BACKSLASH = code('\\');
const OBJECT = code('{');
const OBJECT_END = code('}');
const ARRAY = code('[');
const ARRAY_END = code(']');
const COMMA = code(',');
const COLON = code(':');
const MINUS = code('-');
const ZERO = code('0');
const POINT = code('.');
const LOWER_U = code('u');
const ESCAPED = new Set(Buffer.from('"\\/bfnrt'));
const WORDS = new Map(['true', 'false', 'null'].map((word) => [code(word), word]));

/**
 * value, key: one comes next (`…OrEnd`: or the end of an empty container); after: a comma or an end comes next;
 * minus, zero, whole, point, fraction, exponent, sign, power: in a number, by what came last.
 */
type State =
  | 'value'
  | 'valueOrEnd'
  | 'key'
  | 'keyOrEnd'
  | 'colon'
  | 'after'
  | 'string'
  | 'escape'
  | 'unicode'
  | 'word'
  | 'minus'
  | 'zero'
  | 'whole'
  | 'point'
  | 'fraction'
  | 'exponent'
  | 'sign'
  | 'power';

const NUMBER_ENDS: ReadonlySet<State> = new Set(['zero', 'whole', 'fraction', 'power']);

const isSpace = (byte: number): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
const isDigit = (byte: number): boolean => byte >= 0x30 && byte <= 0x39;
const isHex = (byte: number): boolean => isDigit(byte) || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66);

export class JsonCheck {
  #state: State = 'value';
  /** The containers that are open: whether each is an object. */
  #open: boolean[] = [];
  #isKey = false;
  #word = '';
  /** Characters of a word, or digits of a `\u`, that have come. */
  #count = 0;

  begin(): void {
    this.#state = 'value';
    this.#open = [];
  }

  write(bytes: Buffer, from: number, to: number): void {
    let at = from;
    while (at < to) {
      if (this.#state === 'string') at = this.#string(bytes, at, to);
      else {
        this.#step(bytes[at] ?? 0);
        at += 1;
      }
    }
  }

  end(): void {
    if (this.#open.length > 0 || !(this.#state === 'after' || NUMBER_ENDS.has(this.#state))) refuse();
  }

  #string(bytes: Buffer, from: number, to: number): number {
    let at = from;
    while (at < to) {
      const byte = bytes[at] ?? 0;
      if (byte === QUOTE || byte === BACKSLASH || byte < 0x20) break;
      at += 1;
    }
    if (at === to) return at;
    if (bytes[at] === QUOTE) this.#state = this.#isKey ? 'colon' : 'after';
    else if (bytes[at] === BACKSLASH) this.#state = 'escape';
    else refuse();
    return at + 1;
  }

  #step(byte: number): void {
    switch (this.#state) {
      case 'escape':
        this.#count = 0;
        if (byte === LOWER_U) this.#state = 'unicode';
        else if (ESCAPED.has(byte)) this.#state = 'string';
        else refuse();
        return;
      case 'unicode':
        if (!isHex(byte)) refuse();
        this.#count += 1;
        if (this.#count === 4) this.#state = 'string';
        return;
      case 'word':
        if (byte !== this.#word.charCodeAt(this.#count)) refuse();
        this.#count += 1;
        if (this.#count === this.#word.length) this.#state = 'after';
        return;
      case 'minus':
        this.#state = byte === ZERO ? 'zero' : isDigit(byte) ? 'whole' : refuse();
        return;
      case 'point':
        this.#state = isDigit(byte) ? 'fraction' : refuse();
        return;
      case 'exponent':
        this.#state = isDigit(byte) ? 'power' : byte === MINUS || byte === code('+') ? 'sign' : refuse();
        return;
      case 'sign':
        this.#state = isDigit(byte) ? 'power' : refuse();
        return;
      case 'zero':
      case 'whole':
      case 'fraction':
      case 'power':
        return this.#number(byte);
      case 'string':
        return;
      case 'value':
      case 'valueOrEnd':
      case 'key':
      case 'keyOrEnd':
      case 'colon':
      case 'after':
        if (!isSpace(byte)) this.#between(byte);
    }
  }

  #number(byte: number): void {
    if (isDigit(byte) && this.#state !== 'zero') return;
    if (byte === POINT && (this.#state === 'zero' || this.#state === 'whole')) this.#state = 'point';
    else if ((byte === code('e') || byte === code('E')) && this.#state !== 'power') this.#state = 'exponent';
    else {
      this.#state = 'after';
      if (!isSpace(byte)) this.#between(byte);
    }
  }

  #between(byte: number): void {
    if (this.#state === 'after') return this.#after(byte);
    if (this.#state === 'colon') {
      this.#state = byte === COLON ? 'value' : refuse();
      return;
    }
    if (byte === ARRAY_END && this.#state === 'valueOrEnd') return this.#close();
    if (byte === OBJECT_END && this.#state === 'keyOrEnd') return this.#close();
    const isKey = this.#state === 'key' || this.#state === 'keyOrEnd';
    if (isKey && byte !== QUOTE) refuse();
    this.#value(byte, isKey);
  }

  #value(byte: number, isKey: boolean): void {
    if (byte === QUOTE) {
      this.#isKey = isKey;
      this.#state = 'string';
    } else if (byte === OBJECT || byte === ARRAY) {
      this.#open.push(byte === OBJECT);
      this.#state = byte === OBJECT ? 'keyOrEnd' : 'valueOrEnd';
    } else if (byte === MINUS) this.#state = 'minus';
    else if (isDigit(byte)) this.#state = byte === ZERO ? 'zero' : 'whole';
    else {
      this.#word = WORDS.get(byte) ?? refuse();
      this.#count = 1;
      this.#state = 'word';
    }
  }

  #after(byte: number): void {
    const isObject = this.#open.at(-1);
    if (isObject === undefined) refuse();
    if (byte === COMMA) this.#state = isObject ? 'key' : 'value';
    else if (byte === (isObject ? OBJECT_END : ARRAY_END)) this.#close();
    else refuse();
  }

  #close(): void {
    this.#open.pop();
    this.#state = 'after';
  }
}

function refuse(): never {
  throw new UnreadableValue('it is not JSON');
}
