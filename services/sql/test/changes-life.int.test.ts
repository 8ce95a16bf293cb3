/** How subscriptions and channel feeds begin, go on, and end; queries that are run again. */
import { eventually } from '@postern/testkit/eventually';
import pg from 'pg';
import { describe, expect } from 'vitest';

import { readEvents } from './event-client.ts';
import type { Person, PersonDatabase } from './sql-test.ts';
import { sqlTest } from './sql-test.ts';

const test = sqlTest
  .extend('live', { scope: 'file' }, ({ startSql }) => startSql({ changes: { hasLog: true } }))
  .extend('blind', { scope: 'file' }, ({ startSql }) => startSql({ changes: { hasLog: false } }))
  .extend('other', { scope: 'file' }, ({ startSql }) => startSql({ changes: { hasLog: true, replicaId: 'replica-2' } }));

let tables = 0;
async function makeTable(database: PersonDatabase, readers: readonly Person[], columns: string): Promise<string> {
  tables += 1;
  const name = `life${tables}`;
  await database.query(`create table ${name} (${columns})`);
  for (const { name: role } of readers) await database.query(`grant select on ${name} to ${pg.escapeIdentifier(role)}`);
  return name;
}

const told = (rows: readonly unknown[][]): unknown[] => rows.map(([, ...row]) => row);
const subscribe = (query: string): string => `/api/sql/subscribe?query=${encodeURIComponent(query)}`;

/** Nothing of this role runs or waits in the server. */
const untilNothingRuns = (database: PersonDatabase, { name }: Person): Promise<void> =>
  eventually(
    async () => {
      const { rows } = await database.query('select query from pg_stat_activity where usename = $1', [name]);
      expect(rows).toEqual([]);
    },
    { timeoutMs: 2_000 },
  );

describe('continued by a token', () => {
  test('what was told and not taken is told again, and what happened in the meantime', async ({ live, alice, database }) => {
    const t = await makeTable(database, [alice], 'id int primary key');
    await database.query(`insert into ${t} values (1), (2)`);
    let id: string | undefined;
    {
      using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
      id = (await reader.until(2))[0]?.id;
    }
    await untilNothingRuns(database, alice);
    await database.query(`insert into ${t} values (3)`);
    await database.query(`delete from ${t} where id = 1`);
    using again = await readEvents(live, alice, { query: `SUBSCRIBE ${t}`, lastEventId: id });
    await again.until(3);
    expect(told(again.rows())).toEqual([
      ['1', '2'],
      ['1', '3'],
      ['-1', '1'],
    ]);
  });

  test('in the statement itself, and by a second connection while the first is still there', async ({
    live,
    alice,
    database,
  }) => {
    const t = await makeTable(database, [alice], 'id int primary key');
    await database.query(`insert into ${t} values (1)`);
    using first = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
    const [row] = await first.until(1);
    using second = await readEvents(live, alice, { query: `SUBSCRIBE ${t} WITH (RESUME = '${row?.id ?? ''}')` });
    await database.query(`insert into ${t} values (2)`);
    await second.until(1);
    expect(told(second.rows())).toEqual([['1', '2']]);
    expect(told(first.rows())).toEqual([['1', '1']]);
  });

  test('not by who may not read it any more', async ({ live, alice, database }) => {
    const t = await makeTable(database, [alice], 'id int primary key');
    await database.query(`insert into ${t} values (1), (2)`);
    for (const query of [`SUBSCRIBE ${t}`, `SUBSCRIBE (SELECT id FROM ${t} ORDER BY id -- all\n)`]) {
      await database.query(`grant select on ${t} to ${pg.escapeIdentifier(alice.name)}`);
      let id: string | undefined;
      {
        using reader = await readEvents(live, alice, { query });
        id = (await reader.until(2))[0]?.id;
      }
      await database.query(`revoke select on ${t} from ${pg.escapeIdentifier(alice.name)}`);
      using again = await readEvents(live, alice, { query, lastEventId: id });
      expect([again.status, again.body]).toMatchObject([400, { code: '42501' }]);
    }
  });

  test("somebody else's token is as good as none, and so is one of another statement or replica", async ({
    live,
    other,
    alice,
    bob,
    database,
  }) => {
    const t = await makeTable(database, [alice, bob], 'id int primary key');
    await database.query(`insert into ${t} values (1)`);
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
    const [row] = await reader.until(1);
    const attempts = [
      [live, bob, `SUBSCRIBE ${t}`, row?.id],
      [live, alice, `SUBSCRIBE (SELECT id FROM ${t})`, row?.id],
      [live, alice, `SUBSCRIBE ${t} WITH (PROGRESS)`, row?.id],
      [other, alice, `SUBSCRIBE ${t}`, row?.id],
      [live, alice, `SUBSCRIBE ${t}`, `test.${'0'.repeat(32)}.1-1`],
      [live, alice, `SUBSCRIBE ${t}`, 'nonsense'],
    ] as const;
    for (const [sql, person, query, lastEventId] of attempts) {
      using refused = await readEvents(sql, person, { query, lastEventId });
      expect([refused.status, refused.body]).toEqual([
        410,
        {
          message: 'the subscription cannot be continued from this token',
          code: '55000',
          hint: 'Subscribe again for a snapshot.',
        },
      ]);
    }
    // And the one that they were of goes on.
    await database.query(`insert into ${t} values (2)`);
    await reader.until(2);
  });
});

describe('queries that are run again', () => {
  test.for(['live', 'blind'] as const)(
    'joins and aggregates, as differences (%s)',
    async (kind, { live, blind, alice, database }) => {
      const t = await makeTable(database, [alice], 'id int, kind text');
      const u = await makeTable(database, [alice], 'kind text, label text');
      await database.query(`insert into ${u} values ('a', 'A'), ('b', 'B')`);
      await database.query(`insert into ${t} values (1, 'a'), (2, 'a'), (3, 'b')`);
      const query = `SUBSCRIBE (SELECT label, count(*) FROM ${t} JOIN ${u} USING (kind) GROUP BY label ORDER BY label)`;
      using reader = await readEvents(kind === 'live' ? live : blind, alice, { query });
      await reader.until(2);
      expect(reader.events.find(({ event }) => event === 'notice')?.data).toMatchObject({ severity: 'notice' });
      await database.query(`insert into ${t} values (4, 'b')`);
      await reader.until(4);
      await database.query(`update ${u} set label = 'Z' where kind = 'a'`);
      await reader.until(6);
      expect(told(reader.rows())).toEqual([
        ['1', 'A', '2'],
        ['1', 'B', '1'],
        ['-1', 'B', '1'],
        ['1', 'B', '2'],
        ['-1', 'A', '2'],
        ['1', 'Z', '2'],
      ]);
    },
  );

  test('a notification has the query run at once, where there is no log', async ({ startSql, alice, database }) => {
    const sql = await startSql({ changes: { pollMs: 3_600_000 } });
    const t = await makeTable(database, [alice], 'id int');
    using usual = await readEvents(sql, alice, { query: `SUBSCRIBE ${t}` });
    using named = await readEvents(sql, alice, { query: `SUBSCRIBE ${t} WITH (CHANNEL = 'My channel')` });
    await Promise.all([usual.until(1, 'notice'), named.until(1, 'notice')]);
    for (const [reader, channel] of [
      [usual, 'postern_changes'],
      [named, 'My channel'],
    ] as const) {
      await database.query(`insert into ${t} values (1)`);
      // It may begin to listen only after it has told its columns.
      await eventually(async () => {
        await database.query('select pg_notify($1, $2)', [channel, '']);
        expect(reader.rows().length).toBeGreaterThan(0);
      });
    }
  });

  test('where the log cannot be read, as its login may not replicate', async ({ startSql, alice, database }) => {
    const sql = await startSql({ changes: { hasLog: true, isLogReady: false, logUrl: database.ownUrl } });
    const t = await makeTable(database, [alice], 'id int primary key');
    using reader = await readEvents(sql, alice, { query: `SUBSCRIBE ${t}` });
    await reader.until(1, 'notice');
    await database.query(`insert into ${t} values (1)`);
    await reader.until(1);
    expect(told(reader.rows())).toEqual([['1', '1']]);
  });

  test('tables without a key, partitions, and what functions read', async ({ live, alice, database }) => {
    const p = await makeTable(database, [alice], 'id int, n int) partition by range (id');
    await database.query(`create table ${p}_1 partition of ${p} for values from (0) to (10)`);
    await database.query(
      `create function total_${p}() returns bigint language plpgsql stable as 'begin return (select sum(n) from ${p}); end'`,
    );
    using rows = await readEvents(live, alice, { query: `SUBSCRIBE ${p}` });
    using total = await readEvents(live, alice, { query: `SUBSCRIBE (SELECT total_${p}())` });
    await Promise.all([rows.until(1, 'columns'), total.until(1)]);
    await database.query(`insert into ${p} values (1, 5), (1, 5)`);
    await Promise.all([rows.until(2), total.until(3)]);
    expect(told(rows.rows())).toEqual([
      ['1', '1', '5'],
      ['1', '1', '5'],
    ]);
    expect(told(total.rows())).toEqual([
      ['1', null],
      ['-1', null],
      ['1', '10'],
    ]);
  });

  test('a query of no table completes, and what stands behind it is refused', async ({ live, alice }) => {
    using reader = await readEvents(live, alice, { query: 'SUBSCRIBE (VALUES (1)); SELECT 1' });
    await reader.ended;
    expect(reader.events.filter(({ event }) => event !== 'notice')).toMatchObject([
      { event: 'columns' },
      { event: 'row', data: [expect.any(String), '1', '1'] },
      { event: 'complete', data: { tag: 'SUBSCRIBE' } },
      { event: 'error', data: { code: '25000' } },
    ]);
  });
});

describe('how it ends', () => {
  test('with its reader: nothing is left in the server', async ({ live, person, database }) => {
    const zoe = await person('zoe');
    const t = await makeTable(database, [zoe], 'id int primary key');
    const reader = await readEvents(live, zoe, { query: `SUBSCRIBE ${t}` });
    const feed = await readEvents(live, zoe, { path: '/api/sql/listen?channel=a' });
    const leaving = new AbortController();
    // It has not been answered yet when its reader leaves.
    const waiting = readEvents(live, zoe, { query: `SUBSCRIBE (SELECT pg_sleep(60) FROM ${t})`, signal: leaving.signal }).catch(
      () => {},
    );
    await database.query(`insert into ${t} values (1)`);
    await reader.until(1);
    await eventually(async () => {
      const { rows } = await database.query("select from pg_stat_activity where usename = $1 and state = 'active'", [zoe.name]);
      expect(rows).toHaveLength(1);
    });
    leaving.abort();
    await waiting;
    reader[Symbol.dispose]();
    feed[Symbol.dispose]();
    await untilNothingRuns(database, zoe);
  });

  test('when its credential is revoked (imm-079)', async ({ live, person, auth, database }) => {
    const yan = await person('yan');
    const t = await makeTable(database, [yan], 'id int primary key');
    using reader = await readEvents(live, yan, { query: `SUBSCRIBE ${t}` });
    using feed = await readEvents(live, yan, { path: '/api/sql/listen?channel=a' });
    await Promise.all([reader.until(1, 'columns'), feed.until(1, 'listening')]);
    auth.revoke(yan.principal);
    await Promise.all([reader.ended, feed.ended]);
    for (const { events } of [reader, feed]) {
      expect(events.at(-1)).toMatchObject({ event: 'error', data: { code: '57014', message: expect.stringMatching(/revoked/) } });
    }
    await untilNothingRuns(database, yan);
  });

  test('when its credential expires, and goes on with a new one', async ({ live, person, database }) => {
    const xia = await person('xia');
    const t = await makeTable(database, [xia], 'id int primary key');
    await database.query(`insert into ${t} values (1)`);
    const short: Person = { ...xia, principal: { ...xia.principal, expiresAt: Math.floor(Date.now() / 1_000) + 5 } };
    using reader = await readEvents(live, short, { query: `SUBSCRIBE ${t}` });
    const [row] = await reader.until(1);
    await reader.ended;
    expect(reader.events.at(-1)).toMatchObject({ event: 'error', data: { message: expect.stringMatching(/expired/) } });
    await database.query(`insert into ${t} values (2)`);
    using again = await readEvents(live, xia, { query: `SUBSCRIBE ${t}`, lastEventId: row?.id });
    await again.until(1);
    expect(told(again.rows())).toEqual([['1', '2']]);
  });

  test('when the table is dropped or altered', async ({ live, alice, database }) => {
    const t = await makeTable(database, [alice], 'id int primary key');
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
    await reader.until(1, 'columns');
    await database.query(`alter table ${t} add column more int default 7`);
    await database.query(`insert into ${t} values (1)`);
    const [error] = await reader.until(1, 'error');
    expect(error?.data).toMatchObject({ code: '55000' });
    expect(reader.rows()).toEqual([]);
  });

  test('a reader who takes nothing: the subscription ends with a clear error, and others do not notice', async ({
    startSql,
    alice,
    bob,
    database,
  }) => {
    const sql = await startSql({ changes: { hasLog: true, backlogBytes: 4_194_304 } });
    const t = await makeTable(database, [alice, bob], 'id int primary key, body text');
    using stuck = await readEvents(sql, alice, { path: subscribe(`SUBSCRIBE (SELECT id, body FROM ${t})`), isStuck: true });
    expect(stuck.status).toBe(200);
    using quick = await readEvents(sql, bob, { query: `SUBSCRIBE (SELECT id FROM ${t})` });
    await quick.until(1, 'columns');
    for (let index = 0; index < 10; index += 1) {
      const [from, to] = [index * 200, index * 200 + 199];
      await database.query(`insert into ${t} select n, repeat('x', 10000) from generate_series(${from}, ${to}) n`);
      await quick.until(to + 1);
    }
    await eventually(async () => {
      const { rows } = await database.query("select from pg_stat_activity where usename = $1 and application_name = 'postern'", [
        alice.name,
      ]);
      expect(rows).toEqual([]);
    });
    await stuck.unstick();
    expect(stuck.events.at(-1)).toMatchObject({ event: 'error', data: { code: '53400' } });
    await database.query(`delete from ${t} where id = 7`);
    await quick.until(2_001);
  });

  test('a subscription that would hold too much says so', async ({ startSql, alice, database }) => {
    const sql = await startSql({ changes: { hasLog: true, backlogBytes: 65_536 } });
    const t = await makeTable(database, [alice], 'id int primary key, body text');
    using reader = await readEvents(sql, alice, { query: `SUBSCRIBE ${t}` });
    await reader.until(1, 'columns');
    await database.query(`insert into ${t} select n, repeat('x', 1000) from generate_series(1, 200) n`);
    const [error] = await reader.until(1, 'error');
    expect(error?.data).toMatchObject({ code: '53400', message: expect.stringMatching(/retired: its backlog exceeds 64.0 KiB/) });
    await reader.ended;
  });
});

test('POST with a body, as for every statement', async ({ live, alice, database }) => {
  const t = await makeTable(database, [alice], 'id int primary key');
  await database.query(`insert into ${t} values (1)`);
  using reader = await readEvents(live, alice, { path: '/api/sql', body: { query: `SUBSCRIBE ${t}` } });
  await reader.until(1);
  for (const body of [{ query: 'SELECT 1' }, { queries: [{ query: `SUBSCRIBE ${t}` }, { query: 'SELECT 1' }] }]) {
    using refused = await readEvents(live, alice, { path: '/api/sql', body });
    expect(refused.status).toBe(422);
  }
});

describe('channels', () => {
  test('what is notified is told, in order, to those who listen', async ({ live, alice, bob }) => {
    using feed = await readEvents(live, alice, {
      path: `/api/sql/listen?channel=${encodeURIComponent('My "channel"')}&channel=b`,
    });
    const [listening] = await feed.until(1, 'listening');
    expect(listening?.data).toEqual({ channels: ['My "channel"', 'b'] });
    await live.simple(bob, `notify "My ""channel""", 'one'; notify b; select pg_notify('c', 'not heard'); notify b, 'two'`);
    await feed.until(3, 'notification');
    expect(feed.events.slice(1).map(({ data }) => data)).toEqual([
      { channel: 'My "channel"', payload: 'one', processId: expect.any(Number) },
      { channel: 'b', payload: '', processId: expect.any(Number) },
      { channel: 'b', payload: 'two', processId: expect.any(Number) },
    ]);
  });

  test.for(['', '?channel=', `?channel=${'x'.repeat(64)}`, `?${'channel=a&'.repeat(17)}`])(
    '%s is refused',
    async (query, { live, alice }) => {
      using feed = await readEvents(live, alice, { path: `/api/sql/listen${query}` });
      expect(feed.status).toBe(422);
    },
  );
});

test('a log that is interrupted: nothing is shown with a gap, and it is read again', async ({ live, alice, database }) => {
  const t = await makeTable(database, [alice], 'id int primary key');
  using rows = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
  using count = await readEvents(live, alice, { query: `SUBSCRIBE (SELECT count(*) FROM ${t})` });
  await Promise.all([rows.until(1, 'columns'), count.until(1)]);
  await database.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'postern-changes' and datname = current_database()`,
  );
  const [error] = await rows.until(1, 'error');
  expect(error?.data).toMatchObject({ code: '55000', hint: 'Subscribe again for a snapshot.' });
  await database.query(`insert into ${t} values (1)`);
  await count.until(3);
  expect(told(count.rows())).toEqual([
    ['1', '0'],
    ['-1', '0'],
    ['1', '1'],
  ]);
  await eventually(async () => {
    using again = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
    await again.until(1);
    expect(again.events.some(({ event }) => event === 'notice')).toBe(false);
  });
});

test('no log is held back in the server, and no slot is left', async ({ startSql, alice, database }) => {
  const sql = await startSql({ changes: { hasLog: true } });
  const t = await makeTable(database, [alice], 'id int primary key');
  using reader = await readEvents(sql, alice, { query: `SUBSCRIBE ${t}` });
  await reader.until(1, 'columns');
  await database.query(`insert into ${t} select generate_series(1, 1000)`);
  await reader.until(1_000);
  const { rows: before } = await database.query('select pg_current_wal_lsn() as lsn');
  await eventually(
    async () => {
      const { rows } = await database.query(
        `select temporary, confirmed_flush_lsn >= $1::pg_lsn as "isFlushed" from pg_replication_slots where database = current_database()`,
        [before[0]?.['lsn']],
      );
      expect(rows.length).toBeGreaterThan(0);
      for (const row of rows) expect(row).toEqual({ temporary: true, isFlushed: true });
    },
    { timeoutMs: 30_000 },
  );
});

test('a transaction that stays open keeps nobody from subscribing', async ({ startSql, alice, database }) => {
  const t = await makeTable(database, [alice], 'id int primary key');
  const holder = new pg.Client({ connectionString: database.url });
  await holder.connect();
  await holder.query(`begin; insert into ${t} values (1)`);
  // No slot can be made before it ends.
  const sql = await startSql({ changes: { hasLog: true, isLogReady: false } });
  using reader = await readEvents(sql, alice, { query: `SUBSCRIBE ${t}` });
  await reader.until(1, 'columns');
  await holder.query('commit');
  await reader.until(1);
  expect(told(reader.rows())).toEqual([['1', '1']]);
  await holder.end();
});
