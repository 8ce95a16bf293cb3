/** The bytes of a finished answer, from memory and from its file. */
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
