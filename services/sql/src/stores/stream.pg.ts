/** The work of one request on its connection: hears the server's messages and tells a script what they mean. */
import { strict as assert } from 'node:assert';

import { binaryEncoder } from '../domain/binary.ts';
import { UnreadableValue } from '../domain/encoder.ts';
import { connectionLost, EFFECTS_KEPT, isEndedByUs, typesUnknown } from '../domain/endings.ts';
import type { Notice, ReportedSetting, SqlError } from '../domain/entries.ts';
import { resultTooLarge } from '../domain/entries.ts';
import type { Bound, Bounds } from '../domain/guard.ts';
import { tookTooLong, tooManyBytes, tooManyRows } from '../domain/guard.ts';
import type { RowForm, RowShape, Script, TransactionStatus } from '../domain/script.ts';
import type { SettingChange } from '../domain/statements.ts';
import { isUtf8Name, unsupported } from '../domain/statements.ts';
import type { Connection, Exchange } from './connection.pg.ts';
import { ABANDONED_GRACE_MS, CANCEL_GRACE_MS } from './connection.pg.ts';
import { CutMessage } from './cut-message.pg.ts';
import type { Explained } from './explain.pg.ts';
import { PlanReader } from './explain.pg.ts';
import { LargeRow } from './large-row.pg.ts';
import { MessageType, readColumns, readError, sqlError, toNotice } from './messages.pg.ts';
import type { DescribeRows } from './row-shapes.pg.ts';
import { describeQuery, MessageReader, runParsed, sync } from './wire.pg.ts';

export interface StreamOptions {
  readonly script: Script;
  /** Most bytes of rows, descriptions and tags in one request. */
  readonly resultBytes: number;
  readonly describeRows: DescribeRows;
  /** A transaction of the request may have types that only it can see. */
  readonly areTypesHidden?: boolean;
  /** The session is the caller's until it ends: it is not reset behind the last statement. */
  readonly isHeld?: boolean;
  /** All values are wanted as PostgreSQL prints them. */
  readonly isText?: boolean;
  /** A statement that answers no rows is refused before it runs. */
  readonly isRowsOnly?: boolean;
  /** The caller's own, of rows, bytes and time. */
  readonly bounds?: Bounds | undefined;
}

const NO_BOUNDS: Bounds = {};

const noRows: SqlError = { message: 'the statement answers no rows', code: '0A000', hint: 'It was not run.' };

type Mode = 'simple' | 'extended' | 'probe' | 'setting' | 'explain';

export class Stream implements Exchange {
  readonly #script: Script;
  readonly #resultBytesMax: number;
  readonly #tooManyBytes: SqlError;
  readonly #rowsMax: Bound | undefined;
  readonly #statementTime: Bound | undefined;
  readonly #describeRows: DescribeRows;
  readonly #areTypesHidden: boolean;
  readonly #isHeld: boolean;
  readonly #isText: boolean;
  readonly #isRowsOnly: boolean;
  #connection: Connection | undefined;
  /** Of rows as the server sent them, and of the rest as it is written. */
  #resultBytes = 0;
  /** The statement's rows, once they are described: not told before there is one, or the end. */
  #untold: RowShape | undefined;
  #form: RowForm | undefined;
  #rows = 0;
  #isStarted = false;
  #largeRow: LargeRow | undefined;
  readonly #cut = new CutMessage();

  #mode: Mode = 'simple';
  #isLast = false;
  #ended: (() => void) | undefined;
  /** The tag of an extended query that is complete, but not yet committed. */
  #tag: string | undefined;
  /** What is sent when the columns of the query are known. */
  #runParsed: ((binary: readonly boolean[]) => Buffer) | undefined;
  #probed: SqlError | undefined;
  #settingFailed: ((reason: string) => Notice) | undefined;
  readonly #reported = new Map<string, string>();

  /** Nothing more of the request is told. */
  #isOver = false;
  #isAbandoned = false;
  /** Why the statement is being canceled. */
  #stop: SqlError | undefined;
  /** Its rows are of no use any more. */
  #isDiscarding = false;
  /** The reading waits for the script. */
  #isHalted = false;
  /** Ends the statement that runs. */
  #late: NodeJS.Timeout | undefined;
  #plan = new PlanReader();

  constructor({
    script,
    resultBytes,
    describeRows,
    areTypesHidden = false,
    isHeld = false,
    isText = false,
    isRowsOnly = false,
    bounds = NO_BOUNDS,
  }: StreamOptions) {
    this.#script = script;
    const { resultBytesMax: ownBytes } = bounds;
    const isOwn = ownBytes !== undefined && ownBytes.value < resultBytes;
    this.#resultBytesMax = isOwn ? ownBytes.value : resultBytes;
    this.#tooManyBytes = isOwn ? tooManyBytes(ownBytes) : resultTooLarge(resultBytes);
    this.#rowsMax = bounds.rowsMax;
    this.#statementTime = bounds.statementTimeMs;
    this.#describeRows = describeRows;
    this.#areTypesHidden = areTypesHidden;
    this.#isHeld = isHeld;
    this.#isText = isText;
    this.#isRowsOnly = isRowsOnly;
  }

  get isOver(): boolean {
    return this.#isOver || this.#isAbandoned;
  }

  get isAbandoned(): boolean {
    return this.#isAbandoned;
  }

  /** The style of dates that the session has told of. */
  get dateStyle(): string | undefined {
    return this.#connection?.parameters.get('DateStyle');
  }

  get transactionStatus(): TransactionStatus {
    return this.#connection?.transactionStatus ?? 'I';
  }

  begin(connection: Connection): void {
    this.#connection = connection;
  }

  notice(notice: Notice): void {
    this.#script.notice(notice);
  }

  refuse(error: SqlError): void {
    if (!this.#isStarted) this.#script.starting(false, false);
    this.#untold = undefined;
    this.#script.error(error);
    this.#isOver = true;
  }

  simple(bytes: Buffer, changes: ReadonlyMap<number, SettingChange>, isLast: boolean): Promise<void> {
    this.#script.begin?.(changes);
    return this.#exchange(bytes, 'simple', isLast);
  }

  extended(bytes: Buffer, isLast: boolean): Promise<void> {
    const ended = this.#exchange(bytes, 'extended', isLast);
    return isLast ? ended : ended.then(() => this.#makeRoom());
  }

  /** Like {@link extended}, but the columns are asked for first, so that some can come in binary form. */
  described(query: string, params: readonly (string | null)[], isLast: boolean): Promise<void> {
    this.#runParsed = (binary) => runParsed(params, binary);
    const ended = this.#exchange(describeQuery(query), 'extended', isLast, false);
    return isLast ? ended : ended.then(() => this.#makeRoom());
  }

  /** Lets the server find the fault in a text, without running it; if it finds none, `own` is the error. */
  probe(bytes: Buffer, own: SqlError, isLast: boolean): Promise<void> {
    this.#probed = own;
    return this.#exchange(bytes, 'probe', isLast);
  }

  async applySetting(bytes: Buffer, failed: (reason: string) => Notice): Promise<void> {
    this.#settingFailed = failed;
    await this.#exchange(bytes, 'setting', false);
    this.#reported.clear();
  }

  /**
   * What the server answers to one EXPLAIN, of which the script hears nothing; undefined if there is no answer and the
   * request is over.
   */
  async explain(bytes: Buffer): Promise<Explained | undefined> {
    if (this.isOver) return undefined;
    this.#plan = new PlanReader();
    await this.#exchange(bytes, 'explain', false);
    this.#reported.clear();
    return this.isOver ? undefined : this.#plan.result();
  }

  #exchange(bytes: Buffer, mode: Mode, isLast: boolean, isWhole = true): Promise<void> {
    assert(this.#connection !== undefined);
    this.#mode = mode;
    this.#isLast = isLast;
    this.#restart();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ended = resolve;
    this.#watchTime();
    this.#connection.send(bytes, this, isLast && isWhole && !this.#isHeld);
    return promise;
  }

  /** A string counts as a whole: the server keeps what it tells of its statements until it is full, or done. */
  #watchTime(): void {
    const bound = this.#statementTime;
    if (bound === undefined || this.#mode === 'setting') return;
    clearTimeout(this.#late);
    this.#late = setTimeout(() => this.stop(tookTooLong(bound)), bound.value);
  }

  /** The next statement begins. */
  #restart(): void {
    this.#isStarted = false;
    this.#untold = undefined;
    this.#form = undefined;
    this.#rows = 0;
  }

  /** The second half of {@link described}: what was parsed runs, unless there is a reason not to. */
  #proceed(binary: readonly boolean[]): void {
    const run = this.#runParsed;
    if (run === undefined) return;
    this.#runParsed = undefined;
    if (this.#stop !== undefined && !this.isOver) this.refuse(this.#stop);
    this.#connection?.proceed(this.isOver ? sync : run(binary), this.#isLast && !this.#isHeld);
  }

  message(type: number, bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    if (this.#mode === 'explain') {
      this.#plan.message(type, bytes, from, to);
      return undefined;
    }
    switch (type) {
      case MessageType.dataRow:
        return this.#dataRow(bytes, from, to);
      case MessageType.rowDescription:
        if (this.#runParsed === undefined) return this.#describe(bytes, from, to);
        this.#proceed(readColumns(bytes, from, to).map(({ oid }) => !this.#isText && binaryEncoder(oid) !== undefined));
        return undefined;
      case MessageType.noData:
        if (this.#isRowsOnly && this.#runParsed !== undefined && !this.isOver) this.refuse(noRows);
        this.#proceed([]);
        return undefined;
      case MessageType.commandComplete:
        return this.#complete(bytes, from, to);
      case MessageType.error:
        this.#fail(bytes, from, to);
        this.#proceed([]);
        return undefined;
      case MessageType.notice:
        if (this.isOver) return undefined;
        this.#script.notice(toNotice(readError(bytes, from, to)));
        return this.#makeRoom();
      case MessageType.parameterStatus: {
        const reader = new MessageReader(bytes, from, to);
        this.#reported.set(reader.text(), reader.text());
        return undefined;
      }
      case MessageType.copyIn:
      case MessageType.copyOut:
      case MessageType.copyBoth:
        // The grammar lets none through; if one comes all the same, the session ends: it has no end that could be waited for.
        this.#stop = unsupported('COPY');
        this.#connection?.destroy();
        return undefined;
      default:
        return undefined;
    }
  }

  piece(type: number, bytes: Buffer, from: number, to: number, left: number): Promise<void> | undefined {
    if (this.#mode === 'explain') {
      this.#plan.piece(type, bytes, from, to);
      return undefined;
    }
    if (type === MessageType.dataRow) return this.#dataRowPiece(bytes, from, to, left);
    if (type !== MessageType.error && type !== MessageType.notice) return undefined;
    const cut = this.#cut.add(bytes, from, to, left);
    return cut === undefined ? undefined : this.message(type, cut, 0, cut.length);
  }

  ended(isLost: boolean): void {
    clearTimeout(this.#late);
    this.#runParsed = undefined;
    const settings = [...this.#reported].map(([name, value]) => ({ name, value }));
    this.#reported.clear();
    // In extended mode, those of a statement that succeeds are told with its completion.
    const isToldApart =
      this.#mode !== 'setting' &&
      this.#mode !== 'explain' &&
      (this.#mode !== 'extended' || this.#tag === undefined || this.isOver);
    if (isToldApart && settings.length > 0 && !this.#isAbandoned && !isLost) this.#script.settings(settings);
    if (isLost && this.#largeRow !== undefined) this.#cutLargeRow();
    if (!this.isOver) {
      if (isLost) this.refuse(this.#stop ?? connectionLost);
      else this.#settle(settings);
    }
    const ended = this.#ended;
    this.#ended = undefined;
    ended?.();
  }

  /** The group has been committed, or has failed: what was held back until then is told. */
  #settle(settings: readonly ReportedSetting[]): void {
    if (this.#mode === 'probe' && this.#probed !== undefined) return this.refuse(this.#probed);
    if (this.#mode === 'extended' && this.#tag !== undefined) {
      const isTooLarge = this.#tellComplete(this.#tag, settings);
      this.#tag = undefined;
      if (isTooLarge) return this.refuse(this.#tooManyBytes);
    }
    // What was to be canceled has ended by itself: only what is still to come is refused.
    if (this.#stop !== undefined && (this.#isDiscarding || !this.#isLast)) this.refuse(this.#stop);
    else if (this.#mode !== 'setting' && this.#mode !== 'explain') this.#checkReading(settings);
  }

  /** `set_config` can do what SET may not. */
  #checkReading(settings: readonly ReportedSetting[]): void {
    for (const { name, value } of settings) {
      if (name === 'client_encoding' && !isUtf8Name(value)) this.refuse(unsupported(`SET client_encoding TO ${value}`));
      else if (name === 'standard_conforming_strings' && value !== 'on') this.refuse(unsupported(`SET ${name} TO ${value}`));
    }
  }

  #describe(bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    if (this.isOver || this.#isDiscarding || this.#mode === 'setting') return undefined;
    if (this.#isStarted) {
      if (this.#untold !== undefined) this.#tellColumns(this.#untold);
      this.#script.continued(`SELECT ${this.#rows}`);
      this.#restart();
    }
    this.#isStarted = true;
    this.#script.starting(true, false);
    const described = this.#describeRows(bytes, from, to, this.#areTypesHidden);
    if (!(described instanceof Promise)) return this.#openRows(described);
    return described.then(
      (shape) => (this.isOver || this.#isDiscarding ? undefined : this.#openRows(shape)),
      () => (this.isOver || this.#isDiscarding ? undefined : this.#discard(typesUnknown)),
    );
  }

  #openRows(shape: RowShape): Promise<void> | undefined {
    this.#untold = shape;
    if (this.#count(shape.description.length)) return this.#discard(this.#tooManyBytes);
    return undefined;
  }

  #tellColumns(shape: RowShape): void {
    this.#untold = undefined;
    this.#form = this.#script.columns(shape);
  }

  #dataRow(bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    if (this.isOver || this.#isDiscarding || this.#mode === 'setting') return undefined;
    if (this.#count(to - from)) return this.#discard(this.#tooManyBytes);
    if (this.#untold !== undefined) this.#tellColumns(this.#untold);
    if (this.#rowsMax !== undefined && this.#rows >= this.#rowsMax.value) return this.#discard(tooManyRows(this.#rowsMax));
    this.#rows += 1;
    try {
      this.#writeRow(bytes, from);
    } catch (error) {
      return this.#discardUnreadable(error);
    }
    return this.#makeRoom();
  }

  /** Whether the result is now too large. */
  #count(length: number): boolean {
    this.#resultBytes += length;
    return this.#resultBytes > this.#resultBytesMax;
  }

  #writeRow(bytes: Buffer, from: number): void {
    const { out } = this.#script;
    const form = this.#form;
    if (form === undefined) return;
    const { encoders, prefixes, nothing } = form;
    this.#script.openRow();
    let at = from + 2;
    for (let column = 0; column < encoders.length; column += 1) {
      const length = bytes.readInt32BE(at);
      at += 4;
      const prefix = prefixes?.[column];
      if (prefix !== undefined) out.bytes(prefix, 0, prefix.length);
      else if (column > 0) out.byte(0x2c);
      if (length < 0) out.bytes(nothing, 0, nothing.length);
      else {
        encoders[column]?.value(out, bytes, at, at + length);
        at += length;
      }
    }
    this.#script.closeRow();
  }

  /** A row that was begun is written to its end, also if the statement is canceled meanwhile: half a row is of no form. */
  #dataRowPiece(bytes: Buffer, from: number, to: number, left: number): Promise<void> | undefined {
    if (this.isOver || this.#mode === 'setting') return undefined;
    if (this.#largeRow === undefined) {
      if (this.#isDiscarding) return undefined;
      if (this.#count(to - from + left)) return this.#discard(this.#tooManyBytes);
      if (this.#rowsMax !== undefined && this.#rows >= this.#rowsMax.value) return this.#discard(tooManyRows(this.#rowsMax));
      if (this.#untold !== undefined) this.#tellColumns(this.#untold);
      if (this.#form === undefined) return undefined;
      this.#rows += 1;
      this.#script.openRow();
      this.#largeRow = new LargeRow(this.#script.out, this.#form);
    }
    try {
      this.#largeRow.write(bytes, from, to);
    } catch (error) {
      return this.#discardUnreadable(error);
    }
    if (left === 0) {
      this.#largeRow = undefined;
      this.#script.closeRow();
    }
    return this.#makeRoom();
  }

  #discardUnreadable(error: unknown): Promise<void> {
    if (!(error instanceof UnreadableValue)) throw error;
    this.#cutLargeRow();
    return this.#discard({ message: `a value cannot be shown: ${error.message}`, code: '54000' });
  }

  #cutLargeRow(): void {
    this.#largeRow = undefined;
    this.#script.cutRow();
  }

  #complete(bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    if (this.isOver || this.#mode === 'setting' || this.#mode === 'probe') return undefined;
    if (this.#isDiscarding && this.#stop !== undefined) {
      this.refuse({ ...this.#stop, detail: EFFECTS_KEPT });
      return undefined;
    }
    const tag = bytes.toString('utf8', from, to - 1);
    if (this.#mode === 'extended') {
      this.#tag = tag;
      if (this.#untold !== undefined) this.#tellColumns(this.#untold);
      return this.#makeRoom();
    }
    if (this.#tellComplete(tag, [])) return this.#discard(this.#tooManyBytes);
    return this.#makeRoom();
  }

  /** Answers whether the result is now too large. */
  #tellComplete(tag: string, settings: readonly ReportedSetting[]): boolean {
    if (this.#untold !== undefined) this.#tellColumns(this.#untold);
    const start = this.#script.out.offset;
    if (!this.#isStarted) this.#script.starting(false, false);
    this.#script.complete(this.#form === undefined ? tag : `SELECT ${this.#rows}`, settings);
    this.#restart();
    return this.#count(this.#script.out.offset - start);
  }

  #fail(bytes: Buffer, from: number, to: number): void {
    if (this.isOver) return;
    const error = readError(bytes, from, to);
    if (this.#mode === 'setting') {
      const notice = this.#settingFailed?.(error.message);
      if (notice !== undefined) this.#script.notice(notice);
      return;
    }
    this.#tag = undefined;
    // The server finds no fault in the text but that it holds several statements, which is no fault here.
    if (this.#mode === 'probe' && this.#probed !== undefined && error.routine === 'exec_parse_message')
      return this.refuse(this.#probed);
    const isCanceled = this.#stop !== undefined && (this.#isDiscarding || isEndedByUs(error.code));
    this.refuse(isCanceled && this.#stop !== undefined ? this.#stop : sqlError(error));
  }

  #makeRoom(): Promise<void> | undefined {
    const behind = this.#script.flush();
    if (behind === undefined) return undefined;
    this.#isHalted = true;
    if (this.#stop !== undefined || this.#isAbandoned) this.#release();
    return this.#untilFlushed(behind);
  }

  async #untilFlushed(behind: Promise<SqlError | undefined>): Promise<void> {
    const error = await behind;
    this.#isHalted = false;
    if (error !== undefined) await this.#discard(error);
  }

  /** A reader who is behind does not keep a canceled statement from ending: what it has not taken is left out. */
  #release(): void {
    if (!this.#isHalted || this.#script.release === undefined) return;
    if (this.#largeRow !== undefined && !this.#isAbandoned) return;
    // Of a statement that has come to its end nothing is left out.
    if (this.#isStarted && this.#tag === undefined) this.#isDiscarding = true;
    this.#script.release();
  }

  /** The rest of the rows is left out, and the statement is canceled; its error will be `error`. */
  #discard(error: SqlError): Promise<void> {
    this.#stop = error;
    this.#isDiscarding = true;
    if (this.#largeRow !== undefined) this.#cutLargeRow();
    if (this.#ended !== undefined) return this.#cancel();
    // Nothing runs: there is nothing but the error to come.
    if (!this.isOver) this.refuse(error);
    return Promise.resolve();
  }

  stop(error: SqlError): void {
    if (this.#stop !== undefined || this.isOver) return;
    this.#stop = error;
    // Between two queries there is nothing to cancel: the next one is not begun.
    if (this.#connection !== undefined && this.#ended === undefined) this.refuse(error);
    else void this.#cancel();
  }

  abandon(): void {
    if (this.#isAbandoned) return;
    this.#isAbandoned = true;
    void this.#cancel();
  }

  /** The reading stops until the server has taken note, so that it does not run on to the next statement. */
  async #cancel(): Promise<void> {
    const connection = this.#connection;
    if (connection === undefined || this.#ended === undefined) return;
    this.#release();
    await connection.cancelExchange(this.#isAbandoned ? ABANDONED_GRACE_MS : CANCEL_GRACE_MS);
  }
}
