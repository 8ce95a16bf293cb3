/** The service as a process: how it starts, says that it is there, drains, and how much memory it takes. */
import { replicaAnnounced } from '@postern/contracts/mesh';
import type { ReplicaAnnounced } from '@postern/contracts/mesh';
import { listen } from '@postern/rpc/events';
import { createLogger } from '@postern/service-kit/log';
import { connectAs } from '@postern/testkit/bus-test';
import { eventually } from '@postern/testkit/eventually';
import { strict as assert } from 'node:assert';
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import net from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

import type { PersonDatabase, RunningSql } from './sql-test.ts';
import { outcomes, sqlTest as base, talkTo } from './sql-test.ts';

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));

interface Service {
  readonly child: ChildProcess;
  readonly sql: RunningSql;
  /** What its replica has said, the latest last. */
  readonly said: readonly ReplicaAnnounced[];
}

const environment = (
  database: PersonDatabase,
  nats: { readonly url: string; credsFile(user: 'sql'): string },
): NodeJS.ProcessEnv => ({
  PATH: process.env['PATH'],
  NATS_URL: nats.url,
  NATS_CREDS_FILE: nats.credsFile('sql'),
  SQL_DATABASE_URL: database.ownUrl,
  LOG_LEVEL: 'error',
});

const test = base.extend('start', async ({ nats, database, auth }, { onCleanup }) => {
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
    const url = await eventually(() => said.find(({ state }) => state === 'ready')?.url ?? false, { timeoutMs: 20_000 });
    assert(url !== false);
    return { child, said, sql: talkTo(url, auth) };
  };
});

async function output(child: ChildProcess): Promise<{ readonly code: unknown; readonly text: string }> {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const [code] = (await once(child, 'close')) as unknown[];
  return { code, text };
}

test('all mistakes of the configuration are told at once, without a value of it, and end with 78', async ({ database, nats }) => {
  const wrong = {
    SQL_POOL_MAX: 'many',
    SQL_RESULT_BYTES_MAX: '5',
    SQL_DATABASE_URL: 'http://user:hunter2@example.org',
    NATS_CREDS_FILE: '',
  };
  const { code, text } = await output(spawn(process.execPath, [MAIN], { env: { ...environment(database, nats), ...wrong } }));
  expect(code).toBe(78);
  for (const name of Object.keys(wrong)) expect(text).toContain(`${name}: `);
  expect(text).not.toContain('hunter2');
  const crossed = { SQL_POOL_MAX: '2', SQL_POOL_PER_ROLE_MAX: '3', SQL_REQUEST_TIMEOUT_MS: '1', SQL_STATEMENT_TIMEOUT_MS: '2' };
  const second = await output(spawn(process.execPath, [MAIN], { env: { ...environment(database, nats), ...crossed } }));
  expect(second.code).toBe(78);
  expect(second.text).toContain('SQL_POOL_PER_ROLE_MAX: must not exceed');
  expect(second.text).toContain('SQL_REQUEST_TIMEOUT_MS: must not be less');
});

test('a stop finishes what is under way, says so before, and exits with 0', async ({ start, alice }) => {
  const { child, sql, said } = await start({ DRAIN_TIMEOUT_MS: '600000' });
  const exited = once(child, 'exit');
  const running = sql.simple(alice, 'select pg_sleep(1), 7');
  await eventually(async () =>
    expect(
      outcomes(
        await sql.simple(
          alice,
          "select count(*) from pg_stat_activity where query like 'select pg_sleep(1), 7%' and state = 'active'",
        ),
      ),
    ).toEqual([[['1']]]),
  );
  child.kill('SIGTERM');
  expect(outcomes(await running)).toEqual([[['', '7']]]);
  // Long before the deadline of the drain: the connection that was kept alive is shut as soon as its answer is out.
  expect(await exited).toEqual([0, null]);
  expect(said.at(-1)?.state).toBe('draining');
});

test('a replica whose database is away says that it cannot work, and that it can when the database is back', async ({
  start,
  database,
  alice,
}) => {
  const { said, sql } = await start();
  await database.query(`alter database ${new URL(database.url).pathname.slice(1)} allow_connections false`).catch(() => {});
  expect(outcomes(await sql.simple(alice, 'select 1'))).toEqual([[['1']]]);
  const own = new URL(database.ownUrl).username;
  await database.query(`alter role ${own} nologin`);
  await database.query('select pg_terminate_backend(pid) from pg_stat_activity where usename = $1', [own]);
  await eventually(() => said.at(-1)?.state === 'unready');
  await database.query(`alter role ${own} login`);
  await eventually(() => said.at(-1)?.state === 'ready');
});

/** A way to a server that can be broken off and is open again at once. */
async function breakableWay(target: string): Promise<{ readonly url: string; cut(): void } & AsyncDisposable> {
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

/** Whoever was revoked while nothing could be heard would otherwise go on until the end of their request. */
test('what runs is canceled when the bus was away, as a revocation may have been missed', async ({ start, nats, alice }) => {
  await using way = await breakableWay(nats.url);
  const { sql } = await start({ NATS_URL: way.url });
  const running = sql.simple(alice, 'select pg_sleep(50)');
  const active = "select count(*) from pg_stat_activity where query like 'select pg_sleep(50)%' and state = 'active'";
  await eventually(async () => expect(outcomes(await sql.simple(alice, active))).toEqual([[['1']]]));
  way.cut();
  const [entry] = await running;
  expect(entry?.error).toMatchObject({ code: '57014', message: expect.stringContaining('revocation') });
  expect(outcomes(await sql.simple(alice, 'select 1'))).toEqual([[['1']]]);
});

const residentBytes = async (pid: number | undefined, field: 'VmRSS' | 'VmHWM'): Promise<number> => {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) * 1_024;
};

async function countBytes(sql: RunningSql, headers: Record<string, string>, query: string): Promise<number> {
  const response = await fetch(`${sql.origin}/api/sql`, { method: 'POST', headers, body: JSON.stringify({ query }) });
  expect(response.status).toBe(200);
  let bytes = 0;
  const pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array> = response.body ?? [];
  for await (const piece of pieces) bytes += piece.length;
  expect(String(bytes)).toBe(response.headers.get('content-length'));
  return bytes;
}

const MIB = 1_048_576;

test.runIf(process.platform === 'linux')(
  'the size of a result does not show in memory, be it many rows, large rows or too large',
  async ({ start, alice }) => {
    const { child, sql } = await start({ SQL_RESULT_BYTES_MAX: String(150 * MIB) });
    const headers = await sql.headers(alice);
    await countBytes(sql, headers, "select i, repeat('x', 100) from generate_series(1, 20000) i");
    const idle = await residentBytes(child.pid, 'VmRSS');
    const rows = await countBytes(sql, headers, "select i, repeat('x', 1000) from generate_series(1, 120000) i");
    expect(rows).toBeGreaterThan(110 * MIB);
    const values = await countBytes(sql, headers, "select repeat('é', 40000000), decode(repeat('00', 5000000), 'hex')");
    expect(values).toBeGreaterThan(80 * MIB);
    const [error] = await sql.simple(alice, "select repeat('x', 1000) from generate_series(1, 100000000)");
    expect(error?.error?.code).toBe('53200');
    expect((await residentBytes(child.pid, 'VmHWM')) - idle).toBeLessThan(64 * MIB);
  },
  240_000,
);
