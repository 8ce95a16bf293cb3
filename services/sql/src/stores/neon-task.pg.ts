/**
 * The work of one request of the Neon driver's protocol on its connection: one group of messages, one answer. A single
 * query is one round trip. The COMMIT of a batch is sent when all its results are there: what becomes of the answer
 * before that, if it is too large or nobody waits for it any more, becomes of the transaction.
 */
import { strict as assert } from 'node:assert';

import { connectionLost, EFFECTS_KEPT, isEndedByUs, typesUnknown } from '../domain/endings.ts';
import { UnreadableValue } from '../domain/encoder.ts';
import type { SqlError } from '../domain/entries.ts';
import type { Bounds } from '../domain/guard.ts';
import { tookTooLong, tooManyBytes, tooManyRows } from '../domain/guard.ts';
import type { NeonError, NeonOutcome, NeonQuery, NeonRequest } from '../domain/neon.ts';
import { beginBatch, copyRefused, readTag } from '../domain/neon.ts';
import type { Output } from '../domain/output.ts';
import { invalidText, isUtf8Name, unsupported } from '../domain/statements.ts';
import type { Connection, Exchange } from './connection.pg.ts';
import { ABANDONED_GRACE_MS, CANCEL_GRACE_MS } from './connection.pg.ts';
import { CutMessage } from './cut-message.pg.ts';
import { LargeRow } from './large-row.pg.ts';
import { MessageType, readFields } from './messages.pg.ts';
import type { DescribeNeonRows, NeonRows } from './neon-rows.pg.ts';
import type { RunnerLimits } from './query-runner.pg.ts';
import { SpooledOutput } from './spooled-output.fs.ts';
import { extendedQuery, flush, MessageReader, pipelinedQuery, sync } from './wire.pg.ts';

export type NeonLimits = Omit<RunnerLimits, 'resultBytes'> & {
  /** Bytes of an answer; a larger one is never sent. */
  readonly answerBytes: number;
};

export interface NeonTaskOptions {
  readonly limits: NeonLimits;
  readonly describeRows: DescribeNeonRows;
}

const NO_BOUNDS: Bounds = {};

const EMPTY_QUERY = 0x49;
const NO_FIELDS = Buffer.from('[]');

/** The server tells of an encoding when all is done. */
const DONE = 'Statements may have been completed.';

export class NeonTask implements Exchange {
  readonly #request: NeonRequest;
  readonly #limits: NeonLimits;
  readonly #describeRows: DescribeNeonRows;
  readonly #output: SpooledOutput;
  readonly #out: Output;
  #connection: Connection | undefined;
  /** What comes before the queries of a batch. */
  readonly #prelude: readonly string[];
  /** Which query answers now; negative in the prelude. */
  #turn: number;
  /** The rest of a batch is still to be sent. */
  #isHalf = false;
  #isCommitting = false;
  #rows: NeonRows | undefined;
  #rowCount = 0;
  #largeRow: LargeRow | undefined;
  readonly #cut = new CutMessage();
  #ended: (() => void) | undefined;

  /** Why there will be no answer with rows. */
  #error: NeonError | undefined;
  #isTooLarge = false;
  #isAbandoned = false;
  /** Why the statement is being canceled. */
  #stop: NeonError | undefined;
  /** What the group still brings is of no use. */
  #isDiscarding = false;
  #encoding: string | undefined;
  #bounds = NO_BOUNDS;
  #late: NodeJS.Timeout | undefined;

  constructor(request: NeonRequest, { limits, describeRows }: NeonTaskOptions) {
    this.#request = request;
    this.#limits = limits;
    this.#output = new SpooledOutput(limits);
    this.#out = this.#output.out;
    this.#describeRows = describeRows;
    this.#prelude = request.batch === undefined ? [] : beginBatch(request.batch);
    this.#turn = -this.#prelude.length;
  }

  get isOver(): boolean {
    return this.#error !== undefined || this.#isAbandoned;
  }

  refuse(error: NeonError): void {
    this.#error ??= error;
  }

  /** Resolves when the whole group is committed, or has failed. */
  run(connection: Connection, bounds: Bounds = NO_BOUNDS): Promise<void> {
    this.#connection = connection;
    this.#bounds = bounds;
    this.#startClock();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ended = resolve;
    const { queries, batch } = this.#request;
    if (batch === undefined) {
      const [only] = queries;
      assert(only !== undefined);
      connection.send(extendedQuery(only.query, only.params), this, true);
    } else {
      this.#out.ascii('{"results":[');
      this.#isHalf = true;
      const prelude = this.#prelude.flatMap((text) => pipelinedQuery(text, []));
      connection.send(Buffer.concat([...prelude, ...queries.flatMap(pipelined), flush]), this, false);
    }
    return promise;
  }

  /** Each statement has its own time. */
  #startClock(): void {
    const bound = this.#bounds.statementTimeMs;
    if (bound === undefined) return;
    clearTimeout(this.#late);
    this.#late = setTimeout(() => this.stop(toNeonError(tookTooLong(bound))), bound.value);
  }

  message(type: number, bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    switch (type) {
      case MessageType.dataRow:
        return this.#dataRow(bytes, from, to);
      case MessageType.rowDescription:
        return this.#describe(bytes, from, to);
      case MessageType.noData:
        if (this.#query === undefined || this.#isDone) return undefined;
        return this.#openResult(undefined);
      case MessageType.commandComplete:
        return this.#complete(bytes.toString('latin1', from, to - 1));
      case EMPTY_QUERY:
        return this.#complete('');
      case MessageType.error:
        this.#fail(readNeonError(bytes, from, to));
        this.#proceed();
        return undefined;
      case MessageType.parameterStatus: {
        const reader = new MessageReader(bytes, from, to);
        if (reader.text() === 'client_encoding') this.#encoding = reader.text();
        return undefined;
      }
      case MessageType.copyIn:
      case MessageType.copyOut:
      case MessageType.copyBoth:
        // None gets this far; if one does all the same, the session ends: it has no end that could be waited for.
        this.#stop = copyRefused;
        this.#connection?.destroy();
        return undefined;
      default:
        return undefined;
    }
  }

  piece(type: number, bytes: Buffer, from: number, to: number, left: number): Promise<void> | undefined {
    if (type === MessageType.dataRow) return this.#dataRowPiece(bytes, from, to, left);
    if (type !== MessageType.error) return undefined;
    const cut = this.#cut.add(bytes, from, to, left);
    return cut === undefined ? undefined : this.message(type, cut, 0, cut.length);
  }

  ended(isLost: boolean): void {
    clearTimeout(this.#late);
    if (isLost) this.refuse(this.#stop ?? { ...toNeonError(connectionLost), severity: 'FATAL' });
    else if (this.#stop !== undefined && this.#request.batch !== undefined && !this.#isCommitting) this.refuse(this.#stop);
    else if (this.#isDiscarding && this.#stop !== undefined) this.refuse({ ...this.#stop, detail: EFFECTS_KEPT });
    else if (this.#encoding !== undefined && !isUtf8Name(this.#encoding))
      this.refuse({ ...toNeonError(unsupported(`SET client_encoding TO ${this.#encoding}`)), detail: DONE });
    const ended = this.#ended;
    this.#ended = undefined;
    ended?.();
  }

  get #query(): NeonRequest['queries'][number] | undefined {
    return this.#request.queries[this.#turn];
  }

  get #isDone(): boolean {
    return this.isOver || this.#isDiscarding;
  }

  #describe(bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    const query = this.#query;
    if (query === undefined || this.#isDone) return undefined;
    const { isArrayMode } = query;
    const described = this.#describeRows(bytes, from, to, { isRawText: this.#request.isRawText, isArrayMode });
    if (!(described instanceof Promise)) return this.#openResult(described);
    return described.then(
      (rows) => (this.#isDone ? undefined : this.#openResult(rows)),
      () => this.#discard(toNeonError(typesUnknown)),
    );
  }

  #openResult(rows: NeonRows | undefined): Promise<void> | undefined {
    const out = this.#out;
    if (this.#turn > 0) out.byte(0x2c);
    this.#rows = rows;
    this.#rowCount = 0;
    const fields = rows?.fields ?? NO_FIELDS;
    out.ascii('{"fields":');
    out.bytes(fields, 0, fields.length);
    out.ascii(',"rows":[');
    return this.#makeRoom();
  }

  #openRow(): void {
    const out = this.#out;
    if (this.#rowCount > 0) out.byte(0x2c);
    this.#rowCount += 1;
    out.byte(this.#query?.isArrayMode === true ? 0x5b : 0x7b);
  }

  #closeRow(): void {
    this.#out.byte(this.#query?.isArrayMode === true ? 0x5d : 0x7d);
  }

  #dataRow(bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    if (this.#isDone || this.#rows === undefined) return undefined;
    const excess = this.#excess(to - from);
    if (excess !== undefined) return excess;
    const out = this.#out;
    const { encoders, prefixes, nothing } = this.#rows;
    this.#openRow();
    let at = from + 2;
    try {
      for (let column = 0; column < encoders.length; column += 1) {
        const prefix = prefixes[column];
        if (prefix !== undefined) out.bytes(prefix, 0, prefix.length);
        const length = bytes.readInt32BE(at);
        at += 4;
        if (length < 0) out.bytes(nothing, 0, nothing.length);
        else {
          encoders[column]?.value(out, bytes, at, at + length);
          at += length;
        }
      }
    } catch (error) {
      return this.#discardUnreadable(error);
    }
    this.#closeRow();
    return this.#makeRoom();
  }

  #dataRowPiece(bytes: Buffer, from: number, to: number, left: number): Promise<void> | undefined {
    if (this.#isDone || this.#rows === undefined) return undefined;
    if (this.#largeRow === undefined) {
      const excess = this.#excess(to - from + left);
      if (excess !== undefined) return excess;
      this.#openRow();
      this.#largeRow = new LargeRow(this.#out, { ...this.#rows, nothing: Buffer.from('null') });
    }
    try {
      this.#largeRow.write(bytes, from, to);
    } catch (error) {
      return this.#discardUnreadable(error);
    }
    if (left === 0) {
      this.#largeRow = undefined;
      this.#closeRow();
    }
    return this.#makeRoom();
  }

  /** What is done about a row of so many bytes, if it is one too many. */
  #excess(bytes: number): Promise<void> | undefined {
    const { rowsMax, resultBytesMax } = this.#bounds;
    const total = this.#out.offset + bytes;
    if (rowsMax !== undefined && this.#rowCount >= rowsMax.value) return this.#discard(toNeonError(tooManyRows(rowsMax)));
    if (resultBytesMax !== undefined && total > resultBytesMax.value)
      return this.#discard(toNeonError(tooManyBytes(resultBytesMax)));
    return total > this.#limits.answerBytes ? this.#discardTooLarge() : undefined;
  }

  #complete(tag: string): Promise<void> | undefined {
    const query = this.#query;
    this.#startClock();
    this.#turn += 1;
    let room: Promise<void> | undefined;
    if (query !== undefined && !this.#isDone) {
      this.#rows = undefined;
      const { command, rowCount } = readTag(tag);
      this.#out.ascii(`],"command":${JSON.stringify(command)},"rowCount":${rowCount},"rowAsArray":${query.isArrayMode}}`);
      room = this.#makeRoom();
    }
    if (this.#turn !== this.#request.queries.length) return room;
    if (room === undefined) return this.#proceed();
    return room.then(() => this.#proceed());
  }

  /** The second half of a batch: after an error, or without a use for its results, there is nothing to commit. */
  #proceed(): undefined {
    if (!this.#isHalf) return;
    this.#isHalf = false;
    if (this.#isDone || this.#stop !== undefined) this.#connection?.proceed(sync, false);
    else {
      this.#isCommitting = true;
      this.#connection?.proceed(Buffer.concat([...pipelinedQuery('COMMIT', []), sync]), true);
    }
  }

  #fail(error: NeonError): void {
    if (this.#error !== undefined) return;
    const isOurs = this.#stop !== undefined && (this.#isDiscarding || isEndedByUs(error.code));
    this.refuse(isOurs && this.#stop !== undefined ? this.#stop : error);
  }

  /** Keeps at most what may be kept in memory; the rest goes to a file, and the server waits while the disk is behind. */
  #makeRoom(): Promise<void> | undefined {
    if (this.#out.offset > this.#limits.answerBytes) return this.#discardTooLarge();
    return this.#output.isFull ? this.#write() : undefined;
  }

  async #write(): Promise<void> {
    const error = await this.#output.write();
    if (error !== undefined) await this.#discard(toNeonError(error));
  }

  #discardTooLarge(): Promise<void> {
    this.#isTooLarge = true;
    return this.#discard({ message: `response is too large (max is ${this.#limits.answerBytes} bytes)` });
  }

  #discardUnreadable(error: unknown): Promise<void> {
    if (!(error instanceof UnreadableValue)) throw error;
    return this.#discard({ message: `a value cannot be shown: ${error.message}`, severity: 'ERROR', code: '54000' });
  }

  /** There will be no answer: the statement is canceled, and `error` is told of. */
  #discard(error: NeonError): Promise<void> {
    this.#stop = error;
    this.#isDiscarding = true;
    this.#largeRow = undefined;
    return this.#cancel();
  }

  stop(error: NeonError): void {
    if (this.#stop !== undefined || this.isOver) return;
    this.#stop = error;
    if (this.#connection === undefined) this.refuse(error);
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
    await connection.cancelExchange(this.#isAbandoned ? ABANDONED_GRACE_MS : CANCEL_GRACE_MS);
  }

  async finish(): Promise<NeonOutcome> {
    if (this.#isAbandoned) {
      await this.dispose();
      return { kind: 'abandoned' };
    }
    if (this.#error === undefined) {
      if (this.#request.batch !== undefined) this.#out.ascii(']}');
      const answer = this.#output.finish();
      if (answer !== undefined) return { kind: 'answered', answer };
      this.#error = toNeonError({ ...invalidText('in the result'), detail: DONE });
    }
    await this.dispose();
    return { kind: this.#isTooLarge ? 'tooLarge' : 'failed', error: this.#error };
  }

  dispose(): Promise<void> {
    return this.#output.dispose();
  }
}

const pipelined = ({ query, params }: NeonQuery): Buffer[] => pipelinedQuery(query, params);

export const toNeonError = ({ message, code, detail, hint, position }: SqlError): NeonError => ({
  message,
  severity: 'ERROR',
  code,
  detail,
  hint,
  position: position?.toString(),
});

/** All that the server says of an error. */
function readNeonError(bytes: Buffer, from: number, to: number): NeonError {
  const fields = readFields(bytes, from, to);
  return {
    message: fields.get('M') ?? '',
    severity: fields.get('S'),
    code: fields.get('C'),
    detail: fields.get('D'),
    hint: fields.get('H'),
    position: fields.get('P'),
    internalPosition: fields.get('p'),
    internalQuery: fields.get('q'),
    where: fields.get('W'),
    schema: fields.get('s'),
    table: fields.get('t'),
    column: fields.get('c'),
    dataType: fields.get('d'),
    constraint: fields.get('n'),
    file: fields.get('F'),
    line: fields.get('L'),
    routine: fields.get('R'),
  };
}
