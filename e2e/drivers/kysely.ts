/** `kysely` on `kysely-neon`, on a pool of `@neondatabase/serverless`, and on `pg`, which they are compared with. */
import { neon } from '@neondatabase/serverless';
import type { CompiledQuery as Compiled, Dialect, RawBuilder } from 'kysely';
import { CompiledQuery, Kysely, PostgresDialect, sql } from 'kysely';
import { NeonDialect } from 'kysely-neon';

import type { Account, Driver, Pair, Transfer } from './driver.ts';
import { directPool, neonPool, useOwnServer } from './neon.ts';

interface Schema {
  readonly account: Account;
}

/** A transfer as one statement, for what has no transactions: all of it is done or nothing. */
const asOne = ({ from, to, amount }: Transfer): RawBuilder<unknown> => sql`
  update account set balance = balance + case id when ${from} then ${-amount}::int else ${amount}::int end
  where id in (${from}, ${to})`;

function driver(dialect: Dialect, interactive: boolean): Driver {
  const database = new Kysely<Schema>({ dialect });
  const change = (executor: Kysely<Schema>, id: number, by: number) =>
    executor
      .updateTable('account')
      .set((expression) => ({ balance: expression('balance', '+', by) }))
      .where('id', '=', id)
      .returning('balance')
      .executeTakeFirst();
  return {
    create: (accounts) =>
      database
        .insertInto('account')
        .values([...accounts])
        .returningAll()
        .execute(),
    read: (owner) => database.selectFrom('account').selectAll().where('owner', '=', owner).execute(),
    readAll: () => database.selectFrom('account').selectAll().orderBy('id').execute(),
    update: (owner, balance) => database.updateTable('account').set({ balance }).where('owner', '=', owner).executeTakeFirst(),
    remove: (owner) => database.deleteFrom('account').where('owner', '=', owner).executeTakeFirst(),
    transfer: (transfer) =>
      interactive
        ? database
            .transaction()
            .execute(async (transaction) => [
              await change(transaction, transfer.from, -transfer.amount),
              await change(transaction, transfer.to, transfer.amount),
            ])
        : rowsOf(database, asOne(transfer).compile(database)),
    run: (text, values = []) => rowsOf(database, CompiledQuery.raw(text, [...values])),
    [Symbol.asyncDispose]: () => database.destroy(),
  };
}

/** How many rows a statement touched that changes none is told differently by its dialects. */
const rowsOf = async (database: Kysely<Schema>, query: Compiled): Promise<unknown> => (await database.executeQuery(query)).rows;

const direct =
  (interactive: boolean) =>
  (url: string): Driver =>
    driver(new PostgresDialect({ pool: directPool(url) }), interactive);

function throughHttp(url: string): Driver {
  useOwnServer();
  return driver(new NeonDialect({ neon: neon(url) }), false);
}

export const kyselyHttp: Pair = { name: 'kysely-neon', through: throughHttp, direct: direct(false) };
export const kyselyWebSocket: Pair = {
  name: 'kysely on the Pool of @neondatabase/serverless',
  through: (url) => driver(new PostgresDialect({ pool: neonPool(url) }), true),
  direct: direct(true),
};
