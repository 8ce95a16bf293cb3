/** The session that reads the server's log: what it leaves there when it is closed. */
import net from 'node:net';
import { createLogger } from '@postern/service-kit/log';
import { eventually } from '@postern/testkit/eventually';
import pg from 'pg';
import { expect } from 'vitest';

import { openChangeLog } from '../src/stores/changes-log.pg.ts';
import type { PersonDatabase } from './sql-test.ts';
import { sqlTest as test } from './sql-test.ts';

const log = createLogger({ service: 'sql', level: 'silent' });

interface Slot {
  readonly active: boolean;
  /** Every transaction from here on will be told. */
  readonly isReady: boolean;
}

async function slots(database: PersonDatabase): Promise<readonly Slot[]> {
  const { rows } = await database.query(
    `select active, confirmed_flush_lsn is not null as "isReady" from pg_replication_slots where database = current_database()`,
  );
  return rows as unknown as Slot[];
}

test('when it has been closed, its slot is gone', async ({ database }) => {
  const changes = openChangeLog({ databaseUrl: database.url, log });
  await eventually(async () => expect(await slots(database)).toEqual([{ active: true, isReady: true }]));
  await changes[Symbol.asyncDispose]();
  expect(await slots(database)).toEqual([]);
});

/** The server makes a slot when the transactions of others have ended, and looks at its client no more until then. */
test('the same if it was still waiting for its slot', async ({ database }) => {
  const holder = new pg.Client({ connectionString: database.url });
  await holder.connect();
  await holder.query('begin; select pg_current_xact_id()');
  const changes = openChangeLog({ databaseUrl: database.url, log });
  await eventually(async () => expect(await slots(database)).toEqual([{ active: true, isReady: false }]));
  await changes[Symbol.asyncDispose]();
  expect(await slots(database)).toEqual([]);
  await holder.end();
});

test('and if it had hardly begun', async ({ database }) => {
  for (let round = 0; round < 20; round += 1) {
    const changes = openChangeLog({ databaseUrl: database.url, log });
    if (round % 2 === 1) await database.query(`select pg_sleep(0.00${round % 10})`);
    await changes[Symbol.asyncDispose]();
    expect(await slots(database)).toEqual([]);
  }
});

/** A way to a server that from some moment on says nothing, and hears nothing. */
async function freezingWay(serverUrl: string): Promise<AsyncDisposable & { url: string; freeze(): void }> {
  const url = new URL(serverUrl);
  const [host, port] = [url.hostname, Number(url.port)];
  const sockets = new Set<net.Socket>();
  let isFrozen = false;
  const proxy = net.createServer((client) => {
    const toServer = net.connect(port, host);
    for (const [from, to] of [
      [client, toServer],
      [toServer, client],
    ] as const) {
      sockets.add(from);
      from.on('error', () => {});
      from.on('data', (bytes) => {
        if (!isFrozen) to.write(bytes);
      });
    }
  });
  const listening = Promise.withResolvers<void>();
  proxy.listen(0, '127.0.0.1', listening.resolve);
  await listening.promise;
  const address = proxy.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  url.hostname = '127.0.0.1';
  url.port = String(address.port);
  return {
    url: url.href,
    freeze: () => {
      isFrozen = true;
    },
    [Symbol.asyncDispose]: async () => {
      proxy.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

test('a server that has ceased to answer while it made the slot is not waited for', async ({ database }) => {
  await using way = await freezingWay(database.url);
  await using scope = new AsyncDisposableStack();
  const holder = scope.adopt(new pg.Client({ connectionString: database.url }), (client) => client.end());
  await holder.connect();
  await holder.query('begin; select pg_current_xact_id()');
  const changes = openChangeLog({ databaseUrl: way.url, log });
  await eventually(async () => expect(await slots(database)).toEqual([{ active: true, isReady: false }]));
  way.freeze();
  await changes[Symbol.asyncDispose]();
});
