/** Questions of the service's own making, asked one after the other in a session of the caller's login. */
import type { SqlError } from '../domain/entries.ts';
import type { Inspection, Inspector, Occupation } from '../domain/inspections.ts';
import type { Guard } from '../domain/guard.ts';
import type { Clock } from '../domain/ports.ts';
import type { Revocable } from '../domain/revocation.ts';
import type { Connection, Exchange } from './connection.pg.ts';
import { MessageType, readColumns, readError, sqlError } from './messages.pg.ts';
import type { Sessions } from './sessions.pg.ts';
import { extendedQuery, simpleQuery } from './wire.pg.ts';

export interface ReadingsOptions {
  readonly sessions: Pick<Sessions, 'open'>;
  readonly clock: Clock;
  readonly guard: Pick<Guard, 'enter'>;
  /** Longest time of a whole reading. */
  readonly readingMs: number;
}

export interface Readings extends Revocable {
  /** A {@link QueryFailure} that `work` does not catch is the reading's failure. */
  read<Value>(inspector: Inspector, work: (reader: Reader) => Promise<Value>): Promise<Inspection<Value>>;
  underWay(): readonly Occupation[];
}

/** What hears the rows of one question. */
export interface RowListener {
  columns?(names: readonly string[]): void;
  /** A row, or a piece of a large one, of which `left` bytes are still to come. A promise halts the server. */
  row(bytes: Buffer, from: number, to: number, left: number): Promise<void> | undefined;
}

const CANCEL_GRACE_MS = 1_000;

const timeoutError: SqlError = { message: 'canceling statement due to statement timeout', code: '57014' };
const revokedError: SqlError = { message: 'canceling statement because the credential was revoked', code: '57014' };
const abandonedError: SqlError = { message: 'canceling statement due to user request', code: '57014' };
const lostError: SqlError = { message: 'the connection to the server was lost', code: '08006' };

export class QueryFailure extends Error {
  override readonly name = 'QueryFailure';
  readonly error: SqlError;

  constructor(error: SqlError) {
    super(error.message);
    this.error = error;
  }
}

export function createReadings({ sessions, clock, guard, readingMs }: ReadingsOptions): Readings {
  const underWay = new Set<UnderWay>();
  const readInSession = async <Value>(
    inspector: Inspector,
    work: (reader: Reader) => Promise<Value>,
  ): Promise<Inspection<Value>> => {
    const { caller, gone } = inspector;
    const session = await sessions.open(caller, gone);
    if (session.kind === 'refused') return { kind: 'sessionRefused', error: session.error, isDenied: session.isDenied };
    const { connection, giveBack } = session.lease;
    const reader = new Reader(connection);
    const entry = { inspector, reader, since: clock.now() };
    underWay.add(entry);
    const deadline = setTimeout(() => reader.stop(timeoutError), readingMs);
    let isGone = false;
    void gone.then(() => {
      isGone = true;
      reader.stop(abandonedError);
    });
    try {
      return { kind: 'read', value: await work(reader) };
    } catch (error) {
      if (isGone) return { kind: 'abandoned' };
      if (error instanceof QueryFailure) return { kind: 'failed', error: error.error };
      throw error;
    } finally {
      clearTimeout(deadline);
      underWay.delete(entry);
      const cleaned = connection.clean();
      giveBack(cleaned);
      await cleaned.catch(() => false);
    }
  };
  return {
    async read(inspector, work) {
      const admission = guard.enter(inspector.caller.principal);
      if (admission.kind === 'refused') return { kind: 'failed', error: admission.error };
      return readInSession(inspector, work).finally(admission.leave);
    },
    revokeWhere(isRevoked) {
      for (const { inspector, reader } of underWay) if (isRevoked(inspector.caller.principal)) reader.stop(revokedError);
    },
    revokeAll() {
      for (const { reader } of underWay) reader.stop(revokedError);
    },
    underWay: () =>
      [...underWay].map(({ inspector, since }) => ({
        principalId: inspector.caller.principal.id,
        role: inspector.caller.principal.dbRole,
        forMs: Math.round(clock.now() - since),
      })),
  };
}

interface UnderWay {
  readonly inspector: Inspector;
  readonly reader: Reader;
  readonly since: number;
}

const NOBODY: RowListener = { row: () => undefined };

export class Reader implements Exchange {
  readonly #connection: Connection;
  #listener: RowListener = NOBODY;
  #ended: ((error: SqlError | undefined) => void) | undefined;
  #error: SqlError | undefined;
  #stopped: SqlError | undefined;
  #grace: NodeJS.Timeout | undefined;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Statements without rows. */
  command(text: string): Promise<void> {
    return this.#exchange(simpleQuery(text), NOBODY);
  }

  /** Exactly one statement, its values as text. */
  ask(text: string, listener: RowListener): Promise<void> {
    return this.#exchange(extendedQuery(text, []), listener);
  }

  /** The rows of one statement, for questions that have few. */
  async rows(text: string): Promise<(string | null)[][]> {
    const rows: (string | null)[][] = [];
    await this.ask(text, {
      row: (bytes, from, to, left) => {
        if (left > 0) throw new QueryFailure({ message: 'a row is too large', code: '54000' });
        rows.push(readRow(bytes, from, to));
        return undefined;
      },
    });
    return rows;
  }

  /** Whether nothing more is to be asked. */
  get isStopped(): boolean {
    return this.#stopped !== undefined;
  }

  /** What runs is canceled, and nothing more is asked. */
  stop(error: SqlError): void {
    if (this.#stopped !== undefined) return;
    this.#stopped = error;
    if (this.#ended === undefined) return;
    this.#grace = setTimeout(() => void this.#connection.terminate(), CANCEL_GRACE_MS);
    void this.#connection.cancel();
  }

  async #exchange(bytes: Buffer, listener: RowListener): Promise<void> {
    if (this.#stopped !== undefined) throw new QueryFailure(this.#stopped);
    const { promise, resolve } = Promise.withResolvers<SqlError | undefined>();
    this.#ended = resolve;
    this.#listener = listener;
    this.#error = undefined;
    this.#connection.send(bytes, this, false);
    const error = await promise;
    if (this.#stopped !== undefined) throw new QueryFailure(this.#stopped);
    if (error !== undefined) throw new QueryFailure(error);
  }

  message(type: number, bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    switch (type) {
      case MessageType.dataRow:
        return this.#row(bytes, from, to, 0);
      case MessageType.rowDescription:
        this.#listener.columns?.(readColumns(bytes, from, to).map(({ name }) => name));
        return undefined;
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
    if (type === MessageType.dataRow) return this.#row(bytes, from, to, left);
    if (type === MessageType.error)
      this.#error ??= { message: 'the error of the server is too large to be shown', code: 'XX000' };
    return undefined;
  }

  #row(bytes: Buffer, from: number, to: number, left: number): Promise<void> | undefined {
    if (this.#error !== undefined || this.#stopped !== undefined) return undefined;
    try {
      return this.#listener.row(bytes, from, to, left)?.catch((error: unknown) => this.#refuse(error));
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
    clearTimeout(this.#grace);
    this.#listener = NOBODY;
    const ended = this.#ended;
    this.#ended = undefined;
    ended?.(isLost ? (this.#error ?? lostError) : this.#error);
  }
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
