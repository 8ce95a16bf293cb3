/** SQL over WebSocket in a process of its own: how much memory it takes, and what it does when the bus or it itself is to go. */
import { eventually } from '@postern/testkit/eventually';
import { once } from 'node:events';
import { expect } from 'vitest';

import { breakableWay, processTest as test, residentBytes } from './process-test.ts';
import type { SqlSocket } from './websocket-test.ts';
import { openSocket, shortly, untilStuck } from './websocket-test.ts';

const MIB = 1_048_576;

/** Counts up to the ReadyForQuery, and cancels if it is too much; what is kept of a large result is nothing. */
async function countBytes(socket: SqlSocket, cancelAt = Infinity): Promise<{ readonly bytes: number; readonly error: string }> {
  let bytes = 0;
  let error = '';
  let isCanceled = false;
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.ws.removeAllListeners('message');
  socket.ws.on('message', (data: Buffer) => {
    bytes += data.length;
    if (bytes > cancelAt && !isCanceled) {
      isCanceled = true;
      socket.send({ cancel: true });
    }
    if (data.length > 200) return;
    if (data.includes('"Error"')) error = data.toString();
    if (data.includes('ReadyForQuery')) resolve();
  });
  socket.ws.resume();
  await promise;
  return { bytes, error };
}

test.runIf(process.platform === 'linux')(
  'the size of a result does not show in memory, be its reader fast, slow or stopped',
  async ({ start, alice, database }) => {
    const { child, sql } = await start({ SQL_RESULT_BYTES_MAX: String(8_192 * MIB) });
    await using warm = await openSocket(sql, alice);
    await warm.ask({ query: "select i, repeat('x', 100) from generate_series(1, 20000) i" });
    const idle = await residentBytes(child.pid, 'VmRSS');
    await using socket = await openSocket(sql, alice);
    // 5 GB, of which the reader takes nothing at first, and then as much as it likes.
    socket.ws.pause();
    socket.send({ query: "select i, repeat('x', 1000) from generate_series(1, 5000000) i" });
    await untilStuck(database, socket);
    expect((await residentBytes(child.pid, 'VmHWM')) - idle).toBeLessThan(64 * MIB);
    const resumed = await countBytes(socket, 300 * MIB);
    expect(resumed.bytes).toBeGreaterThan(300 * MIB);
    expect(resumed.error).toContain('57014');
    await using large = await openSocket(sql, alice);
    large.send({ query: "select repeat('é', 40000000), decode(repeat('00', 5000000), 'hex')" });
    expect((await countBytes(large)).bytes).toBeGreaterThan(80 * MIB);
    expect((await residentBytes(child.pid, 'VmHWM')) - idle).toBeLessThan(64 * MIB);
  },
  600_000,
);

test('a break of the bus ends sockets with 1012, as a revocation may have been missed', async ({ start, nats, alice }) => {
  await using way = await breakableWay(nats.url);
  const { sql } = await start({ NATS_URL: way.url });
  const socket = await openSocket(sql, alice);
  socket.send({ query: 'select pg_sleep(50)' });
  way.cut();
  expect(await socket.closed).toMatchObject({ code: 1012 });
  await using again = await openSocket(sql, alice);
  expect(shortly(await again.ask({ query: 'select 1 as a' }))).toContain('Row ["1"]');
});

/** Nothing that was told to be committed is lost, and what runs is not cut off. */
test('a stop of the process finishes the request, then ends its sockets with 1001', async ({ start, alice, database }) => {
  const { child, sql } = await start({ DRAIN_TIMEOUT_MS: '60000' });
  await database.query('create table process_t (a int); grant all on process_t to public');
  const busy = await openSocket(sql, alice);
  const idle = await openSocket(sql, alice);
  busy.send({ query: 'begin; insert into process_t values (1); select pg_sleep(2); commit' });
  await eventually(async () => {
    const { rowCount } = await database.query("select from pg_stat_activity where pid = $1 and state = 'active'", [
      busy.processId,
    ]);
    expect(rowCount).toBe(1);
  });
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  expect(await idle.closed).toMatchObject({ code: 1001 });
  expect(shortly(await busy.untilReady()).slice(-2)).toEqual(['Complete COMMIT', 'Ready I']);
  expect(await busy.closed).toMatchObject({ code: 1001 });
  expect(await exited).toEqual([0, null]);
  expect((await database.query('select a from process_t')).rows).toEqual([{ a: 1 }]);
});
