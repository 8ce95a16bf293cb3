/** `drizzle-orm` on `neon-http` and `neon-serverless`, and on `node-postgres`, which they are compared with. */
import { neon } from '@neondatabase/serverless';
import type { Pool as NeonPool } from '@neondatabase/serverless';
import { DrizzleQueryError, eq, sql } from 'drizzle-orm';
import { drizzle as overHttp } from 'drizzle-orm/neon-http';
import { drizzle as overWebSocket } from 'drizzle-orm/neon-serverless';
import { drizzle as overTcp } from 'drizzle-orm/node-postgres';
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core';
import { integer, pgTable, text } from 'drizzle-orm/pg-core';

import type { Driver, Pair, Transfer } from './driver.ts';
import { directPool, neonPool, plainResult, useOwnServer } from './neon.ts';

const account = pgTable('account', {
  id: integer().primaryKey(),
  owner: text().notNull().unique(),
  balance: integer().notNull(),
});

type Database = PgDatabase<PgQueryResultHKT>;
type Steps = ReturnType<typeof transferSteps>;

const transferSteps = (database: Database, { from, to, amount }: Transfer) =>
  [
    database
      .update(account)
      .set({ balance: sql`${account.balance} - ${amount}` })
      .where(eq(account.id, from))
      .returning(),
    database
      .update(account)
      .set({ balance: sql`${account.balance} + ${amount}` })
      .where(eq(account.id, to))
      .returning(),
  ] as const;

interface Means {
  readonly database: Database;
  /** How it runs both steps of a transfer in one transaction. */
  inTransaction(transfer: Transfer): Promise<unknown>;
  end(): Promise<void>;
}

const interactively =
  (database: Database): Means['inTransaction'] =>
  (transfer) =>
    database.transaction(async (transaction) => {
      const [take, give] = transferSteps(transaction, transfer);
      return [await take, await give];
    });

function driver({ database, inTransaction, end }: Means): Driver {
  const result = (answer: unknown): unknown => plainResult(answer as Parameters<typeof plainResult>[0]);
  return {
    create: (accounts) =>
      database
        .insert(account)
        .values([...accounts])
        .returning(),
    read: (owner) => database.select().from(account).where(eq(account.owner, owner)),
    readAll: () => database.select().from(account).orderBy(account.id),
    update: async (owner, balance) => result(await database.update(account).set({ balance }).where(eq(account.owner, owner))),
    remove: (owner) => database.delete(account).where(eq(account.owner, owner)).returning({ id: account.id }),
    transfer: inTransaction,
    async run(query, values = []) {
      const [first = '', ...rest] = query.split(/\$\d+/);
      const composed = rest.reduce((before, part, index) => sql`${before}${values[index]}${sql.raw(part)}`, sql.raw(first));
      return result(await database.execute(composed));
    },
    [Symbol.asyncDispose]: end,
  };
}

function throughHttp(url: string): Driver {
  useOwnServer();
  const database = overHttp({ client: neon(url) });
  return driver({
    database,
    inTransaction: (transfer) => database.batch(transferSteps(database, transfer) as Steps),
    end: async () => {},
  });
}

function throughWebSocket(url: string): Driver {
  const pool = neonPool(url);
  const database = overWebSocket({ client: pool as unknown as NeonPool });
  return driver({ database, inTransaction: interactively(database), end: () => pool.end() });
}

function direct(url: string, wrap = (transfer: Means['inTransaction']) => transfer): Driver {
  const pool = directPool(url);
  const database = overTcp({ client: pool });
  return driver({ database, inTransaction: wrap(interactively(database)), end: () => pool.end() });
}

/** A batch fails with the error of the driver below, everything else with one that wraps it. */
const asInBatch =
  (transfer: Means['inTransaction']): Means['inTransaction'] =>
  async (what) => {
    try {
      return await transfer(what);
    } catch (error) {
      throw error instanceof DrizzleQueryError ? error.cause : error;
    }
  };

export const drizzleHttp: Pair = {
  name: 'drizzle-orm/neon-http',
  through: throughHttp,
  direct: (url) => direct(url, asInBatch),
};
export const drizzleWebSocket: Pair = {
  name: 'drizzle-orm/neon-serverless',
  through: throughWebSocket,
  direct: (url) => direct(url),
};
