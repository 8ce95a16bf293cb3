/** Questions of the service's own making, one after the other, in a session of a caller's login. */
import { connectionLost } from '../domain/endings.ts';
import type { SqlError } from '../domain/entries.ts';
import type { Bound } from '../domain/guard.ts';
import { tookTooLong } from '../domain/guard.ts';
import type { Connection, Exchange } from './connection.pg.ts';
import { ABANDONED_GRACE_MS } from './connection.pg.ts';
import { CutMessage } from './cut-message.pg.ts';
import { MessageType, readError, sqlError } from './messages.pg.ts';
import { pipelinedQuery, simpleQuery, sync } from './wire.pg.ts';

/** Hears the rows of a group of statements. A promise halts the server; a {@link QueryFailure} has the rest left out. */
export interface RowsListener {
  columns?(bytes: Buffer, from: number, to: number): Promise<void> | undefined;
  /** A row, or a piece of a large one, of which `left` bytes are still to come. */
  row(bytes: Buffer, from: number, to: number, left: number): Promise<void> | undefined;
}

export type Question = readonly [text: string, parameters?: readonly (string | null)[]];

export class QueryFailure extends Error {
  override readonly name = 'QueryFailure';
  readonly error: SqlError;

  constructor(error: SqlError) {
    super(error.message);
    this.error = error;
  }
}

/** Of a row that has to be held as a whole. */
const ROW_MAX_BYTES = 67_108_864;

const rowTooLarge: SqlError = { message: 'a row is too large', code: '54000' };

const NOBODY: RowsListener = { row: () => undefined };

export class Asking implements Exchange {
  readonly #connection: Connection;
  /** The cost guard's, of each exchange; also the time that a reader takes counts. */
  readonly #timeMax: Bound | undefined;
  readonly #cut = new CutMessage();
  #listener = NOBODY;
  #ended: (() => void) | undefined;
  #error: SqlError | undefined;
  #stopped: SqlError | undefined;

  constructor(connection: Connection, timeMax?: Bound) {
    this.#connection = connection;
    this.#timeMax = timeMax;
  }

  /** Whether nothing more is to be asked. */
  get isStopped(): boolean {
    return this.#stopped !== undefined;
  }

  /** Whether nothing more can be asked, as the session is gone. */
  get isLost(): boolean {
    return !this.#connection.isOpen;
  }

  /** Statements without rows; also out of a transaction that has failed. */
  command(text: string): Promise<void> {
    return this.listen(simpleQuery(text), NOBODY);
  }

  /** All rows of all the questions, as text; the first that fails has the rest skipped. */
  async ask(...questions: readonly Question[]): Promise<(string | null)[][]> {
    const rows: (string | null)[][] = [];
    await this.listen(
      Buffer.concat([...questions.flatMap(([text, parameters = []]) => pipelinedQuery(text, parameters)), sync]),
      wholeRows({ row: (bytes, from, to) => void rows.push(readRow(bytes, from, to)) }),
    );
    return rows;
  }

  async listen(bytes: Buffer, listener: RowsListener): Promise<void> {
    if (this.#stopped !== undefined) throw new QueryFailure(this.#stopped);
    const bound = this.#timeMax;
    const late = bound === undefined ? undefined : setTimeout(() => this.stop(tookTooLong(bound)), bound.value);
    await this.#send(bytes, listener);
    clearTimeout(late);
    if (this.#stopped !== undefined) throw new QueryFailure(this.#stopped);
    if (this.#error !== undefined) throw new QueryFailure(this.#error);
  }

  /** What runs is canceled, and nothing more is asked. */
  stop(error: SqlError): void {
    if (this.#stopped !== undefined) return;
    this.#stopped = error;
    if (this.#ended === undefined) return;
    void this.#connection.cancelExchange(ABANDONED_GRACE_MS);
  }

  /** Leaves the session idle, whatever became of what was asked. */
  async tidy(): Promise<void> {
    await this.#connection.quiet();
    if (!this.#connection.isOpen || this.#connection.transactionStatus === 'I') return;
    await this.#send(simpleQuery('ROLLBACK'), NOBODY);
  }

  #send(bytes: Buffer, listener: RowsListener): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ended = resolve;
    this.#listener = listener;
    this.#error = undefined;
    this.#connection.send(bytes, this, false);
    return promise;
  }

  message(type: number, bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    switch (type) {
      case MessageType.rowDescription:
      case MessageType.dataRow:
        return this.#hear(type, bytes, from, to, 0);
      case MessageType.error:
        this.#error ??= sqlError(readError(bytes, from, to));
        return undefined;
      case MessageType.copyIn:
      case MessageType.copyOut:
      case MessageType.copyBoth:
        // It has no end that could be waited for.
        this.#connection.destroy();
        return undefined;
      default:
        return undefined;
    }
  }

  piece(type: number, bytes: Buffer, from: number, to: number, left: number): Promise<void> | undefined {
    if (type === MessageType.dataRow) return this.#hear(type, bytes, from, to, left);
    if (type !== MessageType.error) return undefined;
    const cut = this.#cut.add(bytes, from, to, left);
    return cut === undefined ? undefined : this.message(type, cut, 0, cut.length);
  }

  #hear(type: number, bytes: Buffer, from: number, to: number, left: number): Promise<void> | undefined {
    if (this.#error !== undefined || this.#stopped !== undefined) return undefined;
    const listener = this.#listener;
    try {
      const heard = type === MessageType.dataRow ? listener.row(bytes, from, to, left) : listener.columns?.(bytes, from, to);
      return heard?.catch((error: unknown) => this.#refuse(error));
    } catch (error) {
      this.#refuse(error);
      return undefined;
    }
  }

  /** The listener cannot take more: the rest of the rows is read and dropped. */
  #refuse(error: unknown): void {
    if (!(error instanceof QueryFailure)) throw error;
    this.#error = error.error;
  }

  ended(isLost: boolean): void {
    if (isLost) this.#error ??= connectionLost;
    this.#listener = NOBODY;
    const ended = this.#ended;
    this.#ended = undefined;
    ended?.();
  }
}

/** For a listener that takes no pieces: a large row is held until it is there as a whole. */
export function wholeRows(listener: RowsListener, tooLarge: SqlError = rowTooLarge): RowsListener {
  let pieces: Buffer[] = [];
  let held = 0;
  return {
    columns: (bytes, from, to) => listener.columns?.(bytes, from, to),
    row(bytes, from, to, left) {
      if (left === 0 && held === 0) return listener.row(bytes, from, to, 0);
      if (held + to - from + left > ROW_MAX_BYTES) throw new QueryFailure(tooLarge);
      pieces.push(Buffer.from(bytes.subarray(from, to)));
      held += to - from;
      if (left > 0) return undefined;
      const whole = Buffer.concat(pieces);
      pieces = [];
      held = 0;
      return listener.row(whole, 0, whole.length, 0);
    },
  };
}

/** The values of a whole row as text. */
export function readRow(bytes: Buffer, from: number, to: number): (string | null)[] {
  const values: (string | null)[] = [];
  let at = from + 2;
  while (at < to) {
    const length = bytes.readInt32BE(at);
    at += 4;
    values.push(length < 0 ? null : bytes.toString('utf8', at, at + length));
    if (length > 0) at += length;
  }
  return values;
}
