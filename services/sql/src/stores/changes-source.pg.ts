/** Where the rows of a subscription come from: changed rows, or the query run again. */
import { isVisible, readSnapshot } from '../domain/changes-state.ts';
import type { Difference, Snapshot } from '../domain/changes-state.ts';
import type { Column, SqlError } from '../domain/entries.ts';
import type { Clock } from '../domain/ports.ts';
import type { Asking } from './asking.pg.ts';
import { QueryFailure } from './asking.pg.ts';
import type { ImageRows, LoggedLine } from './changes-images.pg.ts';
import type { ChangeLog, Following, LoggedTransaction } from './changes-log.pg.ts';
import type { RequeryRows } from './changes-requery.pg.ts';
import { WHERE_WE_ARE } from './changes-requery.pg.ts';

/** What a source tells its subscription. */
export interface SourceListener {
  /** There may be something to do. */
  wake(): void;
  /** It has grown: whether it goes on. */
  grown(): boolean;
  /** It cannot go on. */
  fail(error: SqlError): void;
}

export interface Source extends Disposable {
  readonly columns: readonly Column[];
  /** Bytes that are held. */
  readonly bytes: number;
  /** Everything before this place of the log has been told, if it is known. */
  readonly reached: bigint;
  /** Nothing can change any more. */
  readonly isFinite: boolean;
  /** Milliseconds from now to when there is something to do whatever is heard. */
  wait(): number;
  start(asking: Asking, told: (difference: Difference) => Promise<void> | undefined): Promise<void>;
  /** Throws if what was told before must not be told again. */
  check(asking: Asking): Promise<void>;
  /** What is new; takes note of it only when it answers. */
  step(asking: Asking): Promise<readonly Difference[]>;
}

export const startAgain = 'Subscribe again for a snapshot.';
const interrupted: SqlError = {
  message: 'the change log was interrupted: changes may be missing',
  code: '55000',
  hint: startAgain,
};
const noStart: SqlError = {
  message: 'no snapshot could be taken that the change log goes on from',
  code: '40001',
  hint: 'Try again.',
};

const rowTooLarge: SqlError = { message: 'the subscription is retired: a changed row is too large', code: '53400' };
/** Of a line, so that it can be a string. */
const LINE_MAX_BYTES = 268_435_456;

const LINES_MAX = 1_000;
const LINES_BYTES_MAX = 2_097_152;
/** How often rights are looked at when nothing changes. */
const CHECK_MS = 10_000;
const RETRY_MS = 50;
const RETRIES_MAX = 100;
/** A line that waits, beside its bytes. */
const LINE_BYTES = 64;

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

type Images = Pick<ImageRows, keyof ImageRows>;

export class ImageSource implements Source {
  readonly isFinite = false;
  readonly #images: Images;
  readonly #log: ChangeLog;
  readonly #clock: Clock;
  readonly #listener: SourceListener;
  #following: Following | undefined;
  #snapshot: Snapshot | undefined;
  #lines: LoggedLine[] = [];
  #from = 0;
  #lineBytes = 0;
  /** The same of the transaction that is being told. */
  #comingBytes = 0;
  #reached = 0n;
  #checkAt: number;
  /** To the next look at what is in doubt: on an idle server, the log may not be told far enough until somebody writes. */
  #doubtMs = RETRY_MS;

  constructor(images: Images, log: ChangeLog, clock: Clock, listener: SourceListener) {
    this.#images = images;
    this.#log = log;
    this.#clock = clock;
    this.#listener = listener;
    this.#checkAt = clock.now() + CHECK_MS;
  }

  /** False if there is no log to follow. */
  async follow(): Promise<boolean> {
    const { tables } = this.#images;
    this.#following = await this.#log.follow({
      tables,
      hold: (bytes) => this.#hold(bytes),
      transaction: (transaction) => this.#take(transaction),
      reached: (lsn) => {
        this.#reached = lsn;
      },
      lost: () => this.#listener.fail(interrupted),
    });
    return this.#following !== undefined;
  }

  get columns(): readonly Column[] {
    return this.#images.columns;
  }

  get bytes(): number {
    return this.#images.bytes + this.#lineBytes + this.#comingBytes;
  }

  get reached(): bigint {
    return this.#from < this.#lines.length ? 0n : this.#reached;
  }

  wait(): number {
    return this.#from < this.#lines.length ? 0 : Math.max(0, this.#checkAt - this.#clock.now());
  }

  #hold(bytes: number): boolean {
    if (bytes > LINE_MAX_BYTES) {
      this.#listener.fail(rowTooLarge);
      return false;
    }
    this.#comingBytes += bytes + LINE_BYTES;
    return this.#listener.grown();
  }

  #take({ xid, lsn, lines }: LoggedTransaction): void {
    this.#comingBytes = 0;
    if (this.#snapshot !== undefined && isVisible(this.#snapshot, xid)) return;
    if (this.#snapshot === undefined) this.#early.push({ xid, lsn, lines });
    else this.#queue(lsn, lines);
    for (const line of lines) this.#lineBytes += line.length + LINE_BYTES;
    this.#listener.wake();
  }

  /** Transactions that came before it was known which of them the snapshot sees. */
  #early: LoggedTransaction[] = [];

  #queue(lsn: bigint, lines: readonly Buffer[]): void {
    for (const line of lines) this.#lines.push({ lsn, line });
  }

  async start(asking: Asking, told: (difference: Difference) => Promise<void> | undefined): Promise<void> {
    for (let attempt = 0; attempt < RETRIES_MAX; attempt += 1) {
      await asking.ask(['BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY']);
      try {
        const [[text, lsn] = []] = await asking.ask(WHERE_WE_ARE);
        const snapshot = readSnapshot(text ?? '');
        if (this.#following?.mayHaveMissed((xid) => isVisible(snapshot, xid)) !== true) {
          await this.#images.start(asking, (row) => told({ lsn: BigInt(lsn ?? '0'), diff: 1, row }));
          return this.#begin(snapshot);
        }
      } finally {
        await asking.command('ROLLBACK');
      }
      await pause(RETRY_MS);
    }
    throw new QueryFailure(noStart);
  }

  #begin(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    for (const { xid, lsn, lines } of this.#early) {
      if (!isVisible(snapshot, xid)) this.#queue(lsn, lines);
      else for (const line of lines) this.#lineBytes -= line.length + LINE_BYTES;
    }
    this.#early = [];
  }

  check(asking: Asking): Promise<void> {
    return this.#images.check(asking);
  }

  async step(asking: Asking): Promise<readonly Difference[]> {
    this.#checkAt = this.#clock.now() + CHECK_MS;
    if (this.#from >= this.#lines.length) {
      await this.#images.check(asking);
      if (this.#from >= this.#lines.length) this.#images.settle(this.#reached);
      this.#checkSoon();
      return [];
    }
    let bytes = 0;
    let to = this.#from;
    while (to < this.#lines.length && to - this.#from < LINES_MAX && bytes < LINES_BYTES_MAX) {
      bytes += this.#lines[to]?.line.length ?? 0;
      to += 1;
    }
    const apply = await this.#images.evaluate(asking, this.#lines.slice(this.#from, to));
    this.#lineBytes -= bytes + (to - this.#from) * LINE_BYTES;
    this.#from = to;
    if (this.#from === this.#lines.length || this.#from > LINES_MAX * 8) {
      this.#lines = this.#lines.slice(this.#from);
      this.#from = 0;
    }
    const told = apply();
    this.#doubtMs = RETRY_MS;
    this.#checkSoon();
    return told;
  }

  #checkSoon(): void {
    if (!this.#images.isInDoubt) return;
    this.#checkAt = this.#clock.now() + this.#doubtMs;
    this.#doubtMs = Math.min(this.#doubtMs * 2, CHECK_MS);
  }

  /** Lines that wait are not held for who will not show them. */
  [Symbol.dispose](): void {
    this.#following?.[Symbol.dispose]();
    this.#lines = [];
    this.#early = [];
    this.#from = 0;
  }
}

export interface RequerySourceOptions {
  readonly rows: RequeryRows;
  readonly log: ChangeLog;
  readonly clock: Clock;
  readonly listener: SourceListener;
  readonly pollMs: number;
}

export class RequerySource implements Source {
  readonly #options: RequerySourceOptions;
  readonly #tables = new Set<string>();
  #following: Following | undefined;
  /** Transactions that the rows may not show yet. */
  #unseen: number[] = [];
  #isDirty = true;
  #isBlind = false;
  #isFinite = false;
  #evaluatedAt = 0;
  #reached = 0n;
  #evaluatedLsn = 0n;

  constructor(options: RequerySourceOptions) {
    this.#options = options;
  }

  get columns(): readonly Column[] {
    return this.#options.rows.columns;
  }

  get bytes(): number {
    return this.#options.rows.bytes;
  }

  get reached(): bigint {
    if (this.#isDirty || this.#unseen.length > 0) return 0n;
    return this.#following === undefined || this.#isBlind ? this.#evaluatedLsn : this.#reached;
  }

  get isFinite(): boolean {
    return this.#isFinite;
  }

  wait(): number {
    const { clock, pollMs } = this.#options;
    const since = clock.now() - this.#evaluatedAt;
    // However often something changes, the query does not run without a pause.
    if (this.#isDirty || this.#unseen.length > 0) return Math.max(0, RETRY_MS - since);
    return Math.max(0, (this.#following === undefined || this.#isBlind ? pollMs : CHECK_MS) - since);
  }

  get hasLog(): boolean {
    return this.#following !== undefined;
  }

  /** Something was notified. */
  touch(): void {
    this.#isDirty = true;
    this.#options.listener.wake();
  }

  async #follow(): Promise<void> {
    const { log, listener } = this.#options;
    this.#following ??= await log.follow({
      tables: this.#tables,
      transaction: ({ xid }) => {
        if (!this.#unseen.includes(xid)) this.#unseen.push(xid);
        if (this.#unseen.length > 1_000) this.#unseen = this.#unseen.slice(-1_000);
        this.#isDirty = true;
        listener.wake();
      },
      reached: (lsn) => {
        this.#reached = lsn;
      },
      // Nothing depends on what was missed: the query is run again.
      lost: () => {
        this.#following = undefined;
        this.touch();
      },
    });
  }

  async start(asking: Asking, told: (difference: Difference) => Promise<void> | undefined): Promise<void> {
    await this.#follow();
    for (const difference of await this.step(asking)) await told(difference);
    this.#isFinite = this.#tables.size === 0 && !this.#isBlind;
    // What it reads is known only now, and may have changed since.
    this.#isDirty = !this.#isFinite;
  }

  /** Rows were the caller's to see when the query was run, whatever has become of them. */
  check(): Promise<void> {
    return Promise.resolve();
  }

  async step(asking: Asking): Promise<readonly Difference[]> {
    const { rows, clock } = this.#options;
    this.#isDirty = false;
    try {
      const { tables, isBlind, snapshot, lsn, apply } = await rows.evaluate(asking);
      const isNew = tables.values().some((table) => !this.#tables.has(table));
      for (const table of this.#tables) if (!tables.has(table)) this.#tables.delete(table);
      for (const table of tables) this.#tables.add(table);
      this.#isBlind = isBlind;
      this.#isDirty ||= isNew;
      this.#unseen = this.#unseen.filter((xid) => !isVisible(snapshot, xid));
      this.#evaluatedAt = clock.now();
      this.#evaluatedLsn = lsn;
      return apply();
    } catch (error) {
      this.#isDirty = true;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#following?.[Symbol.dispose]();
  }
}
