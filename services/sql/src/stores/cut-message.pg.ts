/** An error or notice that is larger than a message may be: what is kept of it. */

/** The beginning says enough. */
const KEPT_BYTES = 65_536;

export class CutMessage {
  #pieces: Buffer[] = [];
  #bytes = 0;

  /** What is kept of the message, once its last piece has come. */
  add(bytes: Buffer, from: number, to: number, left: number): Buffer | undefined {
    const room = Math.min(to - from, KEPT_BYTES - this.#bytes);
    if (room > 0) {
      this.#pieces.push(Buffer.from(bytes.subarray(from, from + room)));
      this.#bytes += room;
    }
    if (left > 0) return undefined;
    const kept = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#bytes = 0;
    return kept;
  }
}
