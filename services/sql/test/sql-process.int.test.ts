/** The service as a process: how it starts, says that it is there, drains, and how much memory it takes. */
import { sessionRevoked } from '@postern/contracts/session';
import { emit } from '@postern/rpc/events';
import { eventually } from '@postern/testkit/eventually';
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect } from 'vitest';

import { breakableWay, environment, MAIN, processTest as test, residentBytes } from './process-test.ts';
import type { RunningSql } from './sql-test.ts';
import { outcomes } from './sql-test.ts';

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
  const running = sql.simple(alice, 'select pg_sleep(3), 7');
  await eventually(async () =>
    expect(
      outcomes(
        await sql.simple(
          alice,
          "select count(*) from pg_stat_activity where query like 'select pg_sleep(3), 7%' and state = 'active'",
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

test('imm-079: what was begun with a browser session is canceled when that ends', async ({ start, bus, alice }) => {
  const { sql } = await start();
  const mine = { ...alice, principal: { ...alice.principal, sessionId: 'session-number-1' } };
  const running = sql.simple(mine, 'select pg_sleep(40)');
  const active = "select count(*) from pg_stat_activity where query like 'select pg_sleep(40)%' and state = 'active'";
  await eventually(async () => expect(outcomes(await sql.simple(alice, active))).toEqual([[['1']]]));
  const session = await bus('session');
  emit(session, sessionRevoked, { principalId: alice.principal.id, sessionId: 'session-number-1' });
  expect(outcomes(await running)).toEqual(['57014']);
});

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
  600_000,
);
