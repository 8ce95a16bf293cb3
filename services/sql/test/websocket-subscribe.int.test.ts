/** SUBSCRIBE over WebSocket: its messages, its end, and what waits behind it. */
import { eventually } from '@postern/testkit/eventually';
import { expect } from 'vitest';

import { sqlTest as test } from './sql-test.ts';
import type { Message, SqlSocket } from './websocket-test.ts';
import { last, openSocket, shortly } from './websocket-test.ts';

/** Data of a row behind its time, count and so on. */
const dataOf = (message: Message): unknown[] => (message.type === 'Row' ? message.payload.slice(1) : [message.type]);

async function untilRow(socket: SqlSocket): Promise<Message> {
  for (;;) {
    const message = await socket.next();
    if (message.type === 'Row' || message.type === 'Error') return message;
  }
}

test('what has an end completes, and nothing may follow it', async ({ sql, alice }) => {
  for (const path of ['/api/v1/sql', '/api/experimental/sql']) {
    await using socket = await openSocket(sql, alice, { path });
    const told = await socket.ask({ query: 'SUBSCRIBE (VALUES (1)); SELECT 1' });
    // A notice says how the changes are found.
    const answer = shortly(told.filter(({ type }) => type !== 'Notice'));
    expect(answer[0]).toBe('Starting tt');
    expect(answer[1]).toMatch(/^Rows mz_timestamp,mz_diff,/);
    expect(answer.slice(-4)).toEqual(['Complete SUBSCRIBE', 'Starting ff', 'Error 25000', 'Ready I']);
    expect(shortly(await socket.ask({ query: 'select 1 as a' }))).toContain('Row ["1"]');
    expect(
      shortly(await socket.ask({ queries: [{ query: 'select 1' }, { query: 'subscribe (values (1))' }] })).slice(-2),
    ).toEqual(['Error 25000', 'Ready I']);
  }
});

test('is no part of a transaction', async ({ sql, alice }) => {
  await using socket = await openSocket(sql, alice);
  await socket.ask({ query: 'begin' });
  expect(shortly(await socket.ask({ query: 'subscribe (values (1))' }))).toEqual(['Starting ff', 'Error 25001', 'Ready E']);
});

test('a transaction in which it is refused has failed: what was sent behind it commits nothing', async ({
  sql,
  alice,
  database,
}) => {
  await database.query('create table half_t (a int); grant all on half_t to public');
  await using socket = await openSocket(sql, alice);
  const refused = [
    { query: 'subscribe half_t' },
    { query: 'subscribe ((' },
    { queries: [{ query: 'select 1' }, { query: 'subscribe half_t' }] },
  ];
  for (const request of refused) {
    const requests = [{ query: 'begin' }, { query: 'insert into half_t values (1)' }, request, { query: 'commit' }];
    for (const each of requests) socket.send(each);
    for (const _ of requests.slice(1)) await socket.untilReady();
    expect(shortly(await socket.untilReady()).slice(-2)).toEqual(['Complete ROLLBACK', 'Ready I']);
  }
  expect((await database.query('table half_t')).rows).toEqual([]);
});

test('changes come as rows; a cancel ends it, and what waited runs then', async ({ sql, alice, database }) => {
  await database.query('create table feed_t (a int primary key); grant all on feed_t to public; insert into feed_t values (1)');
  await using socket = await openSocket(sql, alice);
  socket.send({ query: 'SUBSCRIBE feed_t' });
  socket.send({ query: 'select 7 as a' });
  expect(dataOf(await untilRow(socket))).toEqual(['1', '1']);
  await database.query('insert into feed_t values (2)');
  expect(dataOf(await untilRow(socket))).toEqual(['1', '2']);
  expect(socket.waiting()).toEqual([]);
  socket.send({ cancel: true });
  const end = await socket.untilReady();
  expect(last(end, 'Error')).toMatchObject({ code: '57014' });
  expect(shortly(end).at(-1)).toBe('Ready I');
  expect(shortly(await socket.untilReady())).toContain('Row ["7"]');
});

test('a stop ends it at once, as it has no end of its own', async ({ startSql, alice, database }) => {
  const sql = await startSql();
  await database.query(
    'create table stopped_t (a int primary key); grant all on stopped_t to public; insert into stopped_t values (1)',
  );
  const socket = await openSocket(sql, alice);
  socket.send({ query: 'SUBSCRIBE stopped_t' });
  await untilRow(socket);
  await sql.lifetimes[Symbol.asyncDispose]();
  expect(shortly([await untilRow(socket)])).toEqual(['Error 57P01']);
  expect(await socket.closed).toMatchObject({ code: 1001 });
});

test('it ends with its socket', async ({ sql, alice, database }) => {
  await database.query('create table left_t (a int primary key); grant all on left_t to public; insert into left_t values (1)');
  const socket = await openSocket(sql, alice);
  socket.send({ query: 'SUBSCRIBE left_t' });
  await untilRow(socket);
  socket.ws.close();
  await eventually(async () => {
    const { rowCount } = await database.query('select from pg_stat_activity where pid = $1', [socket.processId]);
    expect(rowCount).toBe(0);
  });
});
