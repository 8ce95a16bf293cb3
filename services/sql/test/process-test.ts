/** The service as a process of its own. */
import { replicaAnnounced } from '@postern/contracts/mesh';
import type { ReplicaAnnounced } from '@postern/contracts/mesh';
import { listen } from '@postern/rpc/events';
import { createLogger } from '@postern/service-kit/log';
import { connectAs } from '@postern/testkit/bus-test';
import { eventually } from '@postern/testkit/eventually';
import { strict as assert } from 'node:assert';
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import net from 'node:net';
import { fileURLToPath } from 'node:url';

import type { PersonDatabase, RunningSql } from './sql-test.ts';
import { sqlTest, talkTo } from './sql-test.ts';

export const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));

export interface Service {
  readonly child: ChildProcess;
  readonly sql: RunningSql;
  /** What its replica has said, the latest last. */
  readonly said: readonly ReplicaAnnounced[];
}

export const environment = (
  database: PersonDatabase,
  nats: { readonly url: string; credsFile(user: 'sql'): string },
): NodeJS.ProcessEnv => ({
  PATH: process.env['PATH'],
  NATS_URL: nats.url,
  NATS_CREDS_FILE: nats.credsFile('sql'),
  SQL_DATABASE_URL: database.ownUrl,
  LOG_LEVEL: 'error',
});

export const processTest = sqlTest.extend('start', async ({ nats, database, auth }, { onCleanup }) => {
  const scope = new AsyncDisposableStack();
  onCleanup(() => scope.disposeAsync());
  return async (more: NodeJS.ProcessEnv = {}): Promise<Service> => {
    const bus = scope.adopt(await connectAs(nats, 'edge'), (open) => open.close());
    const said: ReplicaAnnounced[] = [];
    scope.use(
      listen(bus, replicaAnnounced, createLogger({ service: 'test', level: 'silent' }), (heard) => {
        if (heard.service === 'sql') said.push(heard);
      }),
    );
    await bus.flush();
    const child = spawn(process.execPath, [MAIN], {
      env: { ...environment(database, nats), ...more },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    scope.defer(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    });
    const url = await eventually(() => said.find(({ state }) => state === 'ready')?.url ?? false, { timeoutMs: 60_000 });
    assert(url !== false);
    return { child, said, sql: talkTo(url, auth) };
  };
});

/** A way to a server that can be broken off and is open again at once. */
export async function breakableWay(target: string): Promise<{ readonly url: string; cut(): void } & AsyncDisposable> {
  const { hostname, port, protocol } = new URL(target);
  const sockets = new Set<net.Socket>();
  const server = net.createServer((near) => {
    const far = net.connect(Number(port), hostname);
    for (const [one, other] of [[near, far] as const, [far, near] as const]) {
      sockets.add(one);
      one.on('error', () => {}).once('close', () => other.destroy());
      one.pipe(other);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert(typeof address === 'object' && address !== null);
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  return {
    url: `${protocol}//127.0.0.1:${address.port}`,
    cut,
    [Symbol.asyncDispose]: async () => {
      cut();
      server.close();
    },
  };
}

export const residentBytes = async (pid: number | undefined, field: 'VmRSS' | 'VmHWM'): Promise<number> => {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) * 1_024;
};
