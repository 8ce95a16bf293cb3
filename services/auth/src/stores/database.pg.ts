/** A pool whose every statement has a deadline, and whose failures are told in the words of the mesh. */
import { Failure, isFailure } from '@postern/contracts/failure';
import pg from 'pg';

import type { Deadline } from '../domain/ports.ts';

export type Row = Readonly<Record<string, unknown>>;

/** Runs one statement. A statement with a `name` is prepared once per connection. */
export type Query = (text: string, values?: readonly unknown[], name?: string) => Promise<readonly Row[]>;

export interface Database extends AsyncDisposable {
  query(deadline: Deadline, ...statement: Parameters<Query>): ReturnType<Query>;
  /** Commits if `work` resolves; rolls back if it rejects. */
  transact<T>(deadline: Deadline, work: (query: Query) => Promise<T>): Promise<T>;
}

export interface DatabaseOptions {
  readonly url: string;
  readonly connectionsMax: number;
  /** Told of a connection that broke while nobody used it. */
  readonly onIdleError: (error: Error) => void;
}

/** Long enough for a busy moment; whoever waits has a deadline of their own. */
const CONNECT_TIMEOUT_MS = 5_000;
/** What the server itself stops, should a deadline here not reach it. */
const STATEMENT_TIMEOUT_MS = 15_000;

export function openDatabase({ url, connectionsMax, onIdleError }: DatabaseOptions): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: connectionsMax,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    idle_in_transaction_session_timeout: STATEMENT_TIMEOUT_MS,
    keepAlive: true,
    application_name: 'postern-auth',
  });
  pool.on('error', onIdleError);
  // A connection that breaks between two statements has a statement fail next; without this it would end the process.
  pool.on('connect', (client) => void client.on('error', () => {}));

  return {
    async query(deadline, ...statement) {
      const client = await connectWithin(pool, deadline);
      let broken = false;
      try {
        return await run(client, deadline, ...statement);
      } catch (error) {
        broken = isBroken(error);
        throw presentable(error);
      } finally {
        client.release(broken);
      }
    },
    async transact(deadline, work) {
      const client = await connectWithin(pool, deadline);
      let broken = false;
      try {
        await run(client, deadline, 'BEGIN');
        const result = await work((...statement) => run(client, deadline, ...statement));
        await run(client, deadline, 'COMMIT');
        return result;
      } catch (error) {
        broken = isBroken(error) || !(await rollBack(client));
        throw presentable(error);
      } finally {
        client.release(broken);
      }
    },
    [Symbol.asyncDispose]: () => pool.end(),
  };
}

/** A connection that comes after the deadline is handed back. */
async function connectWithin(pool: pg.Pool, deadline: Deadline): Promise<pg.PoolClient> {
  const remainingMs = deadline.remainingMs();
  if (remainingMs <= 0) throw new Failure('TIMEOUT');
  const connecting = pool.connect();
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Failure('TIMEOUT', { cause: 'no connection in time' })), remainingMs);
  try {
    return await Promise.race([connecting, late.promise]);
  } catch (error) {
    connecting.then((client) => client.release()).catch(() => {});
    throw presentable(error);
  } finally {
    clearTimeout(timer);
  }
}

async function run(client: pg.PoolClient, deadline: Deadline, text: string, values?: readonly unknown[], name?: string) {
  const remainingMs = Math.floor(deadline.remainingMs());
  if (remainingMs <= 0) throw new Failure('TIMEOUT');
  const statement = {
    text,
    query_timeout: remainingMs,
    ...(values !== undefined && { values: [...values] }),
    ...(name !== undefined && { name }),
  };
  const { rows } = await client.query<Row>(statement);
  return rows;
}

const ROLLBACK = { text: 'ROLLBACK', query_timeout: 2_000 };

const rollBack = (client: pg.PoolClient): Promise<boolean> =>
  client.query(ROLLBACK).then(
    () => true,
    () => false,
  );

/** PostgreSQL's error codes (appendix A of its manual) of servers that are away, starting, full or read-only. */
const AWAY = /^(08...|57P0[1-5]|53...|55P03|25006|40P01|40001|E[A-Z]+)$/;
/** What the driver says without a code. */
const AWAY_MESSAGE = /^(Connection terminated|timeout exceeded when trying to connect|Client (was closed|has encountered))/;
const LATE_MESSAGE = 'Query read timeout';

const codeOf = (error: Error): string => ('code' in error && typeof error.code === 'string' ? error.code : '');

export const hasCode = (error: unknown, code: string): boolean => error instanceof Error && codeOf(error) === code;

/** Whether the connection cannot be used again. */
function isBroken(error: unknown): boolean {
  if (!(error instanceof Error) || isFailure(error)) return false;
  return !(error instanceof pg.DatabaseError) || /^(08|57P)/.test(codeOf(error));
}

function presentable(error: unknown): unknown {
  if (!(error instanceof Error) || isFailure(error)) return error;
  if (error.message === LATE_MESSAGE || codeOf(error) === '57014') return new Failure('TIMEOUT', { cause: error });
  if (AWAY.test(codeOf(error)) || AWAY_MESSAGE.test(error.message)) {
    return new Failure('UNAVAILABLE', { cause: error, retryAfterSeconds: 1 });
  }
  return error;
}
