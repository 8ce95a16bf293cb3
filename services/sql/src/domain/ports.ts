/** What the domain needs from the world, and what it answers. */
import type { Principal } from '@postern/contracts/common';

import type { SqlError } from './entries.ts';
import type { StreamScript } from './script.ts';
import type { TypeShape } from './types.ts';
import type { Verdict } from './statements.ts';

export interface Clock {
  /** Milliseconds that never go back. */
  now(): number;
}

/** A request whose texts are judged. */
export interface Asker {
  readonly principalId: string;
  /** Time of the main thread that its texts have taken so far; kept by the grammar. */
  spentMs: number;
  /** Whether nobody waits for the verdict any more. */
  isGone(): boolean;
}

/**
 * PostgreSQL's own parser. Known texts are judged at once, and short ones while the request has not taken much time;
 * for others principals take turns. Rejects with a `Failure` if too many of one principal's requests wait already.
 */
export interface Grammar {
  judge(text: string, asker: Asker): Verdict | Promise<Verdict>;
}

/** The catalog of the person database, read by a login that owns nothing. */
export interface Catalog {
  shapes(oids: readonly number[]): Promise<ReadonlyMap<number, TypeShape>>;
}

export interface Caller {
  readonly principal: Principal;
  readonly assertion: string;
}

/** Lends the password of the caller's own login; throws a `Failure` if auth refuses or is away. */
export interface Logins {
  lend(caller: Caller): Promise<string>;
  /** The database refuses the password that is lent: asks auth to put the login right, and answers the new one. */
  heal(caller: Caller): Promise<string>;
  /** Forgets what was lent for a role. */
  forget(role: string): void;
}

export interface QueryWithParameters {
  readonly query: string;
  readonly params: readonly (string | null)[];
}

export type SqlRequest =
  | { readonly kind: 'simple'; readonly query: string }
  | { readonly kind: 'extended'; readonly queries: readonly QueryWithParameters[] };

/** The bytes of an answer that is final, ready to be sent. */
export interface Answer {
  readonly length: number;
  /** The whole answer, if it is in one piece in memory. */
  readonly whole: Buffer | undefined;
  /** Each piece is good until the next one is asked for. */
  pieces(): AsyncIterable<Buffer>;
  dispose(): Promise<void>;
}

/** Why a request has no results. */
export type Turned =
  /** The request was turned away before anything ran: an extended query is not one statement. */
  | { readonly kind: 'notOneStatement'; readonly query: string; readonly count: number }
  /** No session could be opened; PostgreSQL's (or the pool's) own error. */
  | { readonly kind: 'sessionRefused'; readonly error: SqlError; readonly isDenied: boolean }
  /** The caller went away; nobody is left to answer. */
  | { readonly kind: 'abandoned' };

export type Outcome = { readonly kind: 'answered'; readonly answer: Answer } | Turned;

export interface RunOptions {
  readonly caller: Caller;
  readonly request: SqlRequest;
  readonly settings: ReadonlyMap<string, string>;
}

/** A request under way. */
export interface Run {
  readonly outcome: Promise<Outcome>;
  /** The caller is gone: what runs is canceled, and nothing is answered. */
  abandon(): void;
}

export interface StreamOptions extends RunOptions {
  /** Told nothing if the request is turned away. */
  readonly script: StreamScript;
  /** All values are wanted as PostgreSQL prints them. */
  readonly isText?: boolean;
  /** The request is to be one statement that answers rows; otherwise it is refused before anything runs. */
  readonly isRowsOnly?: boolean;
  /** Longest time of the request, if it is not that of all requests. */
  readonly limitMs?: number;
}

/** A request under way whose script is told what happens. */
export interface Streaming {
  /** `streamed`: the script was told everything, `finished` included. */
  readonly outcome: Promise<{ readonly kind: 'streamed' } | Turned>;
  /** The reader is gone: what runs is canceled, and nothing more is told. */
  abandon(): void;
  /** What runs is canceled, with this error. */
  stop(error: SqlError): void;
}

export interface QueryRunner {
  run(options: RunOptions): Run;
  /** In a session that is clean before `finished` is told; the transaction that is left open, if any, is rolled back. */
  stream(options: StreamOptions): Streaming;
}
