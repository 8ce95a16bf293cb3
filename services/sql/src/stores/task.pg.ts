/** The work of one request on its connection: hears the server's messages and writes the answer's entries. */
import { strict as assert } from 'node:assert';

import { binaryEncoder } from '../domain/binary.ts';
import { UnreadableValue } from '../domain/encoder.ts';
import type { Notice, ReportedSetting, SqlError } from '../domain/entries.ts';
import { Entries, resultTooLarge } from '../domain/entries.ts';
import { Output } from '../domain/output.ts';
import type { Answer } from '../domain/ports.ts';
import type { SettingChange } from '../domain/statements.ts';
import { invalidText, isUtf8Name, unsupported } from '../domain/statements.ts';
import { createAnswer, Utf8Check } from './answer.fs.ts';
import type { Connection, Exchange } from './connection.pg.ts';
import { LargeRow } from './large-row.pg.ts';
import { MessageType, readColumns, readError, sqlError, toNotice } from './messages.pg.ts';
import type { RunnerLimits } from './query-runner.pg.ts';
import type { DescribeRows, RowShape } from './row-shapes.pg.ts';
import type { Spool } from './spool.fs.ts';
import { openSpool, SpoolFull } from './spool.fs.ts';
import { describeQuery, MessageReader, runParsed, sync } from './wire.pg.ts';

export interface TaskOptions {
  readonly limits: RunnerLimits;
  readonly describeRows: DescribeRows;
  /** A transaction of the request may have types that only it can see. */
  readonly areTypesHidden?: boolean;
}

const NULL = Buffer.from('null');
/** Once an answer is in a file, it goes there in pieces of this size. */
const SPOOL_STEP_BYTES = 262_144;
/** How long a canceled statement may take to end before its session is ended. */
const CANCEL_GRACE_MS = 5_000;
/** The same when nobody waits for its answer any more. */
const ABANDONED_GRACE_MS = 1_000;
/** What is kept of an error or notice that is larger than a message may be. */
const CUT_BYTES = 65_536;

const typesUnknown: SqlError = { message: 'could not look up the types of the result', code: '58000' };

/** What the server says when it was asked to cancel a statement, and when to end a session. */
const ENDED_BY_US: ReadonlySet<string> = new Set(['57014', '57P01']);

type Mode = 'simple' | 'extended' | 'probe' | 'setting';

const NO_CHANGES: ReadonlyMap<number, SettingChange> = new Map();

export class Task implements Exchange {
  readonly #limits: RunnerLimits;
  readonly #describeRows: DescribeRows;
  readonly #areTypesHidden: boolean;
  readonly #out = new Output();
  readonly #entries = new Entries(this.#out);
  readonly #utf8 = new Utf8Check();
  #connection: Connection | undefined;
  #spool: Spool | undefined;
  /** Of rows as the server sent them, and of the rest of the answer as it is written. */
  #resultBytes = 0;
  #row: RowShape | undefined;
  #largeRow: LargeRow | undefined;
  #cut: Buffer[] = [];
  #cutBytes = 0;

  #mode: Mode = 'simple';
  #isLast = false;
  #ended: (() => void) | undefined;
  /** The tag of an extended query that is complete, but not yet committed. */
  #tag: string | undefined;
  /** What is sent when the columns of the query are known. */
  #runParsed: ((binary: readonly boolean[]) => Buffer) | undefined;
  #probed: SqlError | undefined;
  #settingFailed: ((reason: string) => Notice) | undefined;
  #changes: ReadonlyMap<number, SettingChange> = NO_CHANGES;
  #completed = 0;
  /** Where the settings of the statements in `#changes` may be put in. */
  readonly #changeOffsets = new Map<number, number>();
  readonly #reported = new Map<string, string>();

  /** No more entries follow. */
  #isOver = false;
  #isAbandoned = false;
  /** Why the statement is being canceled. */
  #stop: SqlError | undefined;
  /** Its rows are of no use any more. */
  #isDiscarding = false;
  #grace: NodeJS.Timeout | undefined;

  constructor({ limits, describeRows, areTypesHidden = false }: TaskOptions) {
    this.#limits = limits;
    this.#describeRows = describeRows;
    this.#areTypesHidden = areTypesHidden;
  }

  get isOver(): boolean {
    return this.#isOver || this.#isAbandoned;
  }

  get isAbandoned(): boolean {
    return this.#isAbandoned;
  }

  begin(connection: Connection): void {
    this.#connection = connection;
  }

  notice(notice: Notice): void {
    this.#entries.notice(notice);
  }

  refuse(error: SqlError): void {
    this.#entries.fail(error);
    this.#isOver = true;
  }

  simple(bytes: Buffer, changes: ReadonlyMap<number, SettingChange>, isLast: boolean): Promise<void> {
    this.#changes = changes;
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

  /** The style of dates that the session has told of. */
  get dateStyle(): string | undefined {
    return this.#connection?.parameters.get('DateStyle');
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

  #exchange(bytes: Buffer, mode: Mode, isLast: boolean, isWhole = true): Promise<void> {
    assert(this.#connection !== undefined);
    this.#mode = mode;
    this.#isLast = isLast;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ended = resolve;
    this.#connection.send(bytes, this, isLast && isWhole);
    return promise;
  }

  /** The second half of {@link described}: what was parsed runs, unless there is a reason not to. */
  #proceed(binary: readonly boolean[]): void {
    const run = this.#runParsed;
    if (run === undefined) return;
    this.#runParsed = undefined;
    if (this.#stop !== undefined && !this.isOver) this.refuse(this.#stop);
    this.#connection?.proceed(this.isOver ? sync : run(binary), this.#isLast);
  }

  message(type: number, bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    switch (type) {
      case MessageType.dataRow:
        return this.#dataRow(bytes, from, to);
      case MessageType.rowDescription:
        if (this.#runParsed === undefined) return this.#describe(bytes, from, to);
        this.#proceed(readColumns(bytes, from, to).map(({ oid }) => binaryEncoder(oid) !== undefined));
        return undefined;
      case MessageType.noData:
        this.#proceed([]);
        return undefined;
      case MessageType.commandComplete:
        return this.#complete(bytes, from, to);
      case MessageType.error:
        this.#fail(bytes, from, to);
        this.#proceed([]);
        return undefined;
      case MessageType.notice:
        if (!this.isOver) this.#entries.notice(toNotice(readError(bytes, from, to)));
        return undefined;
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
    if (type === MessageType.dataRow) return this.#dataRowPiece(bytes, from, to, left);
    if (type !== MessageType.error && type !== MessageType.notice) return undefined;
    const room = Math.min(to - from, CUT_BYTES - this.#cutBytes);
    if (room > 0) {
      this.#cut.push(Buffer.from(bytes.subarray(from, from + room)));
      this.#cutBytes += room;
    }
    if (left > 0) return undefined;
    const cut = Buffer.concat(this.#cut);
    this.#cut = [];
    this.#cutBytes = 0;
    return this.message(type, cut, 0, cut.length);
  }

  ended(isLost: boolean): void {
    clearTimeout(this.#grace);
    this.#runParsed = undefined;
    const settings = [...this.#reported].map(([name, value]) => ({ name, value }));
    this.#reported.clear();
    if (this.#mode === 'simple' && !this.#isAbandoned) this.#placeSettings(settings);
    if (!this.isOver) {
      if (isLost) this.refuse(this.#stop ?? { message: 'the connection to the server was lost', code: '08006' });
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
      const start = this.#out.offset;
      this.#entries.complete(this.#tag, settings);
      this.#tag = undefined;
      if (this.#count(this.#out.offset - start)) return this.refuse(resultTooLarge(this.#limits.resultBytes));
    }
    // What was to be canceled has ended by itself: only what is still to come is refused.
    if (this.#stop !== undefined && (this.#isDiscarding || !this.#isLast)) this.refuse(this.#stop);
    else if (this.#mode !== 'setting') this.#checkReading(settings);
  }

  /** `set_config` can do what SET may not. */
  #checkReading(settings: readonly ReportedSetting[]): void {
    for (const { name, value } of settings) {
      if (name === 'client_encoding' && !isUtf8Name(value)) this.refuse(unsupported(`SET client_encoding TO ${value}`));
      else if (name === 'standard_conforming_strings' && value !== 'on') this.refuse(unsupported(`SET ${name} TO ${value}`));
    }
  }

  /** In simple mode the server tells of all settings at the end; each goes to the last statement that may have changed it. */
  #placeSettings(settings: readonly ReportedSetting[]): void {
    if (this.#changeOffsets.size === 0) return;
    const byOffset = new Map<number, ReportedSetting[]>();
    for (const setting of settings) {
      const at = this.#offsetOf(setting.name.toLowerCase());
      if (at === undefined) continue;
      const placed = byOffset.get(at);
      if (placed === undefined) byOffset.set(at, [setting]);
      else placed.push(setting);
    }
    for (const [at, placed] of byOffset) this.#entries.insertSettings(at, placed);
    this.#changeOffsets.clear();
  }

  #offsetOf(name: string): number | undefined {
    let own: number | undefined;
    let any: number | undefined;
    for (const [index, at] of this.#changeOffsets) {
      const change = this.#changes.get(index);
      if (change?.name === name) own = at;
      else any = change?.name === undefined ? at : (any ?? at);
    }
    return own ?? any;
  }

  #describe(bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    if (this.isOver || this.#isDiscarding || this.#mode === 'setting') return undefined;
    const described = this.#describeRows(bytes, from, to, this.#areTypesHidden);
    if (!(described instanceof Promise)) return this.#openRows(described);
    return described.then(
      (shape) => (this.isOver || this.#isDiscarding ? undefined : this.#openRows(shape)),
      () => (this.isOver || this.#isDiscarding ? undefined : this.#discard(typesUnknown)),
    );
  }

  #openRows(shape: RowShape): Promise<void> | undefined {
    this.#row = shape;
    this.#entries.openRows(shape.description);
    if (this.#count(shape.description.length)) return this.#discard(resultTooLarge(this.#limits.resultBytes));
    return this.#makeRoom();
  }

  #dataRow(bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    if (this.isOver || this.#isDiscarding || this.#mode === 'setting') return undefined;
    if (this.#count(to - from)) return this.#discard(resultTooLarge(this.#limits.resultBytes));
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
    return this.#resultBytes > this.#limits.resultBytes;
  }

  #writeRow(bytes: Buffer, from: number): void {
    const out = this.#out;
    const encoders = this.#row?.encoders ?? [];
    this.#entries.openRow();
    let at = from + 2;
    for (let column = 0; column < encoders.length; column += 1) {
      const length = bytes.readInt32BE(at);
      at += 4;
      if (column > 0) out.byte(0x2c);
      if (length < 0) out.bytes(NULL, 0, NULL.length);
      else {
        encoders[column]?.value(out, bytes, at, at + length);
        at += length;
      }
    }
    this.#entries.closeRow();
  }

  #dataRowPiece(bytes: Buffer, from: number, to: number, left: number): Promise<void> | undefined {
    if (this.isOver || this.#isDiscarding || this.#mode === 'setting') return undefined;
    if (this.#largeRow === undefined) {
      if (this.#count(to - from + left)) return this.#discard(resultTooLarge(this.#limits.resultBytes));
      this.#entries.openRow();
      this.#largeRow = new LargeRow(this.#out, this.#row?.encoders ?? []);
    }
    try {
      this.#largeRow.write(bytes, from, to);
    } catch (error) {
      return this.#discardUnreadable(error);
    }
    if (left === 0) {
      this.#largeRow = undefined;
      this.#entries.closeRow();
    }
    return this.#makeRoom();
  }

  #discardUnreadable(error: unknown): Promise<void> {
    if (!(error instanceof UnreadableValue)) throw error;
    return this.#discard({ message: `a value cannot be shown: ${error.message}`, code: '54000' });
  }

  #complete(bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    if (this.isOver || this.#mode === 'setting' || this.#mode === 'probe') return undefined;
    if (this.#isDiscarding && this.#stop !== undefined) {
      this.refuse({ ...this.#stop, detail: 'The statement had ended before it could be canceled; its effects are kept.' });
      return undefined;
    }
    const tag = bytes.toString('utf8', from, to - 1);
    if (this.#mode === 'extended') {
      this.#tag = tag;
      return undefined;
    }
    const start = this.#out.offset;
    const at = this.#entries.complete(tag);
    const change = this.#changes.get(this.#completed);
    if (change !== undefined) this.#changeOffsets.set(this.#completed, at);
    this.#completed += 1;
    if (this.#count(this.#out.offset - start)) return this.#discard(resultTooLarge(this.#limits.resultBytes));
    return this.#makeRoom();
  }

  #fail(bytes: Buffer, from: number, to: number): void {
    if (this.isOver) return;
    const error = readError(bytes, from, to);
    if (this.#mode === 'setting') {
      const notice = this.#settingFailed?.(error.message);
      if (notice !== undefined) this.#entries.notice(notice);
      return;
    }
    this.#tag = undefined;
    // The server finds no fault in the text but that it holds several statements, which is no fault here.
    if (this.#mode === 'probe' && this.#probed !== undefined && error.routine === 'exec_parse_message')
      return this.refuse(this.#probed);
    const isCanceled = this.#stop !== undefined && (this.#isDiscarding || ENDED_BY_US.has(error.code));
    this.refuse(isCanceled && this.#stop !== undefined ? this.#stop : sqlError(error));
  }

  /** Keeps at most what may be kept in memory; the rest goes to a file, and the server waits while the disk is behind. */
  #makeRoom(): Promise<void> | undefined {
    const limit = this.#spool === undefined ? this.#limits.spoolBytes : SPOOL_STEP_BYTES;
    return this.#out.heldBytes > limit ? this.#writeToSpool() : undefined;
  }

  async #writeToSpool(): Promise<void> {
    const at = this.#out.takenBytes;
    const chunks = this.#out.take();
    this.#utf8.add(chunks);
    try {
      this.#spool ??= await openSpool(this.#limits.spoolFolder, this.#limits.spoolSpace);
      await this.#spool.write(at, chunks);
      this.#out.recycle(chunks);
    } catch (error) {
      // Entries before the one that fails may be among them.
      this.#out.putBack(chunks);
      await this.#discard(spoolError(error));
    }
  }

  /** The rows so far are taken back, and the statement is canceled; its error will be `error`. */
  #discard(error: SqlError): Promise<void> {
    this.#stop = error;
    this.#isDiscarding = true;
    this.#largeRow = undefined;
    this.#entries.dropRows();
    this.#utf8.restart();
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
    clearTimeout(this.#grace);
    this.#grace = setTimeout(() => void connection.terminate(), this.#isAbandoned ? ABANDONED_GRACE_MS : CANCEL_GRACE_MS);
    await connection.cancel();
  }

  async finish(): Promise<Answer> {
    this.#entries.finish();
    const held = this.#out.held();
    this.#utf8.add(held);
    const spool = this.#spool;
    if (this.#utf8.isValid) {
      return createAnswer({ held, heldFrom: this.#out.takenBytes, insertions: this.#entries.insertions, spool });
    }
    await this.dispose();
    return unreadableAnswer();
  }

  async dispose(): Promise<void> {
    await this.#spool?.[Symbol.asyncDispose]();
    this.#spool = undefined;
  }
}

/** Bytes that are no UTF-8 come from a database without an encoding, or a session that was switched to another. */
function unreadableAnswer(): Answer {
  const out = new Output();
  const entries = new Entries(out);
  entries.fail({ ...invalidText('in the result'), detail: 'Statements may have been completed.' });
  entries.finish();
  return createAnswer({ held: out.held(), heldFrom: 0, insertions: [], spool: undefined });
}

function spoolError(error: unknown): SqlError {
  if (error instanceof SpoolFull) {
    return { message: 'could not keep the result: large results of others take all the room there is for them', code: '53400' };
  }
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ENOSPC' || code === 'EDQUOT'
    ? { message: 'could not keep the result: no space left on the disk of the service', code: '53100' }
    : { message: 'could not keep the result: the disk of the service failed', code: '58030' };
}
