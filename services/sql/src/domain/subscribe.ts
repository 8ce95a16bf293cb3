/** SUBSCRIBE: how the statement is recognised, and what a subscription tells whoever shows it. */
import type { Notice, SqlError } from './entries.ts';
import type { Caller } from './ports.ts';
import { readSubscribe } from './subscribe-syntax.ts';
import { splitStatements } from './statement-split.ts';

export interface SubscribeOptions {
  /** Whether what is there at the start comes as rows. */
  readonly snapshot: boolean;
  /** Whether it is told that there is nothing new up to a moment. */
  readonly progress: boolean;
  /** Go on behind the row of this token. */
  readonly resume: string | undefined;
  /** A NOTIFY on it has the query evaluated again, where changes cannot be had from the server's log. */
  readonly channel: string | undefined;
}

export interface SubscribeStatement {
  /** The statement as it was written, but for its options; a resume token is good for this text alone. */
  readonly text: string;
  /** What is subscribed to, as one query. */
  readonly query: string;
  readonly options: SubscribeOptions;
}

export type Recognised =
  | {
      readonly kind: 'subscribe';
      readonly statement: SubscribeStatement;
      /** There are statements behind it: when it completes, the next one is {@link notAlone}. */
      readonly isFollowed: boolean;
    }
  /** It is meant as one, and cannot be run: nothing of the text runs, and this is the answer. */
  | { readonly kind: 'refused'; readonly error: SqlError };

export const notAlone: SqlError = {
  message: 'SUBSCRIBE in transactions must be the only read statement',
  code: '25000',
};

/**
 * What a simple string, or one query of an extended request, subscribes to; undefined if there is no SUBSCRIBE in it.
 *
 * @example
 *   recognise('SUBSCRIBE (SELECT * FROM orders) WITH (PROGRESS)');
 */
export function recognise(text: string): Recognised | undefined {
  // Most texts have no such word: they are not looked at any further.
  if (!/subscribe/i.test(text)) return undefined;
  const statements = splitStatements(text);
  const index = statements.findIndex((statement) => readSubscribe(statement) !== undefined);
  const read = readSubscribe(statements[index] ?? '');
  if (read === undefined) return undefined;
  if (index > 0) return { kind: 'refused', error: notAlone };
  if ('message' in read) return { kind: 'refused', error: read };
  return { kind: 'subscribe', statement: read, isFollowed: statements.length > 1 };
}

/** Hears a subscription. Nothing is told after `error` or `complete`. */
export interface SubscriptionSink {
  /** JSON of a row description, once: `{"columns":[…]}`, with `mz_timestamp`, `mz_diff` and, if asked for, `mz_progressed` first. */
  columns(description: Buffer): void;
  /** JSON of one row, an array of all its columns. With `token` the subscription can be continued behind it. */
  row(row: Buffer, token: string): void;
  /** The same, of a row that only says that all rows before its `mz_timestamp` have been told. */
  progress(row: Buffer, token: string): void;
  notice(notice: Notice): void;
  error(error: SqlError): void;
  complete(tag: string): void;
  /** Called after each batch: nothing more is told until the promise resolves. */
  flush(): Promise<void> | undefined;
}

/** `Session` is a session of the caller's own login. */
export interface SubscribeRequest<Session> {
  readonly caller: Caller;
  readonly statement: SubscribeStatement;
  /** Settings of the session that is held for the subscription, if none is given. */
  readonly settings: ReadonlyMap<string, string>;
  /** An idle session outside of a transaction, used until `ended` and then idle again; without one, one is held. */
  readonly session?: Session | undefined;
}

export interface Subscription {
  /** Resolves when nothing more is told and nothing of it runs; never rejects. */
  readonly ended: Promise<void>;
  /** Ends it with an error, 57014 if none is given. */
  cancel(error?: SqlError): void;
  /** Nobody listens any more: nothing more is told, and it may be continued with a token for a while. */
  leave(): void;
}

export interface Subscriptions<Session> {
  subscribe(request: SubscribeRequest<Session>, sink: SubscriptionSink): Subscription;
}
