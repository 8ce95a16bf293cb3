/** A session that is a caller's own for as long as a socket lives: its transactions and settings outlive each request. */
import type { Notification } from './channels.ts';
import type { Notice, ReportedSetting, SqlError } from './entries.ts';
import type { Caller, SqlRequest } from './ports.ts';
import type { Script, TransactionStatus } from './script.ts';
import type { SubscribeStatement, Subscription, SubscriptionSink } from './subscribe.ts';

/** What the server says by itself. A promise has it wait. */
export interface SessionEvents {
  notice(notice: Notice): Promise<void> | undefined;
  setting(setting: ReportedSetting): Promise<void> | undefined;
  notification(notification: Notification): Promise<void> | undefined;
  /** The session is gone, with the server's own reason if it gave one while nothing ran. Told after the run under way. */
  lost(reason: SqlError | undefined): void;
}

export type HeldOutcome =
  /** The script was told everything. */
  | { readonly kind: 'ran' }
  /** Nothing ran: an extended query is not one statement. */
  | { readonly kind: 'notOneStatement'; readonly query: string; readonly count: number };

export interface HeldRun {
  /** Rejects with a `Failure` if the request cannot be judged now. */
  readonly outcome: Promise<HeldOutcome>;
  /** What runs is canceled, with this error; if it has just ended, nothing is. */
  stop(error: SqlError): void;
  /** Nobody listens any more: what runs is canceled, and nothing more is told. */
  abandon(): void;
}

export interface HeldSession {
  readonly processId: number;
  /** As the server has told of them, up to now. */
  readonly parameters: ReadonlyMap<string, string>;
  readonly transactionStatus: TransactionStatus;
  /** One at a time. */
  run(request: SqlRequest, script: Script): HeldRun;
  /** Like a run; only outside of a transaction. */
  subscribe(statement: SubscribeStatement, sink: SubscriptionSink): Subscription;
  /** A transaction that is open fails, as by an error of the server's: something that was to run in it was refused. */
  spoil(): Promise<void>;
  /** Resolves when no cancel is under way any more. */
  quiet(): Promise<void>;
  /** What runs is canceled first. */
  close(): void;
}

export type Opening =
  | { readonly kind: 'open'; readonly session: HeldSession; readonly notices: readonly Notice[] }
  | { readonly kind: 'refused'; readonly error: SqlError; readonly isDenied: boolean };

export interface OpenOptions {
  readonly caller: Caller;
  /** Those that cannot be set are told of as notices. */
  readonly settings: ReadonlyMap<string, string>;
  readonly events: SessionEvents;
  readonly giveUp: Promise<void>;
}

export interface HeldSessions {
  /** Throws a `Failure` where there is no answer in SQL's own terms. */
  open(options: OpenOptions): Promise<Opening>;
}
