/**
 * PostgreSQL's message framing on a socket, after `pg` has opened it. `pg` itself turns every field into a string and
 * holds every message as a whole; here fields stay bytes, and a message larger than {@link LARGE_BYTES} comes in pieces,
 * so that memory does not grow with the size of a row.
 */
import { constants } from 'node:buffer';
import type { Duplex } from 'node:stream';

/** Larger messages are passed on in pieces. */
const LARGE_BYTES = 262_144;
const HEADER_BYTES = 5;

export interface Receiver {
  /** A whole message. A promise that is answered stops the reading until it resolves. */
  message(type: number, bytes: Buffer, from: number, to: number): Promise<void> | undefined;
  /** A piece of a large message; `left` bytes of it are still to come. */
  piece(type: number, bytes: Buffer, from: number, to: number, left: number): Promise<void> | undefined;
}

const EMPTY = Buffer.alloc(0);
/** Holds the tail of one read, the next one, and a message that is not yet large. */
const PENDING_BYTES = 196_608;
/** A buffer that had to grow is given up when it is empty. */
const PENDING_KEPT_MAX = 393_216;

export class Wire {
  readonly #stream: Duplex;
  readonly #receiver: Receiver;
  readonly #broken: (error: Error) => void;
  /** Bytes that are still to be read, from `#from` to `#to`: copies, as the socket uses its own buffer again. */
  #pending: Buffer = EMPTY;
  #from = 0;
  #to = 0;
  #isHalted = false;
  #halt: Promise<void> | undefined;
  #largeType = 0;
  #largeLeft = 0;

  constructor(stream: Duplex, receiver: Receiver, broken: (error: Error) => void) {
    this.#stream = stream;
    this.#receiver = receiver;
    this.#broken = broken;
    stream.on('data', (chunk: Buffer) => this.#guard(() => this.#take(chunk)));
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#broken(error instanceof Error ? error : new ProtocolFault('the receiver failed'));
    }
  }

  #take(chunk: Buffer): void {
    if (this.#isHalted) return this.#keep(chunk, 0);
    if (this.#from === this.#to) {
      const read = this.#read(chunk, 0, chunk.length);
      if (read < chunk.length) this.#keep(chunk, read);
    } else {
      this.#keep(chunk, 0);
      this.#readPending();
    }
    this.#wait();
  }

  #readPending(): void {
    this.#from = this.#read(this.#pending, this.#from, this.#to);
    if (this.#from < this.#to) return;
    this.#from = 0;
    this.#to = 0;
    if (this.#pending.length > PENDING_KEPT_MAX) this.#pending = EMPTY;
  }

  #keep(chunk: Buffer, start: number): void {
    const added = chunk.length - start;
    const held = this.#to - this.#from;
    if (this.#to + added > this.#pending.length) {
      // What a halted receiver still looks at stays where it is.
      const target =
        held + added <= this.#pending.length && !this.#isHalted && this.#halt === undefined
          ? this.#pending
          : Buffer.allocUnsafe(Math.max(PENDING_BYTES, (held + added) * 2));
      this.#pending.copy(target, 0, this.#from, this.#to);
      this.#pending = target;
      this.#from = 0;
      this.#to = held;
    }
    chunk.copy(this.#pending, this.#to, start);
    this.#to += added;
  }

  /** Reads what there is, as far as the receiver lets it; answers how far that was. */
  #read(bytes: Buffer, from: number, to: number): number {
    let at = from;
    while (this.#halt === undefined && at < to) {
      if (this.#largeLeft > 0) {
        const end = Math.min(to, at + this.#largeLeft);
        this.#largeLeft -= end - at;
        this.#halt = this.#receiver.piece(this.#largeType, bytes, at, end, this.#largeLeft);
        at = end;
        continue;
      }
      if (to - at < HEADER_BYTES) break;
      const length = bytes.readUInt32BE(at + 1);
      if (length < 4 || length > constants.MAX_LENGTH) throw new ProtocolFault('a message of impossible length');
      const end = at + 1 + length;
      if (end <= to) {
        this.#halt = this.#receiver.message(bytes[at] ?? 0, bytes, at + HEADER_BYTES, end);
        at = end;
      } else if (length > LARGE_BYTES) {
        this.#largeType = bytes[at] ?? 0;
        this.#largeLeft = length - 4;
        at += HEADER_BYTES;
      } else {
        break;
      }
    }
    return at;
  }

  /** If the receiver asked for it, nothing is read until it is ready. */
  #wait(): void {
    const until = this.#halt;
    if (until === undefined) return;
    if (!this.#isHalted) this.#stream.pause();
    this.#isHalted = true;
    until.then(
      () =>
        this.#guard(() => {
          this.#halt = undefined;
          this.#readPending();
          if (this.#halt !== undefined) return this.#wait();
          this.#isHalted = false;
          this.#stream.resume();
        }),
      (error: unknown) => this.#broken(error instanceof Error ? error : new ProtocolFault('the receiver failed')),
    );
  }
}

/** The server said something that PostgreSQL never says. */
class ProtocolFault extends Error {
  override readonly name = 'ProtocolFault';
}

/** Reads the parts of a message. */
export class MessageReader {
  readonly bytes: Buffer;
  at: number;
  readonly #to: number;

  constructor(bytes: Buffer, from: number, to: number) {
    this.bytes = bytes;
    this.at = from;
    this.#to = to;
  }

  get isAtEnd(): boolean {
    return this.at >= this.#to;
  }

  byte(): number {
    const value = this.bytes[this.at] ?? 0;
    this.at += 1;
    return value;
  }

  int16(): number {
    const value = this.bytes.readInt16BE(this.at);
    this.at += 2;
    return value;
  }

  int32(): number {
    const value = this.bytes.readInt32BE(this.at);
    this.at += 4;
    return value;
  }

  uint32(): number {
    return this.int32() >>> 0;
  }

  /** Up to the next NUL, or to the end of a message that was cut off. */
  text(): string {
    const found = this.bytes.indexOf(0, this.at);
    const end = found === -1 || found > this.#to ? this.#to : found;
    const value = this.bytes.toString('utf8', this.at, end);
    this.at = end + 1;
    return value;
  }
}

const message = (type: string, body: readonly Buffer[]): Buffer => {
  const head = Buffer.allocUnsafe(HEADER_BYTES);
  head[0] = type.charCodeAt(0);
  head.writeUInt32BE(
    body.reduce((sum, part) => sum + part.length, 4),
    1,
  );
  return Buffer.concat([head, ...body]);
};

const NUL = Buffer.alloc(1);
const int16 = (value: number): Buffer => Buffer.of((value >> 8) & 255, value & 255);
const int32 = (value: number): Buffer => {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeInt32BE(value);
  return bytes;
};

/** One simple-query message. */
export const simpleQuery = (text: string): Buffer => {
  const length = Buffer.byteLength(text);
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + length + 1);
  bytes[0] = 0x51;
  bytes.writeUInt32BE(length + 5, 1);
  bytes.write(text, HEADER_BYTES, 'utf8');
  bytes[HEADER_BYTES + length] = 0;
  return bytes;
};

export const sync = message('S', []);
/** What has been answered so far comes at once. */
export const flush = message('H', []);
/** Parse of one query, and a question for its columns; what is answered comes at once. */
export const describeQuery = (text: string): Buffer => Buffer.concat([parse(text), message('D', [Buffer.from('S\0')]), flush]);
const describePortal = message('D', [Buffer.from('P\0')]);
const execute = message('E', [Buffer.from('\0\0\0\0\0')]);

export const parse = (text: string): Buffer => message('P', [NUL, Buffer.from(text), NUL, int16(0)]);

/** The most parameters that the protocol can carry. */
export const PARAMETERS_MAX = 65_535;

/** Parse, Bind, Describe, Execute and Sync of one query with its parameters as text. */
export const extendedQuery = (text: string, parameters: readonly (string | null)[]): Buffer =>
  Buffer.concat([...pipelinedQuery(text, parameters), sync]);

/** The same without its Sync: others may follow, and the first that fails has the rest of the group skipped. */
export const pipelinedQuery = (text: string, parameters: readonly (string | null)[]): Buffer[] => [
  parse(text),
  ...runParts(parameters, []),
];

/** What follows on {@link describeQuery}; `binary` says of each column whether it is to come in binary form. */
export const runParsed = (parameters: readonly (string | null)[], binary: readonly boolean[]): Buffer =>
  Buffer.concat([...runParts(parameters, binary), sync]);

function runParts(parameters: readonly (string | null)[], binary: readonly boolean[]): Buffer[] {
  const values = parameters.flatMap((value) => {
    if (value === null) return [int32(-1)];
    const bytes = Buffer.from(value);
    return [int32(bytes.length), bytes];
  });
  const formats = binary.includes(true) ? binary.map((isBinary) => int16(isBinary ? 1 : 0)) : [];
  const bind = message('B', [NUL, NUL, int16(0), int16(parameters.length), ...values, int16(formats.length), ...formats]);
  return [bind, describePortal, execute];
}
