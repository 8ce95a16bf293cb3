/** What the domain needs from the world. Times are Unix milliseconds. */
import type { Principal } from '@postern/contracts/common';

export interface Clock {
  now(): number;
}

/** Waits; the caller's signal ends the wait early, with an error. */
export type Pause = (ms: number, signal?: AbortSignal) => Promise<void>;

/** A session as it is kept: found by the hash of its token, which is not kept itself. */
export interface StoredSession {
  readonly id: string;
  /** As auth answered at login. */
  readonly principal: Principal;
  readonly createdAtMs: number;
  readonly lastActivityAtMs: number;
  readonly client: string;
}

export interface NewSession {
  readonly session: StoredSession;
  readonly tokenHash: string;
  /** Token hash of the session that this one takes the place of. */
  readonly replaces?: string | undefined;
  /** What {@link SessionStore.epoch} answered before the password was checked. */
  readonly epoch: number;
  /** After this the store may forget the session. */
  readonly forgetAtMs: number;
  /** Sessions a principal may have, this one included; the oldest end. */
  readonly perPrincipalMax: number;
}

/** `superseded`: all sessions of the principal were ended while the password was being checked; nothing was written. */
export type Creation = { readonly kind: 'created'; readonly ended: readonly StoredSession[] } | { readonly kind: 'superseded' };

/** Each method is one atomic step, also towards other replicas. */
export interface SessionStore {
  /** Grows with each {@link endAll}. */
  epoch(): Promise<number>;
  create(session: NewSession): Promise<Creation>;
  find(tokenHash: string): Promise<StoredSession | undefined>;
  /** Notes a use, never an earlier one than is noted; whether the session was still there. */
  renew(tokenHash: string, use: { readonly atMs: number; readonly forgetAtMs: number }): Promise<boolean>;
  end(tokenHash: string): Promise<StoredSession | undefined>;
  list(principalId: string): Promise<readonly StoredSession[]>;
  endOne(principalId: string, id: string): Promise<StoredSession | undefined>;
  endAll(principalId: string): Promise<readonly StoredSession[]>;
}

/** Who tries to log in from where, as keys of bounded length. */
export interface AttemptKeys {
  readonly client: string;
  readonly name: string;
}

export interface AttemptLimits {
  readonly max: number;
  readonly windowMs: number;
  /** Length of the first lock, the second, …; the last is repeated. */
  readonly lockStepsMs: readonly number[];
}

export interface Reservation extends AttemptKeys {
  readonly ticket: string;
  /** This client has logged in with this name before: the name's counter neither stops it nor counts it. */
  readonly known: boolean;
}

export type ReservationOutcome =
  | { readonly kind: 'reserved'; readonly reservation: Reservation }
  | { readonly kind: 'locked'; readonly untilMs: number }
  /** As many attempts as may still fail are under way. */
  | { readonly kind: 'busy' };

/** Failures counted per client and per name. Each method is one atomic step, also towards other replicas. */
export interface AttemptStore {
  reserve(keys: AttemptKeys, nowMs: number): Promise<ReservationOutcome>;
  /** Counts the attempt as failed. */
  fail(reservation: Reservation, nowMs: number): Promise<void>;
  /** Gives the attempt back and remembers that this client may use this name. */
  succeed(reservation: Reservation, nowMs: number): Promise<void>;
  /** Gives the attempt back: it came to no answer. */
  release(reservation: Reservation): Promise<void>;
}

/** How long the one who asked still waits. */
export interface Patience {
  readonly signal: AbortSignal;
  readonly remainingMs: number;
  readonly requestId?: string | undefined;
}

export type Verification = { readonly kind: 'proved'; readonly principal: Principal } | { readonly kind: 'refused' };

export interface Passwords {
  verify(credential: { readonly name: string; readonly password: string }, patience: Patience): Promise<Verification>;
}

/** Tells the mesh that one session, or all sessions of a principal, ended before their time. */
export type TellEnded = (ended: { readonly principalId: string; readonly sessionId?: string }) => void;
