/** Questions of a subscription, one after the other, in a session of its caller's login. */
import type { SqlError } from '../domain/entries.ts';
import type { Bound } from '../domain/guard.ts';
import { tookTooLong } from '../domain/guard.ts';
import type { Connection, Exchange } from './connection.pg.ts';
import { MessageType, readError, sqlError } from './messages.pg.ts';
import { QueryFailure } from './readings.pg.ts';
import { pipelinedQuery, simpleQuery, sync } from './wire.pg.ts';

/** Hears the rows of a group of statements. A promise halts the server. */
export interface RowsListener {
  columns(bytes: Buffer, from: number, to: number): Promise<void> | undefined;
  row(bytes: Buffer, from: number, to: number): Promise<void> | undefined;
}

export type Question = readonly [text: string, parameters?: readonly (string | null)[]];

const CANCEL_GRACE_MS = 1_000;
/** A row has to be held as a whole. */
const ROW_MAX_BYTES = 67_108_864;

const lostError: SqlError = { message: 'the connection to the server was lost', code: '08006' };
const rowTooLarge: SqlError = { message: 'a row is too large for a subscription', code: '54000' };

export class Asking implements Exchange {
  readonly #connection: Connection;
  /** The cost guard's, of each exchange; also the time that a reader takes counts. */
  readonly #timeMax: Bound | undefined;
  #listener: RowsListener | undefined;
  #ended: (() => void) | undefined;
  #error: SqlError | undefined;
  #stopped: SqlError | undefined;
  #grace: NodeJS.Timeout | undefined;
  #pieces: Buffer[] = [];
  #pieceBytes = 0;

  constructor(connection: Connection, timeMax?: Bound) {
    this.#connection = connection;
    this.#timeMax = timeMax;
  }

  /** A statement without rows; also out of a transaction that has failed. */
  command(text: string): Promise<void> {
    return this.#exchange(simpleQuery(text), undefined);
  }

  /** All rows of all the questions, as text; the first that fails has the rest skipped. */
  async ask(...questions: readonly Question[]): Promise<(string | null)[][]> {
    const rows: (string | null)[][] = [];
    await this.listen(
      Buffer.concat([...questions.flatMap(([text, parameters = []]) => pipelinedQuery(text, parameters)), sync]),
      {
        columns: () => undefined,
        row: (bytes, from, to) => void rows.push(readText(bytes, from, to)),
      },
    );
    return rows;
  }

  listen(bytes: Buffer, listener: RowsListener): Promise<void> {
    return this.#exchange(bytes, listener);
  }

  /** What runs is canceled, and nothing more is asked. */
  stop(error: SqlError): void {
    if (this.#stopped !== undefined) return;
    this.#stopped = error;
    if (this.#ended === undefined) return;
    this.#grace = setTimeout(() => void this.#connection.terminate(), CANCEL_GRACE_MS);
    void this.#connection.cancel();
  }

  /** Leaves the session idle, whatever became of what was asked. */
  async tidy(): Promise<void> {
    await this.#connection.quiet();
    if (!this.#connection.isOpen || this.#connection.transactionStatus === 'I') return;
    await this.#send(simpleQuery('ROLLBACK'), undefined);
  }

  async #exchange(bytes: Buffer, listener: RowsListener | undefined): Promise<void> {
    if (this.#stopped !== undefined) throw new QueryFailure(this.#stopped);
    const bound = this.#timeMax;
    const late = bound === undefined ? undefined : setTimeout(() => this.stop(tookTooLong(bound)), bound.value);
    await this.#send(bytes, listener);
    clearTimeout(late);
    if (this.#stopped !== undefined) throw new QueryFailure(this.#stopped);
    if (this.#error !== undefined) throw new QueryFailure(this.#error);
  }

  #send(bytes: Buffer, listener: RowsListener | undefined): Promise<void> {
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
        return this.#hear(() => this.#listener?.columns(bytes, from, to));
      case MessageType.dataRow:
        return this.#hear(() => this.#listener?.row(bytes, from, to));
      case MessageType.error:
        this.#error ??= sqlError(readError(bytes, from, to));
        return undefined;
      case MessageType.copyIn:
      case MessageType.copyOut:
      case MessageType.copyBoth:
        this.#connection.destroy();
        return undefined;
      default:
        return undefined;
    }
  }

  piece(type: number, bytes: Buffer, from: number, to: number, left: number): Promise<void> | undefined {
    if (this.#pieceBytes + to - from + left > ROW_MAX_BYTES) this.#error ??= rowTooLarge;
    if (this.#error === undefined) {
      this.#pieces.push(Buffer.from(bytes.subarray(from, to)));
      this.#pieceBytes += to - from;
    }
    if (left > 0) return undefined;
    const whole = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#pieceBytes = 0;
    return this.#error === undefined ? this.message(type, whole, 0, whole.length) : undefined;
  }

  /** A listener that fails has the rest of the rows read and dropped. */
  #hear(tell: () => Promise<void> | undefined): Promise<void> | undefined {
    if (this.#error !== undefined || this.#stopped !== undefined) return undefined;
    const refuse = (error: unknown): void => {
      if (!(error instanceof QueryFailure)) throw error;
      this.#error = error.error;
    };
    try {
      return tell()?.catch(refuse);
    } catch (error) {
      refuse(error);
      return undefined;
    }
  }

  ended(isLost: boolean): void {
    clearTimeout(this.#grace);
    if (isLost) this.#error ??= lostError;
    this.#listener = undefined;
    const ended = this.#ended;
    this.#ended = undefined;
    ended?.();
  }
}

function readText(bytes: Buffer, from: number, to: number): (string | null)[] {
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
