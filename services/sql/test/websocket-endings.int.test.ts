/** SQL over WebSocket: what is canceled, and how sockets end. */
import { cancelRequested } from '@postern/contracts/edge';
import { sessionRevoked } from '@postern/contracts/session';
import { emit, emitAndWait } from '@postern/rpc/events';
import { eventually } from '@postern/testkit/eventually';
import net from 'node:net';
import pg from 'pg';
import { describe, expect } from 'vitest';

import type { PersonDatabase } from './sql-test.ts';
import { sqlTest as test } from './sql-test.ts';
import type { SqlSocket } from './websocket-test.ts';
import { last, openSocket, rawSocket, shortly, untilStuck } from './websocket-test.ts';

const SLEEP = { query: 'select pg_sleep(30)' };
const canceled = { message: 'canceling statement due to user request', code: '57014' };
/** More than the buffers of all sockets between hold; the limit of a result is not to end it first. */
const ROOMY = { limits: { resultBytes: 1_000_000_000_000 } };
const LARGE = { query: "select repeat('x', 100000) from generate_series(1, 100000)" };

async function isRunning(database: PersonDatabase, { processId }: Pick<SqlSocket, 'processId'>): Promise<boolean> {
  const { rowCount } = await database.query("select from pg_stat_activity where pid = $1 and state = 'active'", [processId]);
  return rowCount === 1;
}

/** It sleeps: whatever the server says before the rows of a statement has been said, if only to its own buffer. */
const untilAsleep = (database: PersonDatabase, { processId }: Pick<SqlSocket, 'processId'>): Promise<void> =>
  eventually(async () => {
    const { rows } = await database.query('select wait_event from pg_stat_activity where pid = $1', [processId]);
    expect(rows).toEqual([{ wait_event: 'PgSleep' }]);
  });

/** A session that is gone runs nothing. */
const untilGone = (database: PersonDatabase, socket: SqlSocket): Promise<void> =>
  eventually(
    async () => {
      const { rowCount } = await database.query('select from pg_stat_activity where pid = $1', [socket.processId]);
      expect(rowCount).toBe(0);
    },
    { timeoutMs: 2_000 },
  );

describe('a cancel in band', () => {
  test('ends what runs, and what waits behind it still runs', async ({ sql, alice, database }) => {
    await using socket = await openSocket(sql, alice);
    socket.send(SLEEP);
    socket.send({ query: 'select 1 as a' });
    await untilAsleep(database, socket);
    socket.send({ cancel: true });
    const answer = await socket.untilReady();
    expect(last(answer, 'Error')).toEqual(canceled);
    expect(shortly(answer).at(-1)).toBe('Ready I');
    expect(shortly(await socket.untilReady())).toContain('Row ["1"]');
  });

  test('tells the true state of the transaction', async ({ sql, alice, database }) => {
    await using socket = await openSocket(sql, alice);
    await socket.ask({ query: 'begin' });
    socket.send({ queries: [SLEEP] });
    await untilAsleep(database, socket);
    socket.send({ cancel: true });
    expect(shortly(await socket.untilReady()).slice(-2)).toEqual(['Error 57014', 'Ready E']);
    expect(shortly(await socket.ask({ query: 'rollback' })).at(-1)).toBe('Ready I');
  });

  test('keeps the rest of the request from being run', async ({ sql, alice, database }) => {
    await using socket = await openSocket(sql, alice);
    socket.send({ queries: [{ query: 'select 1 as a' }, SLEEP, { query: 'select 2 as a' }] });
    await untilAsleep(database, socket);
    socket.send({ cancel: true });
    const answer = shortly(await socket.untilReady());
    expect(answer).toContain('Row ["1"]');
    expect(answer).not.toContain('Row ["2"]');
    expect(answer.slice(-2)).toEqual(['Error 57014', 'Ready I']);
  });

  test('of nothing is nothing', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    for (let round = 0; round < 5; round += 1) {
      socket.send({ cancel: true });
      expect(shortly(await socket.ask({ query: 'select 1 as a' }))).toContain('Row ["1"]');
      socket.send({ cancel: true });
    }
    expect(socket.waiting()).toEqual([]);
  });

  /** A signal that comes late hits whatever runs then. */
  test('never hits the request behind the one that it is for', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice);
    for (let round = 0; round < 40; round += 1) {
      socket.send({ query: `select pg_sleep(0.00${round % 10})` });
      socket.send({ cancel: true });
      socket.send({ query: 'select pg_sleep(0.01), 7 as a' });
      const first = shortly(await socket.untilReady());
      expect(first.filter((line) => line.startsWith('Ready'))).toHaveLength(1);
      expect(shortly(await socket.untilReady())).toContain('Row ["","7"]');
    }
  });

  test('is heard however many requests wait before it', async ({ sql, alice, database }) => {
    await using socket = await openSocket(sql, alice);
    socket.send(SLEEP);
    await untilAsleep(database, socket);
    for (let index = 0; index < 150; index += 1) socket.send({ query: 'select 1 as a', filler: 'x'.repeat(2_000) });
    socket.send({ cancel: true });
    expect(last(await socket.untilReady(), 'Error')).toEqual(canceled);
    for (let index = 0; index < 150; index += 1) expect(shortly(await socket.untilReady())).toContain('Row ["1"]');
  });

  test('is not known on the other path', async ({ sql, alice }) => {
    await using socket = await openSocket(sql, alice, { path: '/api/experimental/sql' });
    expect(shortly(await socket.ask({ cancel: true }))).toEqual(['Error XX000', 'Ready I']);
  });

  test('is heeded while the reader is behind', async ({ startSql, alice, database }) => {
    const sql = await startSql(ROOMY);
    await using socket = await openSocket(sql, alice);
    socket.ws.pause();
    socket.send(LARGE);
    await untilStuck(database, socket);
    socket.send({ cancel: true });
    await eventually(async () => expect(await isRunning(database, socket)).toBe(false));
    socket.ws.resume();
    expect(shortly(await socket.untilReady()).slice(-2)).toEqual(['Error 57014', 'Ready I']);
    expect(shortly(await socket.ask({ query: 'select 1 as a' }))).toContain('Row ["1"]');
  });
});

/** A way to the server on which a CancelRequest waits until it is let through. */
async function slowCancels(serverUrl: string): Promise<AsyncDisposable & { url: string; held(): number; letThrough(): void }> {
  const server = new URL(serverUrl);
  const waiting: (() => void)[] = [];
  const sockets = new Set<net.Socket>();
  const proxy = net.createServer((client) => {
    const toServer = net.connect(Number(server.port), server.hostname);
    for (const socket of [client, toServer]) {
      sockets.add(socket);
      socket.on('error', () => {});
    }
    client.once('data', (first) => {
      const goOn = (): void => {
        toServer.write(first);
        // Who waited may have left; what was asked is asked nevertheless.
        client.pipe(toServer);
        toServer.pipe(client);
      };
      if (first.readInt32BE(4) === 80_877_102) waiting.push(goOn);
      else goOn();
    });
  });
  const listening = Promise.withResolvers<void>();
  proxy.listen(0, '127.0.0.1', listening.resolve);
  await listening.promise;
  const address = proxy.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  const url = new URL(server);
  url.hostname = '127.0.0.1';
  url.port = String(address.port);
  return {
    url: url.href,
    held: () => waiting.length,
    letThrough: () => {
      for (const goOn of waiting.splice(0)) goOn();
    },
    [Symbol.asyncDispose]: async () => {
      proxy.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

test('a cancel that the server is slow to take ends the session, and hits no later statement', async ({
  startSql,
  alice,
  database,
}) => {
  await using way = await slowCancels(database.ownUrl);
  const sql = await startSql({ databaseUrl: way.url });
  await using scope = new AsyncDisposableStack();
  const holder = scope.adopt(new pg.Client({ connectionString: database.url }), (client) => client.end());
  await holder.connect();
  await holder.query('select pg_advisory_lock(4711)');
  await using socket = await openSocket(sql, alice);
  socket.send({ query: 'select pg_advisory_lock_shared(4711)' });
  await eventually(async () => {
    const { rows } = await database.query('select wait_event from pg_stat_activity where pid = $1', [socket.processId]);
    expect(rows).toEqual([{ wait_event: 'advisory' }]);
  });
  socket.send({ cancel: true });
  await eventually(() => expect(way.held()).toBe(1));
  await holder.query('select pg_advisory_unlock_all()');
  expect(shortly(await socket.untilReady()).at(-1)).toBe('Ready I');
  socket.send({ query: 'select 1 as a' });
  expect(await socket.closed).toMatchObject({ code: 1011 });
  expect(shortly(socket.waiting())).not.toContain('Error 57014');
  await untilGone(database, socket);
  way.letThrough();
});

describe('a cancel from elsewhere', () => {
  test('by the key of the session ends what runs; by another key it does not', async ({ sql, alice, database, bus }) => {
    const edge = await bus('edge');
    await using socket = await openSocket(sql, alice);
    await using other = await openSocket(sql, alice);
    socket.send(SLEEP);
    await untilAsleep(database, socket);
    emit(edge, cancelRequested, { processId: socket.processId, secretKey: other.secretKey });
    emit(edge, cancelRequested, { processId: other.processId, secretKey: socket.secretKey });
    emit(edge, cancelRequested, { processId: socket.processId, secretKey: socket.secretKey ^ 1 });
    await edge.flush();
    // A round trip through the same replica: what was emitted before has been heard.
    await sql.simple(alice, 'select 1');
    expect(await isRunning(database, socket)).toBe(true);
    emit(edge, cancelRequested, { processId: socket.processId, secretKey: socket.secretKey | 0 });
    expect(last(await socket.untilReady(), 'Error')).toEqual(canceled);
  });

  test('is acknowledged when the signal has been sent, and what is asked then is not hit', async ({ sql, alice, bus }) => {
    const edge = await bus('edge');
    await using socket = await openSocket(sql, alice);
    const { processId, secretKey } = socket;
    for (let round = 0; round < 20; round += 1) {
      socket.send({ query: `select pg_sleep(0.0${round % 3})` });
      expect(await emitAndWait(edge, cancelRequested, { processId, secretKey }, 5_000)).toBe(true);
      await socket.untilReady();
      expect(shortly(await socket.ask({ query: 'select pg_sleep(0.01), 7 as a' }))).toContain('Row ["","7"]');
    }
    expect(await emitAndWait(edge, cancelRequested, { processId, secretKey: secretKey ^ 1 }, 100)).toBe(false);
  });

  test('by pg_cancel_backend with the number that the session was given', async ({ sql, alice, database }) => {
    await using socket = await openSocket(sql, alice);
    socket.send(SLEEP);
    await untilAsleep(database, socket);
    await using other = await openSocket(sql, alice);
    await other.ask({ query: `select pg_cancel_backend(${socket.processId})` });
    expect(last(await socket.untilReady(), 'Error')).toEqual(canceled);
  });
});

describe('nothing is left running', () => {
  test('when the client closes', async ({ sql, alice, database }) => {
    const socket = await openSocket(sql, alice);
    socket.send(SLEEP);
    await untilAsleep(database, socket);
    socket.ws.close();
    await untilGone(database, socket);
  });

  test('when the client is cut off', async ({ sql, alice, database }) => {
    const socket = await openSocket(sql, alice);
    socket.send({ queries: [SLEEP] });
    await untilAsleep(database, socket);
    rawSocket(socket.ws).destroy();
    await untilGone(database, socket);
  });

  test('when the client is cut off while it reads nothing', async ({ startSql, alice, database }) => {
    const sql = await startSql(ROOMY);
    const socket = await openSocket(sql, alice);
    socket.ws.pause();
    socket.send(LARGE);
    await untilStuck(database, socket);
    rawSocket(socket.ws).destroy();
    await untilGone(database, socket);
  });

  /** Nothing is read from a socket whose requests fill the queue; that its client is gone is seen all the same. */
  test('when the client is cut off while its requests wait', async ({ sql, alice, database }) => {
    const socket = await openSocket(sql, alice);
    socket.send(SLEEP);
    await untilAsleep(database, socket);
    for (let index = 0; index < 200; index += 1) socket.send({ query: 'select 1', filler: 'x'.repeat(60_000) });
    rawSocket(socket.ws).destroy();
    await eventually(async () => expect(await isRunning(database, socket)).toBe(false), { timeoutMs: 4_000 });
    await untilGone(database, socket);
  });

  test('when the client closes while very many requests wait', async ({ sql, alice, database }) => {
    for (const count of [150, 30_000]) {
      const socket = await openSocket(sql, alice);
      socket.send(SLEEP);
      await untilAsleep(database, socket);
      for (let index = 0; index < count; index += 1) socket.send({ query: '', filler: 'x'.repeat(count < 1_000 ? 2_000 : 0) });
      if (count < 1_000) socket.ws.close();
      else rawSocket(socket.ws).destroy();
      await eventually(async () => expect(await isRunning(database, socket)).toBe(false), { timeoutMs: 4_000 });
      await untilGone(database, socket);
    }
  });

  test('when a statement takes too long', async ({ startSql, alice, database }) => {
    const sql = await startSql({ statementTimeoutMs: 500 });
    await using socket = await openSocket(sql, alice);
    expect(shortly(await socket.ask(SLEEP)).slice(-2)).toEqual(['Error 57014', 'Ready I']);
    expect(await isRunning(database, socket)).toBe(false);
    expect(shortly(await socket.ask({ query: 'set statement_timeout = 0; select pg_sleep(0.7), 1 as a' }))).toContain(
      'Row ["","1"]',
    );
  });
});

describe('a result that is too large', () => {
  test('ends with 53200 after some rows, and the session lives', async ({ startSql, alice }) => {
    const sql = await startSql({ limits: { resultBytes: 1_048_576 } });
    await using socket = await openSocket(sql, alice);
    const answer = shortly(await socket.ask({ query: "select repeat('x', 1000) as a from generate_series(1, 100000)" }));
    expect(answer[0]).toBe('Starting tf');
    expect(answer.filter((line) => line.startsWith('Row ')).length).toBeGreaterThan(900);
    expect(answer.slice(-2)).toEqual(['Error 53200', 'Ready I']);
    expect(shortly(await socket.ask({ query: 'select 1 as a' }))).toContain('Row ["1"]');
  });
});

describe('a revoked credential', () => {
  test('ends sockets of its person with 4401, busy, idle or not reading', async ({ startSql, person, bob, auth, database }) => {
    const sql = await startSql(ROOMY);
    const gail = await person('gail');
    const idle = await openSocket(sql, gail);
    const busy = await openSocket(sql, gail);
    const open = await openSocket(sql, gail);
    const paused = await openSocket(sql, gail);
    await using other = await openSocket(sql, bob);
    busy.send(SLEEP);
    await untilAsleep(database, busy);
    await open.ask({ query: 'begin' });
    paused.ws.pause();
    paused.send(LARGE);
    await untilStuck(database, paused);
    auth.revoke(gail.principal);
    for (const socket of [idle, busy, open]) {
      expect(await socket.closed).toEqual({ code: 4401, reason: 'the credential was revoked' });
    }
    for (const socket of [idle, busy, open, paused]) await untilGone(database, socket);
    paused.ws.resume();
    await paused.closed;
    expect(shortly(await other.ask({ query: 'select 1 as a' }))).toContain('Row ["1"]');
  });

  test('ends only sockets that it opened, if it is one key', async ({ sql, alice, auth }) => {
    const mine = await openSocket(sql, alice, { principal: { tokenId: 'key-1' } });
    await using other = await openSocket(sql, alice, { principal: { tokenId: 'key-2' } });
    await using none = await openSocket(sql, alice);
    auth.revoke(alice.principal, 'key-1');
    expect(await mine.closed).toMatchObject({ code: 4401 });
    for (const socket of [other, none]) expect(shortly(await socket.ask({ query: 'select 1 as a' }))).toContain('Row ["1"]');
  });

  test('of a session ends its sockets', async ({ sql, alice, bus }) => {
    const session = await bus('session');
    const mine = await openSocket(sql, alice, { principal: { sessionId: 'session-number-1' } });
    const other = await openSocket(sql, alice, { principal: { sessionId: 'session-number-2' } });
    await using none = await openSocket(sql, alice);
    emit(session, sessionRevoked, { principalId: alice.principal.id, sessionId: 'session-number-1' });
    expect(await mine.closed).toMatchObject({ code: 4401 });
    expect(shortly(await other.ask({ query: 'select 1 as a' }))).toContain('Row ["1"]');
    emit(session, sessionRevoked, { principalId: alice.principal.id });
    expect(await other.closed).toMatchObject({ code: 4401 });
    expect(shortly(await none.ask({ query: 'select 1 as a' }))).toContain('Row ["1"]');
  });

  test('or one whose time is over ends them too', async ({ sql, alice, database }) => {
    const socket = await openSocket(sql, alice, { principal: { expiresAt: Math.ceil(Date.now() / 1_000) + 3 } });
    socket.send(SLEEP);
    expect(await socket.closed).toEqual({ code: 4401, reason: 'the credential has expired' });
    await untilGone(database, socket);
  });

  test('that may have been missed ends all of them, to come again', async ({ startSql, alice }) => {
    const sql = await startSql();
    const socket = await openSocket(sql, alice);
    sql.lifetimes.missed();
    expect(await socket.closed).toMatchObject({ code: 1012 });
  });
});

describe('a stop', () => {
  test('lets the request that runs end, and begins no other', async ({ startSql, alice, database }) => {
    const sql = await startSql({ drainMs: 30_000 });
    await database.query('create table if not exists stop_t (a int); grant all on stop_t to public');
    const idle = await openSocket(sql, alice);
    const open = await openSocket(sql, alice);
    const busy = await openSocket(sql, alice);
    await open.ask({ query: 'begin; insert into stop_t values (1)' });
    await busy.ask({ query: 'begin; insert into stop_t values (2)' });
    busy.send({ query: 'select pg_sleep(1); commit' });
    busy.send({ query: 'insert into stop_t values (3)' });
    await untilAsleep(database, busy);
    const stopped = sql.lifetimes[Symbol.asyncDispose]();
    expect(shortly(await busy.untilReady()).slice(-2)).toEqual(['Complete COMMIT', 'Ready I']);
    for (const socket of [idle, open, busy]) expect(await socket.closed).toMatchObject({ code: 1001 });
    await stopped;
    expect(busy.waiting()).toEqual([]);
    expect((await database.query('select a from stop_t order by a')).rows).toEqual([{ a: 2 }]);
    const late = await openSocket(sql, alice);
    expect(await late.closed).toMatchObject({ code: 1001 });
  });

  test('does not wait for ever', async ({ startSql, alice, database }) => {
    const sql = await startSql();
    const socket = await openSocket(sql, alice);
    socket.send(SLEEP);
    await untilAsleep(database, socket);
    await sql.lifetimes[Symbol.asyncDispose]();
    expect(await socket.closed).toMatchObject({ code: 1001 });
    await untilGone(database, socket);
  });

  test('of whoever forwards a socket is asked for by a ping', async ({ sql, alice, database }) => {
    const socket = await openSocket(sql, alice);
    socket.send({ query: 'select pg_sleep(1), 1 as a' });
    await untilAsleep(database, socket);
    socket.ws.ping('postern-drain');
    socket.send({ query: 'select 2' });
    expect(shortly(await socket.untilReady())).toContain('Row ["","1"]');
    expect(await socket.closed).toMatchObject({ code: 1001 });
  });
});

describe('a backend that is ended', () => {
  test('while it is idle is told of at once', async ({ sql, alice, database }) => {
    const socket = await openSocket(sql, alice);
    await database.query('select pg_terminate_backend($1)', [socket.processId]);
    expect(shortly([await socket.next()])).toEqual(['Error 57P01']);
    expect(await socket.closed).toMatchObject({ code: 1011 });
  });

  test('while it runs is the error of what ran', async ({ sql, alice, database }) => {
    const socket = await openSocket(sql, alice);
    socket.send(SLEEP);
    socket.send({ query: 'select 1' });
    await untilAsleep(database, socket);
    await database.query('select pg_terminate_backend($1)', [socket.processId]);
    expect(shortly([await socket.next(), await socket.next()])).toEqual(['Starting tf', 'Error 57P01']);
    expect(await socket.closed).toMatchObject({ code: 1011 });
    expect(socket.waiting()).toEqual([]);
  });

  test('gives its place back, however late its client asks', async ({ startSql, person, database }) => {
    const sql = await startSql({ held: { perRole: 1 }, pool: { waitMs: 20_000 } });
    const hugo = await person('hugo');
    await using first = await openSocket(sql, hugo, { options: { idle_in_transaction_session_timeout: '50' } });
    await first.ask({ query: 'begin' });
    await untilGone(database, first);
    await using second = await openSocket(sql, hugo);
    expect(second.processId).not.toBe(first.processId);
  });
});

test('a connection to the database that breaks ends the socket with 1011', async ({ startSql, alice, database }) => {
  // A login of its own, as its connections are all ended.
  const sql = await startSql();
  const socket = await openSocket(sql, alice);
  const admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where pid = $1', [socket.processId]);
  await admin.end();
  expect(await socket.closed).toMatchObject({ code: 1011 });
});

test('pings in any number are answered, at least the last of them, and end nothing', async ({ sql, alice }) => {
  await using socket = await openSocket(sql, alice);
  const pongs: string[] = [];
  socket.ws.on('pong', (payload) => void pongs.push(payload.toString()));
  const raw = rawSocket(socket.ws);
  raw.cork();
  for (let index = 0; index < 500; index += 1) socket.ws.ping(String(index));
  raw.uncork();
  await eventually(() => expect(pongs.at(-1)).toBe('499'));
  expect(shortly(await socket.ask({ query: 'select 1 as a' }))).toContain('Row ["1"]');
});
