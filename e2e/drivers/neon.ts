/** `@neondatabase/serverless` by itself, and `pg`, which it is compared with. */
import { Pool as NeonPool, neon, neonConfig } from '@neondatabase/serverless';
import type { FullQueryResults } from '@neondatabase/serverless';
import pg from 'pg';

import type { Account, Driver, Pair, Transfer } from './driver.ts';
import { STATEMENTS } from './driver.ts';

/** What users set for a server of their own; without TLS, as on this machine. */
export function useOwnServer(): void {
  neonConfig.fetchEndpoint = (host, port) => `http://${host}:${port}/sql`;
  neonConfig.wsProxy = (host, port) => `${host}:${port}/v2`;
  neonConfig.useSecureWebSocket = false;
}

interface Result {
  readonly command: string;
  readonly rowCount: number | null;
  readonly rows: readonly unknown[];
  readonly fields: readonly object[];
}

/** What of a result is the server's; the rest differs by version of `pg`. */
export const plainResult = (result: Result | readonly Result[]): unknown => {
  if (Array.isArray(result)) return result.map(plainResult);
  const { command, rowCount, rows, fields } = result as Result;
  return { command, rowCount, rows, fields: fields.map((field) => ({ ...field })) };
};

/** `neon()`: one request a query, and one for a transaction. */
function overHttp(url: string): Driver {
  useOwnServer();
  const sql = neon(url, { fullResults: true });
  const run = async (text: string, values?: readonly unknown[]): Promise<FullQueryResults<false>> =>
    sql.query(text, values === undefined ? undefined : [...values]);
  return {
    create: async (accounts) =>
      (await sql.transaction(accounts.map(({ id, owner, balance }) => sql.query(STATEMENTS.insert, [id, owner, balance])))).map(
        plainResult,
      ),
    read: async (owner) => plainResult(await sql`select * from account where owner = ${owner}`),
    readAll: async () => (await run(STATEMENTS.selectAll)).rows as Account[],
    update: async (owner, balance) => plainResult(await run(STATEMENTS.update, [owner, balance])),
    remove: async (owner) => plainResult(await run(STATEMENTS.remove, [owner])),
    async transfer({ from, to, amount }) {
      const [taken, given] = await sql.transaction([
        sql.query(STATEMENTS.take, [from, amount]),
        sql.query(STATEMENTS.give, [to, amount]),
      ]);
      return [taken, given].map((result) => plainResult(result as Result));
    },
    run: async (text, values) => plainResult(await run(text, values)),
    async [Symbol.asyncDispose]() {},
  };
}

/** A pool of `pg`, whatever its connections are made of. */
function overPool(pool: pg.Pool): Driver {
  const run = async (text: string, values?: readonly unknown[]): Promise<unknown> =>
    plainResult(values === undefined ? await pool.query(text) : await pool.query(text, [...values]));
  const inTransaction = async (statements: readonly (readonly [string, readonly unknown[]])[]): Promise<unknown[]> => {
    const client = await pool.connect();
    try {
      await client.query('begin');
      const results: unknown[] = [];
      for (const [text, values] of statements) results.push(plainResult(await client.query(text, [...values])));
      await client.query('commit');
      return results;
    } catch (error) {
      await client.query('rollback');
      throw error;
    } finally {
      client.release();
    }
  };
  return {
    create: (accounts) =>
      inTransaction(accounts.map(({ id, owner, balance }) => [STATEMENTS.insert, [id, owner, balance]] as const)),
    read: (owner) => run(STATEMENTS.select, [owner]),
    readAll: async () => (await pool.query<{ id: number; owner: string; balance: number }>(STATEMENTS.selectAll)).rows,
    update: (owner, balance) => run(STATEMENTS.update, [owner, balance]),
    remove: (owner) => run(STATEMENTS.remove, [owner]),
    transfer: ({ from, to, amount }: Transfer) =>
      inTransaction([
        [STATEMENTS.take, [from, amount]],
        [STATEMENTS.give, [to, amount]],
      ]),
    run,
    [Symbol.asyncDispose]: () => pool.end(),
  };
}

export const CONNECTIONS_MAX = 4;

/**
 * Its classes are those of `pg`, over another kind of socket; TypeScript knows them by other names. It ends when its sockets
 * have: by itself it does not wait for them, and a person who is removed meanwhile is told so on those that are left.
 */
export function neonPool(url: string, max = CONNECTIONS_MAX): pg.Pool {
  useOwnServer();
  const pool = new NeonPool({ connectionString: url, max }) as unknown as pg.Pool;
  const ends: Promise<void>[] = [];
  pool.on('connect', (client) => ends.push(new Promise((resolve) => void client.once('end', resolve))));
  const end: () => Promise<void> = pool.end.bind(pool);
  return Object.assign(pool, {
    async end() {
      await end();
      await Promise.all(ends);
    },
  });
}

export const directPool = (url: string): pg.Pool => new pg.Pool({ connectionString: url, max: CONNECTIONS_MAX });

const direct: Pair['direct'] = (url) => overPool(directPool(url));

export const neonHttp: Pair = { name: 'neon()', through: overHttp, direct };
export const neonWebSocket: Pair = {
  name: 'Pool of @neondatabase/serverless',
  through: (url) => overPool(neonPool(url)),
  direct,
};
