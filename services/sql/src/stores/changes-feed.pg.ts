/** One subscription: what it has shown, what waits to be shown, and the work of showing it to whoever listens. */
import type { Principal } from '@postern/contracts/common';

import { History } from '../domain/changes-history.ts';
import type { ToldRow } from '../domain/changes-history.ts';
import type { ResumeToken } from '../domain/changes-token.ts';
import { printToken } from '../domain/changes-token.ts';
import type { Column, SqlError } from '../domain/entries.ts';
import { describeColumns } from '../domain/entries.ts';
import { cannotEstimate, estimateFault, EXPLAIN, readEstimate } from '../domain/guard-estimate.ts';
import type { Bounds } from '../domain/guard.ts';
import { needsEstimate, tooManyBytes, tooManyRows } from '../domain/guard.ts';
import { batchTooLarge, TEXT_MAX_BYTES, textFault } from '../domain/statements.ts';
import type { SubscribeRequest, SubscribeStatement, SubscriptionSink } from '../domain/subscribe.ts';
import type { Asking } from './asking.pg.ts';
import { QueryFailure } from './asking.pg.ts';
import { prepareImages } from './changes-images.pg.ts';
import { RequeryRows } from './changes-requery.pg.ts';
import { describe } from './changes-rows.pg.ts';
import type { Source, SourceListener } from './changes-source.pg.ts';
import { ImageSource, RequerySource } from './changes-source.pg.ts';
import type { SubscriptionsOptions } from './changes.pg.ts';
import type { Connection } from './connection.pg.ts';

/** Who looks after what all subscriptions hold. */
export interface FeedKeeper {
  grown(): void;
  /** It cannot go on, and nobody listens. */
  failed(): void;
}

/** Who listens. */
export interface Listening {
  readonly sink: SubscriptionSink;
  readonly hasLeft: boolean;
  readonly stopped: Promise<void>;
  stop(error: SqlError): void;
  check(): void;
  listen(channel: string, heard: () => void): Promise<void>;
}

/** Rows that were told and are kept to be told again: more than what may be under way to a reader. */
const HISTORY_BYTES = 8_388_608;
const FLUSH_BYTES = 65_536;
/** Whoever has changed something may say so on it. */
const CHANNEL = 'postern_changes';
const PROGRESS_MS = 1_000;

const notOneQuery: SqlError = { message: 'SUBSCRIBE takes exactly one SELECT, VALUES or TABLE', code: '42601' };

export class Feed {
  readonly id: string;
  readonly principal: Principal;
  readonly #request: SubscribeRequest<Connection>;
  readonly #options: SubscriptionsOptions;
  readonly #keeper: FeedKeeper;
  #source: Source | undefined;
  #requery: RequerySource | undefined;
  #history: History | undefined;
  #attendance: Listening | undefined;
  /** Somebody is about to listen. */
  #isHeld = true;
  #isStarted = false;
  #error: SqlError | undefined;
  #wake = Promise.withResolvers<void>();
  #expiry: NodeJS.Timeout | undefined;
  /** The next row for the one who listens. */
  #cursor = 0;
  #unflushed = 0;
  #toldProgress = 0n;
  #progressAt = 0;

  constructor(id: string, request: SubscribeRequest<Connection>, options: SubscriptionsOptions, keeper: FeedKeeper) {
    this.id = id;
    this.principal = request.caller.principal;
    this.#request = request;
    this.#options = options;
    this.#keeper = keeper;
  }

  get principalId(): string {
    return this.principal.id;
  }

  get isStarted(): boolean {
    return this.#isStarted;
  }

  get attendance(): Listening | undefined {
    return this.#attendance;
  }

  /** Nobody listens, and somebody may again. */
  get isKept(): boolean {
    return this.#attendance === undefined && !this.#isHeld;
  }

  get mayBeContinued(): boolean {
    return this.#isStarted && this.#error === undefined && this.#source?.isFinite === false;
  }

  get bytes(): number {
    // What has failed is about to be given up.
    if (this.#error !== undefined) return 0;
    return (this.#source?.bytes ?? 0) + (this.#history?.bytes ?? 0);
  }

  isFor(principal: Principal, { text, options }: SubscribeStatement): boolean {
    const { statement } = this.#request;
    return (
      principal.id === this.principal.id &&
      principal.dbRole === this.principal.dbRole &&
      text === statement.text &&
      options.progress === statement.options.progress
    );
  }

  reaches({ number }: ResumeToken): boolean {
    return this.#error === undefined && this.#history?.reaches(number + 1) === true;
  }

  hold(): void {
    this.#isHeld = true;
    clearTimeout(this.#expiry);
  }

  /** Whoever was about to listen could not. */
  release(): void {
    this.#isHeld = false;
  }

  keep(forMs: number, expired: () => void): void {
    this.#expiry = setTimeout(expired, forMs).unref();
  }

  /** It cannot go on, now or when it is to be continued. */
  fail(error: SqlError): void {
    this.#error ??= error;
    this.#source?.[Symbol.dispose]();
    if (this.isKept) this.#keeper.failed();
    else this.#attendance?.stop(this.#error);
  }

  /** Shows rows from this number on, until whoever listens leaves, or it ends with a `QueryFailure`. */
  async attend(attendance: Listening, asking: Asking, from: number): Promise<void> {
    this.#attendance = attendance;
    try {
      this.#cursor = from;
      if (!this.#isStarted) await this.#start(attendance, asking);
      else {
        await this.#checkRights(asking);
        await this.#source?.check(asking);
        this.#showColumns(attendance);
      }
      await this.#listen(attendance);
      await this.#run(attendance, asking);
    } finally {
      this.#attendance = undefined;
      this.#isHeld = false;
    }
  }

  /** Before anything is told again: what was theirs to see may not be any more. */
  async #checkRights(asking: Asking): Promise<void> {
    await asking.ask(['BEGIN READ ONLY'], [`SELECT FROM (${this.#request.statement.query}\n) AS q LIMIT 0`], ['ROLLBACK']);
  }

  /** A channel that is named, or the usual one where the log tells nothing. */
  async #listen(attendance: Listening): Promise<void> {
    const requery = this.#requery;
    if (requery === undefined || requery.isFinite) return;
    const channel = this.#request.statement.options.channel ?? (requery.hasLog ? undefined : CHANNEL);
    if (channel !== undefined) await attendance.listen(channel, () => requery.touch());
  }

  async #start(attendance: Listening, asking: Asking): Promise<void> {
    const { snapshot, progress } = this.#request.statement.options;
    const source = await this.#prepare(attendance, asking);
    this.#source = source;
    const history = new History(source.columns.length, progress, HISTORY_BYTES);
    this.#history = history;
    // A query that fails has no columns: it is answered with its error alone.
    let hasColumns = false;
    const showColumns = (): void => {
      if (!hasColumns) this.#showColumns(attendance);
      hasColumns = true;
    };
    const bounds = this.#options.guard.boundsOf(this.principal);
    const count = counter(bounds);
    let unshown = 0;
    await source.start(asking, (difference) => {
      showColumns();
      count(difference.row);
      if (snapshot) history.add(difference);
      this.#keeper.grown();
      attendance.check();
      unshown += snapshot ? difference.row.length : 0;
      if (unshown < FLUSH_BYTES) return undefined;
      unshown = 0;
      return this.#show(attendance);
    });
    showColumns();
    if (source === this.#requery && !source.isFinite) attendance.sink.notice(merging);
    this.#isStarted = true;
  }

  async #prepare(attendance: Listening, asking: Asking): Promise<Source> {
    const { query } = this.#request.statement;
    await this.#judge(query, asking, attendance);
    await asking.ask(['BEGIN READ ONLY']);
    await this.#estimate(query, asking);
    await asking.ask(['COMMIT']);
    const { describeRows, changeLog, clock, limits } = this.#options;
    const listener: SourceListener = {
      wake: () => this.#wake.resolve(),
      grown: () => {
        this.#keeper.grown();
        return this.#error === undefined;
      },
      fail: (error) => this.fail(error),
    };
    const images = await prepareImages(asking, { query, describeRows });
    if (images !== undefined) {
      const source = new ImageSource(images, changeLog, clock, listener);
      if (await source.follow()) return source;
    }
    const described = await describe(asking, query);
    const rows = new RequeryRows({
      query: described,
      describeRows,
      bytesMax: limits.backlogBytes,
      tooLarge: { message: 'the rows of the query are too many for a subscription', code: '53400' },
      estimate: (current) => this.#estimate(query, current),
      newCount: () => counter(this.#options.guard.boundsOf(this.principal)),
    });
    this.#requery = new RequerySource({ rows, log: changeLog, clock, listener, pollMs: limits.pollMs });
    return this.#requery;
  }

  async #judge(query: string, asking: Asking, attendance: Listening): Promise<void> {
    const fault = textFault(query);
    if (fault !== undefined) throw new QueryFailure(fault);
    if (Buffer.byteLength(query) > TEXT_MAX_BYTES) throw new QueryFailure(batchTooLarge);
    const asker = { principalId: this.principalId, spentMs: 0, isGone: () => attendance.hasLeft };
    const verdict = await this.#options.grammar.judge(query, asker);
    if (verdict.kind === 'unjudged') throw new QueryFailure(verdict.error);
    if (verdict.kind === 'rejected') {
      // The server's own words for it, if it agrees.
      await describe(asking, query);
      throw new QueryFailure(verdict.error);
    }
    if (!verdict.isOneSelect || verdict.forbidden !== undefined) throw new QueryFailure(notOneQuery);
    const bounds = this.#options.guard.boundsOf(this.principal);
    const opaque = verdict.parts.find(({ kind }) => kind === 'opaque');
    if (opaque !== undefined && needsEstimate(bounds)) throw new QueryFailure(cannotEstimate(opaque, bounds));
  }

  /** In a transaction that is open. */
  async #estimate(query: string, asking: Asking): Promise<void> {
    const bounds = this.#options.guard.boundsOf(this.principal);
    if (!needsEstimate(bounds)) return;
    const rows = await asking.ask([`${EXPLAIN}${query}`]);
    const plan = rows[0]?.[0] ?? '';
    const estimate = readEstimate(plan);
    if (estimate === undefined) throw new QueryFailure(notOneQuery);
    const fault = estimateFault(estimate, { bounds, yardstick: await this.#options.yardstick(), plan });
    if (fault !== undefined) throw new QueryFailure(fault);
  }

  #showColumns({ sink }: Listening): void {
    const { progress } = this.#request.statement.options;
    const own = [TIMESTAMP, DIFF, ...(progress ? [PROGRESSED] : [])];
    sink.columns(describeColumns([...own, ...(this.#source?.columns ?? [])]));
  }

  async #run(attendance: Listening, asking: Asking): Promise<void> {
    const { clock } = this.#options;
    const { progress } = this.#request.statement.options;
    for (;;) {
      this.#check(attendance);
      const [source, history] = [this.#source, this.#history];
      if (source === undefined || history === undefined) return;
      await this.#show(attendance);
      this.#check(attendance);
      if (source.isFinite) return attendance.sink.complete('SUBSCRIBE');
      const wait = source.wait();
      if (wait <= 0) {
        for (const difference of await source.step(asking)) history.add(difference);
        this.#keeper.grown();
        continue;
      }
      if (progress && this.#tellProgress(history, source.reached)) continue;
      const late = progress ? Math.min(wait, Math.max(1, this.#progressAt + PROGRESS_MS - clock.now())) : wait;
      await this.#sleep(attendance, late);
    }
  }

  #check(attendance: Listening): void {
    if (this.#error !== undefined) throw new QueryFailure(this.#error);
    attendance.check();
  }

  #tellProgress(history: History, reached: bigint): boolean {
    const { clock } = this.#options;
    const upTo = reached > history.lsn ? reached : history.lsn;
    if (reached === 0n || upTo <= this.#toldProgress || clock.now() - this.#progressAt < PROGRESS_MS) return false;
    this.#toldProgress = upTo;
    this.#progressAt = clock.now();
    history.progress(upTo);
    return true;
  }

  async #sleep(attendance: Listening, ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    await Promise.race([promise, this.#wake.promise, attendance.stopped]);
    clearTimeout(timer);
    this.#wake = Promise.withResolvers();
  }

  /** Shows all that is there; nothing more is shown while the one who listens is behind. */
  async #show(attendance: Listening): Promise<void> {
    const history = this.#history;
    for (let row = history?.at(this.#cursor); row !== undefined && history !== undefined; row = history.at(this.#cursor)) {
      this.#tell(attendance.sink, row);
      this.#cursor += 1;
      history.trim(this.#cursor);
      this.#unflushed += row.bytes.length;
      if (this.#unflushed > FLUSH_BYTES) await this.#flush(attendance);
      this.#check(attendance);
    }
    if (this.#unflushed > 0) await this.#flush(attendance);
  }

  #tell(sink: SubscriptionSink, { number, lsn, isProgress, bytes }: ToldRow): void {
    const token = printToken({ replica: this.#options.replicaId, subscription: this.id, lsn, number });
    if (isProgress) sink.progress(bytes, token);
    else sink.row(bytes, token);
  }

  async #flush(attendance: Listening): Promise<void> {
    this.#unflushed = 0;
    await Promise.race([attendance.sink.flush(), attendance.stopped]);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#expiry);
    this.#source?.[Symbol.dispose]();
    this.#source = undefined;
    this.#history = undefined;
  }
}

const TIMESTAMP: Column = { name: 'mz_timestamp', oid: 1700, length: -1, modifier: -1 };
const DIFF: Column = { name: 'mz_diff', oid: 20, length: 8, modifier: -1 };
const PROGRESSED: Column = { name: 'mz_progressed', oid: 16, length: 1, modifier: -1 };

const merging = {
  message: 'the query is run again when something that it reads has changed: changes in quick succession may be merged',
  code: '00000',
  severity: 'notice',
};

/** The cost guard's bounds of rows and bytes hold for what is there at the start, and for what a query answers whenever it is run. */
function counter({ rowsMax, resultBytesMax }: Bounds): (row: Buffer) => void {
  let [rows, bytes] = [0, 0];
  return (row) => {
    rows += 1;
    bytes += row.length;
    if (rowsMax !== undefined && rows > rowsMax.value) throw new QueryFailure(tooManyRows(rowsMax));
    if (resultBytesMax !== undefined && bytes > resultBytesMax.value) throw new QueryFailure(tooManyBytes(resultBytesMax));
  };
}
