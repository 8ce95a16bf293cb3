/**
 * What is committed in the person database, as its write-ahead log tells: one session of a login that may replicate and
 * reads no table. Everything is told once to whoever follows its tables, in commit order; nothing is kept for those
 * who do not.
 */
import type { Logger } from 'pino';
import pg from 'pg';

import { readLine } from '../domain/changes-text.ts';
import type { ReplicationOptions, ReplicationStream } from './changes-replication.pg.ts';
import { HEAD_BYTES, openReplication } from './changes-replication.pg.ts';

/** A transaction of which something is for the follower. */
export interface LoggedTransaction {
  readonly xid: number;
  /** Where its commit ends in the log: later ones are larger. */
  readonly lsn: bigint;
  /** Lines of `test_decoding`, of the followed tables, in order; none for who does not hold any. */
  readonly lines: readonly Buffer[];
}

export interface Follower {
  /** As the server quotes them: `public."My table"`. */
  readonly tables: ReadonlySet<string>;
  /**
   * A line of this many bytes is about to be held for it, until its transaction is told: whether it may be. Who lacks this
   * needs to know only that there was a transaction.
   */
  hold?(bytes: number): boolean;
  transaction(transaction: LoggedTransaction): void;
  /** Nothing is to come that was committed before `lsn`. */
  reached(lsn: bigint): void;
  /** The log was interrupted: something may be missing. It is followed no more. */
  lost(): void;
}

export interface Following extends Disposable {
  /**
   * Whether a transaction was told before the following began that is for its tables, by the number of the transaction:
   * whoever does not see it yet would miss it.
   */
  mayHaveMissed(isVisible: (xid: number) => boolean): boolean;
}

export interface ChangeLog extends AsyncDisposable {
  /** Undefined if the log cannot be had at this time. */
  follow(follower: Follower): Promise<Following | undefined>;
}

export interface ChangeLogOptions extends ReplicationOptions {
  readonly log: Logger;
}

interface Header {
  readonly xid: number;
  readonly tables: ReadonlySet<string>;
}

/** Of transactions whose changes are not kept; some may not be visible yet, for as long as their commit waits for a standby. */
const HEADERS_MAX = 10_000;
/** A slot is made only when transactions that write have ended; nobody waits for those of others for long. */
const OPENING_MS = 2_000;
const RETRY_MS = [250, 1_000, 2_000, 5_000] as const;

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms).unref());

/** No log: where none is configured. */
export const noChangeLog: ChangeLog = {
  follow: () => Promise.resolve(undefined),
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

export function openChangeLog(options: ChangeLogOptions): ChangeLog {
  return new RunningLog(options);
}

class RunningLog implements ChangeLog {
  readonly #options: ChangeLogOptions;
  readonly #followers = new Set<Follower>();
  #headers: Header[] = [];
  #stream: ReplicationStream | undefined;
  #isClosed = false;
  readonly #closing = new AbortController();
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;
  #hasWarned = false;
  /** Resolves at the next moment at which the log is read, or cannot be. */
  #opening: PromiseWithResolvers<void>;
  /** Resolves when no session of it is being opened any more. */
  #settled: Promise<void>;

  /** The transaction that is being told. */
  #xid: number | undefined;
  #tables = new Set<string>();
  #lines = new Map<Follower, Buffer[]>();
  /** Of the large line that is being read: who holds it. */
  #holders: readonly Follower[] | undefined;
  #boundary: PromiseWithResolvers<void> | undefined;

  constructor(options: ChangeLogOptions) {
    this.#options = options;
    this.#opening = Promise.withResolvers();
    this.#settled = this.#open();
  }

  async follow(follower: Follower): Promise<Following | undefined> {
    if (this.#stream === undefined) await Promise.race([this.#opening.promise, pause(OPENING_MS)]);
    // Of a transaction that is being told, the first lines are gone.
    while (this.#xid !== undefined) await (this.#boundary ??= Promise.withResolvers()).promise;
    if (this.#stream === undefined) return undefined;
    this.#followers.add(follower);
    const before = [...this.#headers];
    return {
      mayHaveMissed: (isVisible) =>
        before.some(({ xid, tables }) => !isVisible(xid) && follower.tables.values().some((table) => tables.has(table))),
      [Symbol.dispose]: () => {
        this.#followers.delete(follower);
        this.#lines.delete(follower);
      },
    };
  }

  async #open(): Promise<void> {
    try {
      const stream = await openReplication(this.#options, this.#closing.signal, {
        line: (lsn, line, isOwn) => this.#line(lsn, line, isOwn),
        isWanted: (head, bytes) => this.#isWanted(head, bytes),
        reached: (lsn) => this.#reached(lsn),
        closed: (error) => this.#closed(error),
      });
      if (this.#isClosed) return await stream[Symbol.asyncDispose]();
      this.#stream = stream;
      this.#failures = 0;
      this.#hasWarned = false;
    } catch (error) {
      this.#retry(error);
    }
    this.#opening.resolve();
  }

  #retry(error: unknown): void {
    if (this.#isClosed) return;
    if (!this.#hasWarned) {
      this.#hasWarned = true;
      this.#options.log.warn({ err: error }, 'the change log cannot be read; subscriptions evaluate their queries again instead');
    }
    // What the server is not set up for stays so until it is restarted.
    const isHopeless = error instanceof pg.DatabaseError && error.code === '55000';
    const wait = isHopeless ? 60_000 : (RETRY_MS[Math.min(this.#failures, RETRY_MS.length - 1)] ?? 0);
    this.#failures += 1;
    this.#timer = setTimeout(() => {
      this.#settled = this.#open();
    }, wait).unref();
  }

  #closed(error: Error): void {
    if (this.#stream === undefined) return;
    this.#stream = undefined;
    this.#opening = Promise.withResolvers();
    this.#headers = [];
    this.#endTransaction();
    const followers = [...this.#followers];
    this.#followers.clear();
    for (const follower of followers) follower.lost();
    if (this.#isClosed) this.#opening.resolve();
    else this.#retry(error);
  }

  #line(lsn: bigint, bytes: Buffer, isOwn: boolean): void {
    // The head of a line is ASCII, or a name.
    const line = readLine(bytes.toString('utf8', 0, headBytes(bytes)));
    switch (line.kind) {
      case 'begin':
        this.#xid = line.xid;
        return;
      case 'commit':
        return this.#commit(lsn);
      case 'tables': {
        const holders = this.#holders ?? this.#hold(line.tables, bytes.length);
        this.#holders = undefined;
        if (holders.length === 0) return;
        const copy = isOwn ? bytes : Buffer.from(bytes);
        for (const follower of holders) this.#lines.get(follower)?.push(copy);
        return;
      }
      case 'other':
        return;
    }
  }

  /** Of a large line, by its beginning. */
  #isWanted(head: Buffer, bytes: number): boolean {
    const text = head.toString('utf8');
    // Anybody may write messages into the log, of any size.
    if (!text.startsWith('table ')) return false;
    // The names of a truncation may go on for long, but they are names.
    if (!CHANGE.test(text)) return true;
    const line = readLine(text);
    if (line.kind !== 'tables') return false;
    this.#holders = this.#hold(line.tables, bytes);
    if (this.#holders.length > 0) return true;
    this.#holders = undefined;
    return false;
  }

  /** Takes note of the tables; answers who holds the line. */
  #hold(tables: readonly string[], bytes: number): Follower[] {
    for (const table of tables) {
      // A copy: a part of a string keeps the whole.
      if (!this.#tables.has(table)) this.#tables.add(Buffer.from(table).toString());
    }
    const holders: Follower[] = [];
    for (const follower of this.#followers) {
      if (!tables.some((table) => follower.tables.has(table))) continue;
      if (!this.#lines.has(follower)) this.#lines.set(follower, []);
      if (follower.hold?.(bytes) === true) holders.push(follower);
    }
    return holders;
  }

  #commit(lsn: bigint): void {
    const xid = this.#xid;
    if (xid === undefined) return;
    this.#headers.push({ xid, tables: this.#tables });
    if (this.#headers.length > HEADERS_MAX * 2) this.#headers = this.#headers.slice(-HEADERS_MAX);
    const told = this.#lines;
    this.#endTransaction();
    for (const [follower, lines] of told) if (this.#followers.has(follower)) follower.transaction({ xid, lsn, lines });
    this.#reached(lsn);
  }

  #endTransaction(): void {
    this.#xid = undefined;
    this.#tables = new Set();
    this.#lines = new Map();
    this.#holders = undefined;
    this.#boundary?.resolve();
    this.#boundary = undefined;
  }

  #reached(lsn: bigint): void {
    if (this.#xid !== undefined) return;
    for (const follower of this.#followers) follower.reached(lsn);
  }

  /** Resolves when nothing of it is left in the server. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#closing.abort();
    clearTimeout(this.#timer);
    await this.#settled;
    await this.#stream?.[Symbol.asyncDispose]();
  }
}

/** A line that tells what became of one row, as far as that. */
const CHANGE = /^table (?:"(?:[^"]|"")*"|[^".]+)\.(?:"(?:[^"]|"")*"|[^":,]+): (?:INSERT|UPDATE|DELETE):/u;

/** Enough to hold the names of a change's table; a truncation may name many. */
const headBytes = (bytes: Buffer): number =>
  bytes.length <= HEAD_BYTES || bytes.indexOf(': TRUNCATE:', 0, 'latin1') === -1
    ? Math.min(HEAD_BYTES, bytes.length)
    : bytes.length;
