/** The bytes of a finished answer, from memory and from its file. */
import { isUtf8 } from 'node:buffer';

import type { Insertion } from '../domain/entries.ts';
import type { KeptAnswer } from '../domain/keeping.ts';
import type { Answer } from '../domain/ports.ts';
import type { Spool } from './spool.fs.ts';

export interface AnswerOptions {
  readonly held: readonly Buffer[];
  /** The offset at which the held bytes begin; those before are in the spool. */
  readonly heldFrom: number;
  readonly insertions: readonly Insertion[];
  readonly spool: Spool | undefined;
}

/** `range` is by offsets of what was written. */
export function createAnswer({ held, heldFrom, insertions, spool }: AnswerOptions): Answer & Pick<KeptAnswer, 'range'> {
  const length = heldFrom + held.reduce((sum, chunk) => sum + chunk.length, 0);
  const inserted = insertions.map(({ at, text }) => ({ at, bytes: Buffer.from(text) }));
  async function* raw(from: number, to: number): AsyncGenerator<Buffer> {
    if (from < heldFrom && spool !== undefined) yield* spool.read(from, Math.min(to, heldFrom));
    let at = heldFrom;
    for (const chunk of held) {
      const [start, end] = [Math.max(from, at), Math.min(to, at + chunk.length)];
      if (start < end) yield chunk.subarray(start - at, end - at);
      at += chunk.length;
    }
  }
  /** Offsets are those of what was written: what is put in belongs to the byte behind it. */
  async function* range(start: number, end: number): AsyncGenerator<Buffer> {
    let from = start;
    for (const { at, bytes } of inserted) {
      if (at < start || at >= end) continue;
      yield* raw(from, at);
      yield bytes;
      from = at;
    }
    yield* raw(from, end);
  }
  return {
    length: length + inserted.reduce((sum, { bytes }) => sum + bytes.length, 0),
    whole: spool === undefined && inserted.length === 0 && held.length === 1 ? held[0] : undefined,
    pieces: () => range(0, length),
    range,
    async dispose() {
      await spool?.[Symbol.asyncDispose]();
    },
  };
}

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
      const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
      const end = bytes.length - unfinished(bytes);
      // A copy: the chunk's memory is written again before the next one comes.
      this.#rest = Buffer.from(bytes.subarray(end));
      if (!isUtf8(bytes.subarray(0, end))) this.#isValid = false;
    }
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
