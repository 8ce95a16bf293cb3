/** Prisma Client on `@prisma/adapter-neon`, over HTTP and WebSocket, and on `@prisma/adapter-pg`, which it is compared with. */
import { PrismaNeon, PrismaNeonHttp } from '@prisma/adapter-neon';
import { PrismaPg } from '@prisma/adapter-pg';

import type { Driver, Pair, Transfer } from './driver.ts';
import { CONNECTIONS_MAX, useOwnServer } from './neon.ts';
import { PrismaClient } from './prisma/generated/client.ts';

type Adapter = ConstructorParameters<typeof PrismaClient>[0]['adapter'];

/** A transfer as one statement, for what has no transactions: all of it is done or nothing. */
const asOne = (client: PrismaClient, { from, to, amount }: Transfer): Promise<number> => client.$executeRaw`
  update account set balance = balance + case id when ${from} then ${-amount}::int else ${amount}::int end
  where id in (${from}, ${to})`;

function driver(adapter: NonNullable<Adapter>, interactive: boolean): Driver {
  const client = new PrismaClient({ adapter, errorFormat: 'minimal' });
  return {
    create: (accounts) => client.account.createManyAndReturn({ data: [...accounts] }),
    read: (owner) => client.account.findUnique({ where: { owner } }),
    readAll: () => client.account.findMany({ orderBy: { id: 'asc' } }),
    update: (owner, balance) => client.account.updateMany({ where: { owner }, data: { balance } }),
    remove: (owner) => client.account.deleteMany({ where: { owner } }),
    transfer: (transfer) =>
      interactive
        ? client.$transaction(async (transaction) => [
            await transaction.account.update({
              where: { id: transfer.from },
              data: { balance: { decrement: transfer.amount } },
            }),
            await transaction.account.update({ where: { id: transfer.to }, data: { balance: { increment: transfer.amount } } }),
          ])
        : asOne(client, transfer),
    run: (text, values = []) => client.$queryRawUnsafe(text, ...values),
    [Symbol.asyncDispose]: () => client.$disconnect(),
  };
}

const direct =
  (interactive: boolean) =>
  (url: string): Driver =>
    driver(new PrismaPg({ connectionString: url, max: CONNECTIONS_MAX }), interactive);

function throughHttp(url: string): Driver {
  useOwnServer();
  return driver(new PrismaNeonHttp(url, {}), false);
}

function throughWebSocket(url: string): Driver {
  useOwnServer();
  return driver(new PrismaNeon({ connectionString: url, max: CONNECTIONS_MAX }), true);
}

/** Its HTTP adapter passes errors on as they are, the others make kinds of them: the SQLSTATE is in all. */
function sqlStateIn(mistake: unknown): string | undefined {
  const codes = JSON.stringify(mistake).matchAll(/"(?:code|originalCode)":"([0-9A-Z]{5})"/g);
  return [...codes].map(([, code]) => code).find((code) => !/^P\d{4}$/.test(code ?? ''));
}

/** Which constraint it was, one adapter tells by its columns and the other by its name; the server's own words are in both. */
const withoutConstraint = (mistake: unknown): unknown =>
  JSON.parse(JSON.stringify(mistake, (name, value: unknown) => (/^(constraint|message)$/.test(name) ? undefined : value)));

/** It has no geometry, ranges or search, and no lists with gaps; which types else differs from adapter to adapter. */
const knowsNot = (mistake: unknown): boolean => JSON.stringify(mistake).includes('Failed to deserialize column');

export const prismaHttp: Pair = {
  name: '@prisma/adapter-neon over HTTP',
  through: throughHttp,
  direct: direct(false),
  shown: sqlStateIn,
  knowsNot,
};
export const prismaWebSocket: Pair = {
  name: '@prisma/adapter-neon',
  through: throughWebSocket,
  direct: direct(true),
  shown: withoutConstraint,
  knowsNot,
};
