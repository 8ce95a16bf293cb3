/** PostgreSQL's wire protocol, passed on as bytes: what the tunnel needs of a session. */
import type { SqlError } from './entries.ts';
import type { Caller } from './ports.ts';

/** A session of the caller's own login that speaks for itself. */
export interface WireSession {
  readonly processId: number;
  /** Of the start. */
  readonly parameters: ReadonlyMap<string, string>;
  /** Bytes of the server; they are good until the call returns. */
  listen(listener: WireListener): void;
  /** False if the server is behind: `drained` follows. */
  write(bytes: Buffer): boolean;
  /** Nothing more is read until {@link resume}. */
  pause(): void;
  resume(): void;
  /** Cancels what runs, from outside; resolves when the signal has been sent, and hits nothing that is written then. */
  cancel(): Promise<void>;
  /** Ends the session; what runs is canceled, and if it does not heed that, its backend is ended. */
  end(isBusy: boolean): void;
}

export interface WireListener {
  data(bytes: Buffer): void;
  drained(): void;
  /** The session is gone; all it said before has been told. */
  closed(): void;
}

export interface WireSessions {
  /** Throws a `Failure` where there is no answer in SQL's own terms: auth or the database is away. */
  open(caller: Caller, settings: ReadonlyMap<string, string>, giveUp: Promise<void>): Promise<WireOpening>;
}

export type WireOpening =
  | { readonly kind: 'open'; readonly session: WireSession }
  | { readonly kind: 'refused'; readonly error: SqlError };
