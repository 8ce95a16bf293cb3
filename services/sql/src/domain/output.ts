/** The bytes of one answer as they are made. A class, as the encoders write straight into its current buffer. */
import { strict as assert } from 'node:assert';

const FIRST_BYTES = 1_024;
export const CHUNK_BYTES = 65_536;
/** Runs up to this long are copied byte by byte: cheaper than a native call. */
const SHORT_RUN = 48;
const SPARE_MAX = 16;

export class Output {
  /** Write at `position` after {@link reserve}. */
  buffer: Buffer = Buffer.allocUnsafe(FIRST_BYTES);
  position = 0;
  #full: Buffer[] = [];
  #fullBytes = 0;
  #takenBytes = 0;
  /** Chunks that were taken and are free to be written again. */
  readonly #spare: Buffer[] = [];
  /** Memory that is this output's alone; a small buffer shares its memory with others of the process. */
  readonly #own = new WeakSet<ArrayBufferLike>();

  /** Bytes written so far, taken ones included. */
  get offset(): number {
    return this.#takenBytes + this.#fullBytes + this.position;
  }

  /** Bytes that are still in memory. */
  get heldBytes(): number {
    return this.#fullBytes + this.position;
  }

  /** Offset of the first byte still in memory. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** Makes room for `bytes` (at most {@link CHUNK_BYTES}) in one piece. */
  reserve(bytes: number): void {
    const needed = this.position + bytes;
    if (needed <= this.buffer.length) return;
    assert(bytes <= CHUNK_BYTES);
    if (needed <= CHUNK_BYTES) {
      const grown = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, Math.max(needed, this.buffer.length * 2)));
      this.buffer.copy(grown, 0, 0, this.position);
      this.buffer = grown;
      return;
    }
    this.#full.push(this.buffer.subarray(0, this.position));
    this.#fullBytes += this.position;
    this.buffer = this.#chunk();
    this.position = 0;
  }

  #chunk(): Buffer {
    const spare = this.#spare.pop();
    if (spare !== undefined) return spare;
    const made = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    this.#own.add(made.buffer);
    return made;
  }

  /** Chunks that were taken come back, to be used again rather than to become garbage. */
  recycle(chunks: readonly Buffer[]): void {
    for (const chunk of chunks) {
      if (this.#spare.length >= SPARE_MAX) return;
      if (this.#own.has(chunk.buffer)) this.#spare.push(Buffer.from(chunk.buffer));
    }
  }

  byte(value: number): void {
    if (this.position === this.buffer.length) this.reserve(1);
    this.buffer[this.position] = value;
    this.position += 1;
  }

  bytes(source: Buffer, from: number, to: number): void {
    const length = to - from;
    if (length <= SHORT_RUN) {
      this.reserve(length);
      const { buffer } = this;
      let at = this.position;
      for (let index = from; index < to; index += 1) buffer[at++] = source[index] ?? 0;
      this.position = at;
      return;
    }
    let start = from;
    while (start < to) {
      const room = this.buffer.length - this.position;
      if (room < to - start) this.reserve(room === 0 || this.buffer.length < CHUNK_BYTES ? Math.min(to - start, CHUNK_BYTES) : 1);
      const end = Math.min(to, start + this.buffer.length - this.position);
      source.copy(this.buffer, this.position, start, end);
      this.position += end - start;
      start = end;
    }
  }

  /** Text of ASCII characters only. */
  ascii(text: string): void {
    if (text.length > CHUNK_BYTES) return this.utf8(text);
    this.reserve(text.length);
    this.position += this.buffer.write(text, this.position, 'latin1');
  }

  utf8(text: string): void {
    const bytes = Buffer.from(text);
    this.bytes(bytes, 0, bytes.length);
  }

  /** Forgets everything from `offset` on. */
  truncate(offset: number): void {
    assert(offset >= 0 && offset <= this.offset);
    if (offset < this.#takenBytes) {
      this.#takenBytes = offset;
      this.#full = [];
      this.#fullBytes = 0;
      this.position = 0;
      return;
    }
    while (offset < this.#takenBytes + this.#fullBytes) {
      const last = this.#full.pop();
      assert(last !== undefined);
      this.#fullBytes -= last.length;
      // A full chunk may be shorter than the current buffer, never longer than a chunk.
      this.buffer = Buffer.allocUnsafe(CHUNK_BYTES);
      last.copy(this.buffer);
      this.position = last.length;
    }
    this.position = offset - this.#takenBytes - this.#fullBytes;
  }

  /** The bytes in memory, in order. They may be read until the next write. */
  held(): Buffer[] {
    const last = this.buffer.subarray(0, this.position);
    return last.length === 0 ? [...this.#full] : [...this.#full, last];
  }

  /** Hands the bytes in memory over: they are held no more. */
  take(): Buffer[] {
    const chunks = this.held();
    this.#takenBytes = this.offset;
    this.#full = [];
    this.#fullBytes = 0;
    this.buffer = this.#chunk();
    this.position = 0;
    return chunks;
  }

  /** Takes back what was handed over last: it is held again. Nothing may have been written since. */
  putBack(chunks: readonly Buffer[]): void {
    assert(this.heldBytes === 0);
    this.#full = [...chunks];
    this.#fullBytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    this.#takenBytes -= this.#fullBytes;
  }
}
