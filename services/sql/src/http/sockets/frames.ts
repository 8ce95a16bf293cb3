/**
 * Text messages of a server, written as WebSocket frames (RFC 6455, 5.2) straight from an output's bytes. `ws` would take
 * each as a string and write it by itself, which for a row of a large result costs more than the row.
 */
import type { Duplex } from 'node:stream';

import { Output } from '../../domain/output.ts';
import { Utf8Check } from '../../domain/utf8.ts';

/** Bytes of messages that are written to the socket together. */
const BATCH_BYTES = 65_536;
/** What the socket may hold before nothing more is made. */
const BEHIND_BYTES = 262_144;
/** Small ones are put together in memory of the process's own pool. */
const SMALL_BYTES = 2_048;

const FIN = 0x80;
const TEXT = 0x1;
const CONTINUATION = 0x0;
const HEADER_BYTES_MAX = 10;

export interface FramesOptions {
  readonly socket: Duplex;
  /** Whether data may still be sent. */
  readonly isOpen: () => boolean;
  /** A message of which a part has been sent cannot be finished. */
  readonly broken: () => void;
}

export class Frames {
  out = new Output();
  /** Messages that are not UTF-8 have been taken back, and all that were behind them. */
  invalid: () => void = () => {};
  readonly #socket: Duplex;
  readonly #isOpen: () => boolean;
  readonly #broken: () => void;
  #wire = new Output();
  /** Offsets at which the messages end that are not yet sent. */
  #ends: number[] = [];
  #isInMessage = false;
  /** The first part of the message has been sent. */
  #isContinued = false;
  /** Nothing more is sent. */
  #isBroken = false;
  #utf8 = new Utf8Check();
  #checkedTo = 0;
  #unconfirmed = 0;
  #waiting: (() => void)[] = [];
  #scheduled: NodeJS.Immediate | undefined;

  constructor({ socket, isOpen, broken }: FramesOptions) {
    this.#socket = socket;
    this.#isOpen = isOpen;
    this.#broken = broken;
    socket.once('close', () => this.release());
  }

  get isBatch(): boolean {
    return this.out.heldBytes >= BATCH_BYTES;
  }

  open(): void {
    this.#isInMessage = true;
  }

  close(): void {
    this.#isInMessage = false;
    this.#ends.push(this.out.offset);
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      this.push();
    });
  }

  text(json: string): void {
    this.open();
    this.out.utf8(json);
    this.close();
  }

  /** Takes the message that is open back. */
  cut(): void {
    if (!this.#isInMessage) return;
    this.#isInMessage = false;
    if (this.#isContinued) return this.#break();
    this.#takeBack(this.#ends.at(-1) ?? this.out.takenBytes);
  }

  #break(): void {
    this.#isBroken = true;
    this.#broken();
  }

  #takeBack(offset: number): void {
    this.out.truncate(offset);
    if (this.#checkedTo <= offset) return;
    // What is left has been found to be good, up to the end of a message.
    this.#checkedTo = offset;
    this.#utf8 = new Utf8Check();
  }

  /** Whether all that is not yet sent is UTF-8; what is not is taken back, and `invalid` called. */
  verify(): boolean {
    let at = this.out.takenBytes;
    for (const chunk of this.out.held()) {
      const end = at + chunk.length;
      if (end > this.#checkedTo) this.#utf8.add([chunk.subarray(Math.max(0, this.#checkedTo - at))]);
      at = end;
    }
    this.#checkedTo = at;
    if (!this.#utf8.isBroken) return true;
    this.#dropInvalid();
    this.invalid();
    return false;
  }

  #dropInvalid(): void {
    const from = this.out.takenBytes;
    const held = Buffer.concat(this.out.held());
    const ends = this.#isInMessage ? [...this.#ends, this.out.offset] : this.#ends;
    const starts = [from, ...ends.slice(0, -1)];
    const isBad = (index: number): boolean => {
      const check = new Utf8Check();
      check.add([held.subarray((starts[index] ?? from) - from, (ends[index] ?? from) - from)]);
      return check.isBroken;
    };
    const first = ends.findIndex((_, index) => (index > 0 || !this.#isContinued) && isBad(index));
    this.#utf8 = new Utf8Check();
    this.#checkedTo = Infinity;
    // It began in what has been sent, where a good part of it is.
    if (first === -1) return this.#break();
    this.#isInMessage = false;
    this.#ends = this.#ends.slice(0, first);
    this.#takeBack(starts[first] ?? from);
  }

  /** Nothing more is to be made while the promise is open. */
  flush(): Promise<void> | undefined {
    if (this.isBatch) this.push();
    return this.behind();
  }

  /** Resolves when the socket has taken enough of what was written, or is gone. */
  behind(): Promise<void> | undefined {
    if (this.#unconfirmed <= BEHIND_BYTES || !this.#isOpen()) return undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    return promise;
  }

  release(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  /** Nothing is to be sent for a while: memory that a large result has left is given up. */
  rest(): void {
    if (this.out.heldBytes > 0 || this.#unconfirmed > 0 || this.#ends.length > 0) return;
    if (this.out.offset === 0) return;
    this.out = new Output();
    this.#wire = new Output();
    this.#utf8 = new Utf8Check();
    this.#checkedTo = 0;
    this.#isContinued = false;
  }

  /** Writes what there is to the socket; of a message that is still open, the part that is there if it is much. */
  push(): void {
    if (this.#scheduled !== undefined) clearImmediate(this.#scheduled);
    this.#scheduled = undefined;
    const takesPart = this.#isInMessage && this.isBatch;
    if (this.out.heldBytes === 0 || (this.#ends.length === 0 && !takesPart)) return;
    if (this.#isInMessage && !takesPart) return;
    if (this.#isBroken || !this.#isOpen()) return this.#drop();
    if (!this.verify()) return this.push();
    if (this.out.heldBytes <= SMALL_BYTES) this.#writeSmall();
    else this.#writeLarge();
  }

  #drop(): void {
    this.out.recycle(this.out.take());
    this.#ends = [];
  }

  #writeSmall(): void {
    const chunks = this.out.held();
    const frames = Buffer.allocUnsafe(this.out.heldBytes + this.#ends.length * HEADER_BYTES_MAX);
    const source = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
    let from = 0;
    let at = 0;
    for (const end of this.#ends) {
      const to = end - this.out.takenBytes;
      for (const byte of header(this.#firstByte(true), to - from)) frames[at++] = byte;
      source?.copy(frames, at, from, to);
      at += to - from;
      from = to;
      this.#isContinued = false;
    }
    this.#ends = [];
    // Not taken, as that costs a chunk: written over.
    this.out.truncate(this.out.takenBytes);
    this.#checkedTo = this.out.takenBytes;
    this.#write([frames.subarray(0, at)], () => {});
  }

  #writeLarge(): void {
    let at = this.out.takenBytes;
    const chunks = this.out.take();
    const reader = new ChunkReader(chunks);
    for (const end of this.#ends) {
      this.#frame(reader, end - at, true);
      this.#isContinued = false;
      at = end;
    }
    this.#ends = [];
    if (this.#isInMessage && at < this.out.offset) {
      this.#frame(reader, this.out.offset - at, false);
      this.#isContinued = true;
    }
    this.out.recycle(chunks);
    const wire = this.#wire;
    this.#write(wire.take(), (chunk) => wire.recycle([chunk]));
  }

  #frame(reader: ChunkReader, length: number, isLast: boolean): void {
    for (const byte of header(this.#firstByte(isLast), length)) this.#wire.byte(byte);
    reader.copy(this.#wire, length);
  }

  #firstByte(isLast: boolean): number {
    return (this.#isContinued ? CONTINUATION : TEXT) | (isLast ? FIN : 0);
  }

  #write(buffers: readonly Buffer[], written: (buffer: Buffer) => void): void {
    this.#socket.cork();
    for (const buffer of buffers) {
      this.#unconfirmed += buffer.length;
      this.#socket.write(buffer, () => {
        this.#unconfirmed -= buffer.length;
        written(buffer);
        if (this.#unconfirmed <= BEHIND_BYTES / 2) this.release();
      });
    }
    this.#socket.uncork();
  }
}

/** Unmasked, as a server's frames are. */
function header(first: number, length: number): readonly number[] {
  if (length < 126) return [first, length];
  if (length < 65_536) return [first, 126, length >> 8, length & 255];
  const high = Math.floor(length / 2 ** 32);
  return [first, 127, ...bytesOf(high), ...bytesOf(length)];
}

const bytesOf = (value: number): readonly number[] => [
  (value >>> 24) & 255,
  (value >>> 16) & 255,
  (value >>> 8) & 255,
  value & 255,
];

class ChunkReader {
  readonly #chunks: readonly Buffer[];
  #index = 0;
  #at = 0;

  constructor(chunks: readonly Buffer[]) {
    this.#chunks = chunks;
  }

  copy(to: Output, length: number): void {
    let left = length;
    while (left > 0) {
      const chunk = this.#chunks[this.#index];
      if (chunk === undefined) return;
      const end = Math.min(chunk.length, this.#at + left);
      to.bytes(chunk, this.#at, end);
      left -= end - this.#at;
      this.#at = end;
      if (end === chunk.length) {
        this.#index += 1;
        this.#at = 0;
      }
    }
  }
}
