// oxlint-disable-next-line no-restricted-imports -- a look at bytes, no I/O
import { isUtf8 } from 'node:buffer';

/** Checks bytes that come in chunks, which may cut a character in two. */
export class Utf8Check {
  #rest: Buffer = Buffer.alloc(0);
  #isValid = true;

  /** Whether all bytes so far are UTF-8; they end at the end of a character. */
  get isValid(): boolean {
    return this.#isValid && this.#rest.length === 0;
  }

  /** Whether some bytes are not UTF-8, whatever comes next. */
  get isBroken(): boolean {
    return !this.#isValid;
  }

  add(chunks: readonly Buffer[]): void {
    for (const chunk of chunks) {
      // The character that was cut is put together by itself: a copy of the chunk for it would be garbage as large as the result.
      const taken = Math.min(chunk.length, this.#missing());
      if (taken > 0) this.#check(Buffer.concat([this.#rest, chunk.subarray(0, taken)]));
      if (taken < chunk.length) this.#check(chunk.subarray(taken));
    }
  }

  /** Bytes that the rest lacks of a character. */
  #missing(): number {
    const [lead = 0] = this.#rest;
    if (this.#rest.length === 0) return 0;
    return (lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2) - this.#rest.length;
  }

  #check(bytes: Buffer): void {
    const end = bytes.length - unfinished(bytes);
    // A copy: the chunk's memory is written again before the next one comes.
    this.#rest = Buffer.from(bytes.subarray(end));
    if (!isUtf8(bytes.subarray(0, end))) this.#isValid = false;
  }

  /** What comes next begins at the beginning of a character. */
  restart(): void {
    this.#rest = Buffer.alloc(0);
  }
}

/** How many bytes at the end may be the beginning of a longer character. */
function unfinished(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
    const code = bytes[bytes.length - back] ?? 0;
    if (code < 0x80) return 0;
    if (code >= 0xc0) return code >= (back === 1 ? 0xc0 : back === 2 ? 0xe0 : 0xf0) ? back : 0;
  }
  return 0;
}
