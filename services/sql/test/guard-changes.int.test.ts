/** The cost guard holds for whatever runs statements beside requests: subscriptions, feeds, and what the service asks itself. */
import { eventually } from '@postern/testkit/eventually';
import { expect } from 'vitest';

import type { LimitTable, Limits } from '../src/domain/guard.ts';
import { readEvents } from './event-client.ts';
import { outcomes, sqlTest } from './sql-test.ts';
import { openSocket, shortly } from './websocket-test.ts';

const everyRole = (limits: Limits): LimitTable => ({ roles: new Map([['*', limits]]), groups: new Map(), keys: new Map() });

const test = sqlTest.extend('limited', { scope: 'file' }, async ({ startSql, database }) => {
  await database.query('create table big as select i, i % 10 as kind from generate_series(1, 50000) i');
  await database.query('analyze big; grant select on big to public');
  return (limits: Limits) => startSql({ limitTable: everyRole(limits) });
});

test('imm-072: a subscription is no way around the estimate', async ({ limited, person }) => {
  const alice = await person('opaque');
  const sql = await limited({ estimatedCostMax: 500 });
  for (const query of ["select query_to_xml('select 1', true, true, '')", 'select * from big a, big b']) {
    using reader = await readEvents(sql, alice, { query: `SUBSCRIBE (${query})` });
    expect([query, reader.status, reader.body]).toMatchObject([query, 400, { code: '54000' }]);
    await using socket = await openSocket(sql, alice);
    expect(shortly(await socket.ask({ query: `SUBSCRIBE (${query})` })).slice(-2)).toEqual(['Error 54000', 'Ready I']);
  }
});

test('imm-072: each statement of a subscription has its time, and what is too late ends it', async ({ limited, person }) => {
  const alice = await person('long');
  const sql = await limited({ statementTimeMs: 1_000 });
  const late = { code: '57014', message: 'canceling statement: the limit statementTimeMs of role "*" is 1000 ms' };
  using reader = await readEvents(sql, alice, { query: 'SUBSCRIBE (SELECT pg_sleep(60))' });
  expect([reader.status, reader.body]).toMatchObject([400, late]);
  await using socket = await openSocket(sql, alice);
  const answer = await socket.ask({ query: 'SUBSCRIBE (SELECT pg_sleep(60))' });
  expect(shortly(answer).slice(-2)).toEqual(['Error 57014', 'Ready I']);
  // The session is of use after it.
  expect(shortly(await socket.ask({ query: 'select 1 as a' }))).toContain('Row ["1"]');
});

test('imm-072: a query that is run again is counted, and estimated, again', async ({ limited, person, database }) => {
  const alice = await person('again');
  await database.query('create table grown (i int); create table grown_too (i int); grant select on grown, grown_too to public');
  const rows = await limited({ rowsMax: 3 });
  using counted = await readEvents(rows, alice, { query: 'SUBSCRIBE (SELECT DISTINCT i FROM grown)' });
  await counted.until(1, 'columns');
  await database.query('insert into grown select generate_series(1, 4)');
  const [tooMany] = await counted.until(1, 'error');
  expect(tooMany?.data).toMatchObject({ code: '53200', message: 'result exceeds the limit rowsMax of role "*": 3 rows' });
  const costs = await limited({ estimatedCostMax: 500 });
  using estimated = await readEvents(costs, alice, { query: 'SUBSCRIBE (SELECT count(*) FROM grown_too)' });
  await estimated.until(1);
  await database.query('insert into grown_too select generate_series(1, 200000); analyze grown_too');
  const [tooMuch] = await estimated.until(1, 'error');
  expect(tooMuch?.data).toMatchObject({ code: '54000' });
});

test('feeds and readings count among what is done at a time', async ({ limited, person }) => {
  const alice = await person('feeding');
  const sql = await limited({ concurrentMax: 1 });
  const refusal = { code: '53400' };
  const headers = await sql.headers(alice);
  {
    using feed = await readEvents(sql, alice, { path: '/api/sql/listen?channel=a' });
    await feed.until(1, 'listening');
    expect((await sql.simple(alice, 'select 1'))[0]?.error).toMatchObject(refusal);
    using second = await readEvents(sql, alice, { path: '/api/sql/listen?channel=b' });
    expect(second.body).toMatchObject(refusal);
    const dump = await fetch(`${sql.origin}/api/catalog/dump`, { headers });
    expect([dump.status >= 400, await dump.text()]).toEqual([true, expect.stringContaining('53400')]);
  }
  await eventually(async () => expect(outcomes(await sql.simple(alice, 'select 1'))).toEqual([[['1']]]));
  const dump = await fetch(`${sql.origin}/api/catalog/dump`, { headers });
  await dump.text();
  expect(dump.status).toBe(200);
});
