/** Requests whose answers are kept until they are fetched: the port that runs them. */
import type { EntryMark } from './marks.ts';
import type { SqlError } from './entries.ts';
import type { Answer, RunOptions, Turned } from './ports.ts';

/** An answer of which parts can be read, again and again. */
export interface KeptAnswer extends Answer {
  readonly entries: readonly EntryMark[];
  /** The error of the last entry, if it is one. */
  readonly failure: SqlError | undefined;
  /** By offsets of what was written. Each piece is good until the next one is asked for. */
  range(from: number, to: number): AsyncIterable<Buffer>;
}

/** Where bytes are kept that are bounded. */
export interface Room {
  /** Throws if there is no more. */
  take(bytes: number): void;
  giveBack(bytes: number): void;
}

export interface KeepOptions extends RunOptions {
  readonly room: Room;
  /** Longest time of the request. */
  readonly limitMs: number;
}

export type Kept = { readonly kind: 'kept'; readonly answer: KeptAnswer } | Turned;

export interface Keeping {
  /** Resolves when the request has been judged and is about to run; never, if it is turned away before. */
  readonly begun: Promise<void>;
  readonly outcome: Promise<Kept>;
  /** What runs is canceled, with this error; what was done before is kept. */
  stop(error: SqlError): void;
  /** What runs is canceled, and nothing is kept. */
  abandon(): void;
}

/** Runs requests in sessions of their own, so that those who wait for theirs do not wait for these. */
export interface Keeper {
  keep(options: KeepOptions): Keeping;
}
