/** SUBSCRIBE over server-sent events: what is told, to whom, and how it goes on. */

import pg from 'pg';
import { describe, expect } from 'vitest';

import { readEvents } from './event-client.ts';
import type { Person, PersonDatabase } from './sql-test.ts';
import { sqlTest } from './sql-test.ts';

const test = sqlTest
  .extend('live', { scope: 'file' }, ({ startSql }) => startSql({ changes: { hasLog: true } }))
  .extend('blind', { scope: 'file' }, ({ startSql }) => startSql({ changes: { hasLog: false } }));

let tables = 0;
async function makeTable(database: PersonDatabase, readers: readonly Person[], columns: string): Promise<string> {
  tables += 1;
  const name = `t${tables}`;
  await database.query(`create table ${name} (${columns})`);
  for (const { name: role } of readers) await database.query(`grant select on ${name} to ${pg.escapeIdentifier(role)}`);
  return name;
}

/** What was told, without moments. */
const told = (rows: readonly unknown[][]): unknown[] => rows.map(([, ...row]) => row);

describe('rows of a table', () => {
  test('what is there comes first, then every change', async ({ live, alice, database }) => {
    const t = await makeTable(database, [alice], 'id int primary key, name text');
    await database.query(`insert into ${t} values (1, 'one'), (2, 'two')`);
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
    expect(reader.status).toBe(200);
    await reader.until(2);
    expect(reader.events[0]).toMatchObject({
      event: 'columns',
      data: {
        columns: [
          { name: 'mz_timestamp', type_oid: 1700 },
          { name: 'mz_diff', type_oid: 20 },
          { name: 'id', type_oid: 23 },
          { name: 'name', type_oid: 25 },
        ],
      },
    });
    await database.query(`insert into ${t} values (3, 'three')`);
    await database.query(`update ${t} set name = 'zwei' where id = 2`);
    await database.query(`update ${t} set id = 9 where id = 1`);
    await database.query(`delete from ${t} where id = 3`);
    await database.query(`truncate ${t}`);
    await reader.until(10);
    expect(told(reader.rows())).toEqual([
      ['1', '1', 'one'],
      ['1', '2', 'two'],
      ['1', '3', 'three'],
      ['-1', '2', 'two'],
      ['1', '2', 'zwei'],
      ['-1', '1', 'one'],
      ['1', '9', 'one'],
      ['-1', '3', 'three'],
      ['-1', '2', 'zwei'],
      ['-1', '9', 'one'],
    ]);
    const moments = reader.rows().map(([moment]) => BigInt(String(moment)));
    expect(moments).toEqual(moments.toSorted((one, other) => (one < other ? -1 : one > other ? 1 : 0)));
    expect(reader.events.some(({ event }) => event === 'notice')).toBe(false);
  });

  test('expressions and conditions, and rows that come and go by an update', async ({ live, alice, database }) => {
    const t = await makeTable(database, [alice], 'id int primary key, n numeric, at timestamptz, doc json, tags text[]');
    using reader = await readEvents(live, alice, {
      query: `SUBSCRIBE (SELECT id, n * 2 AS twice, at, doc, tags FROM ${t} x WHERE x.n > 1)`,
    });
    await reader.until(1, 'columns');
    await database.query(
      `insert into ${t} values (1, 1.50, '2001-01-01 00:00:00+02', 'null', '{a,"b ,"}'), (2, 1, null, '{"a": "\\\\"}', null)`,
    );
    await database.query(`update ${t} set n = 3 where id = 2`);
    await database.query(`update ${t} set n = 0 where id = 1`);
    await reader.until(3);
    expect(told(reader.rows())).toEqual([
      ['1', '1', '3.00', '978300000000.000', null, ['a', 'b ,']],
      ['1', '2', '6', null, { a: '\\' }, null],
      ['-1', '1', '3.00', '978300000000.000', null, ['a', 'b ,']],
    ]);
  });

  test('a large value that an update leaves as it was', async ({ live, alice, database }) => {
    const t = await makeTable(database, [alice], 'id int primary key, n int, body text');
    await database.query(`alter table ${t} alter column body set storage external`);
    await database.query(`insert into ${t} values (1, 1, repeat('x', 50000))`);
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE (SELECT n, length(body), left(body, 2) FROM ${t})` });
    await reader.until(1);
    await database.query(`update ${t} set n = 2`);
    await reader.until(3);
    expect(told(reader.rows())).toEqual([
      ['1', '1', '50000', 'xx'],
      ['-1', '1', '50000', 'xx'],
      ['1', '2', '50000', 'xx'],
    ]);
  });

  test('WITH (SNAPSHOT = false, PROGRESS): only changes, and how far they reach', async ({ live, alice, database }) => {
    const t = await makeTable(database, [alice], 'id int primary key');
    await database.query(`insert into ${t} values (1)`);
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t} WITH (SNAPSHOT = false, PROGRESS)` });
    const [progress] = await reader.until(1, 'progress');
    expect(progress?.data).toEqual([expect.stringMatching(/^\d+$/), null, true, null]);
    await database.query(`delete from ${t}`);
    await reader.until(1);
    expect(told(reader.rows())).toEqual([['-1', false, '1']]);
  });
});

/** A subscription that hears of what it must not show would hear of this as well, and later. */
const MARK = '-7';

test('a hidden row whose large value was left as it was goes (imm-073)', async ({ live, alice, bob, database }) => {
  const t = await makeTable(database, [alice], 'id int primary key, owner text, body text');
  await database.query(`alter table ${t} alter column body set storage external, enable row level security`);
  await database.query(`create policy own on ${t} for select using (owner = current_user)`);
  await database.query(`insert into ${t} values (1, $1, repeat('x', 50000)), (2, $1, '')`, [alice.name]);
  using reader = await readEvents(live, alice, { query: `SUBSCRIBE (SELECT id, length(body) FROM ${t})` });
  await reader.until(2);
  await database.query(`update ${t} set owner = $1 where id = 1`, [bob.name]);
  await database.query(`delete from ${t} where id = 2`);
  await reader.until(4);
  expect(told(reader.rows()).slice(2)).toEqual([
    ['-1', '1', '50000'],
    ['-1', '2', '0'],
  ]);
});

test('a large value that the policies judge by, and the log does not tell, ends the stream', async ({
  live,
  alice,
  database,
}) => {
  const t = await makeTable(database, [alice], 'id int primary key, n int, body text');
  await database.query(`alter table ${t} alter column body set storage external, enable row level security`);
  await database.query(`create policy own on ${t} for select using (body like 'open%')`);
  await database.query(`insert into ${t} values (1, 1, repeat('hidden', 5000))`);
  using reader = await readEvents(live, alice, { query: `SUBSCRIBE (SELECT id, n FROM ${t})` });
  await reader.until(1, 'columns');
  await database.query(`begin; update ${t} set n = 2; update ${t} set n = 3, body = 'open'; commit`);
  const [error] = await reader.until(1, 'error');
  expect(error?.data).toMatchObject({ code: '55000' });
  expect(reader.rows()).toEqual([]);
});

test('where a large value may not be read, the rest is followed all the same', async ({ live, alice, database }) => {
  const t = await makeTable(database, [], 'id int primary key, n int, body text');
  await database.query(`grant select (id, n) on ${t} to ${pg.escapeIdentifier(alice.name)}`);
  await database.query(`alter table ${t} alter column body set storage external`);
  await database.query(`insert into ${t} values (1, 1, repeat('x', 50000))`);
  using reader = await readEvents(live, alice, { query: `SUBSCRIBE (SELECT id, n FROM ${t})` });
  await reader.until(1);
  await database.query(`update ${t} set n = 2`);
  await reader.until(3);
  expect(told(reader.rows()).slice(1)).toEqual([
    ['-1', '1', '1'],
    ['1', '1', '2'],
  ]);
});

test('a policy whose function names things without their schema', async ({ live, alice, database }) => {
  const t = await makeTable(database, [alice], 'id int primary key, owner text');
  await database.query(`create table access_${t} (who text)`);
  await database.query(`grant select on access_${t} to ${pg.escapeIdentifier(alice.name)}`);
  await database.query(`create schema policy_${t}; grant usage on schema policy_${t} to public`);
  await database.query(
    `create function policy_${t}.may() returns boolean language sql stable as 'select exists (select from access_${t})'`,
  );
  await database.query(`alter table ${t} enable row level security`);
  await database.query(`create policy own on ${t} for select using (policy_${t}.may())`);
  await database.query(`insert into access_${t} values ('all')`);
  using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
  await reader.until(1, 'columns');
  await database.query(`insert into ${t} values (1, 'a')`);
  await reader.until(1);
  expect(told(reader.rows())).toEqual([['1', '1', 'a']]);
});

describe('nobody is shown what is not theirs to see', () => {
  /** Rows of `owner`s, each visible to its own. */
  async function ownedTable(database: PersonDatabase, readers: readonly Person[]): Promise<string> {
    const t = await makeTable(database, readers, 'id int primary key, owner text, secret text');
    await database.query(`alter table ${t} enable row level security`);
    await database.query(`create policy own on ${t} for select using (owner = current_user or id = ${MARK})`);
    return t;
  }
  const mark = (database: PersonDatabase, t: string): Promise<unknown> =>
    database.query(`insert into ${t} values (${MARK}, 'all', 'mark')`);

  test('a hidden row never shows: not when it comes, changes, goes, or is on its way in or out (imm-073)', async ({
    live,
    alice,
    bob,
    database,
  }) => {
    const t = await ownedTable(database, [alice, bob]);
    await database.query(`insert into ${t} values (1, $1, 'his'), (2, $2, 'hers'), (3, $1, 'his too')`, [bob.name, alice.name]);
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE (SELECT id, secret FROM ${t})` });
    await reader.until(1);
    await database.query(`insert into ${t} values (4, $1, 'hidden')`, [bob.name]);
    await database.query(`update ${t} set secret = 'still hidden' where id = 4`);
    await database.query(`update ${t} set id = 5 where id = 4`);
    await database.query(`update ${t} set owner = $1, secret = 'given' where id = 5`, [alice.name]);
    await database.query(`update ${t} set owner = $1, secret = 'taken' where id = 5`, [bob.name]);
    await database.query(`update ${t} set secret = 'after' where id = 5`);
    await database.query(`delete from ${t} where id in (1, 5)`);
    await database.query(`delete from ${t} where id = 2`);
    await database.query(`truncate ${t}`);
    await mark(database, t);
    await reader.until(5);
    expect(told(reader.rows())).toEqual([
      ['1', '2', 'hers'],
      ['1', '5', 'given'],
      ['-1', '5', 'given'],
      ['-1', '2', 'hers'],
      ['1', MARK, 'mark'],
    ]);
    expect(JSON.stringify(reader.events)).not.toMatch(/his|hidden|taken|after/);
    // And it is told from the log.
    expect(reader.events.some(({ event }) => event === 'notice')).toBe(false);
  });

  /** The condition of a policy is a text, of which settings have something to say when it is printed and read. */
  test('a hidden row never shows, whatever the settings of who asks (imm-073)', async ({ live, alice, bob, database }) => {
    const t = await ownedTable(database, [alice, bob]);
    await database.query(
      `drop policy own on ${t}; alter table ${t} add score float8, add day date, add at timestamptz, add word text;
       create policy mine on ${t} using (score > '0.123456789'::float8 and day < '2026-02-01'::date
         and at < '2026-01-01 00:00+00'::timestamptz and word = any ('{a,NULL}'::text[]))`,
    );
    const options = {
      extra_float_digits: '-15',
      DateStyle: 'SQL, DMY',
      TimeZone: 'Asia/Kolkata',
      transform_null_equals: 'on',
    };
    const path = `/api/sql/subscribe?query=${encodeURIComponent(`SELECT id FROM ${t}`)}&options=${encodeURIComponent(JSON.stringify(options))}`;
    using reader = await readEvents(live, alice, { path });
    await reader.until(1, 'columns');
    const insert = (id: number, score: string, day: string, at: string, word: string): Promise<unknown> =>
      database.query(`insert into ${t} (id, owner, score, day, at, word) values ($1, $2, $3, $4, $5, $6)`, [
        id,
        bob.name,
        score,
        day,
        at,
        word,
      ]);
    await insert(1, '0.12', '2026-01-31', '2025-12-31 23:00Z', 'a');
    await insert(2, '0.5', '2026-02-02', '2025-12-31 23:00Z', 'a');
    await insert(3, '0.5', '2026-01-31', '2026-01-01 02:00Z', 'a');
    await insert(4, '0.5', '2026-01-31', '2025-12-31 23:00Z', 'NULL');
    await insert(5, '0.123456790', '2026-01-31', '2025-12-31 23:00Z', 'a');
    await reader.until(1);
    expect(told(reader.rows())).toEqual([['1', '5']]);
    expect(reader.events.some(({ event }) => event === 'notice')).toBe(false);
  });

  test('the same where the query is run again', async ({ blind, alice, bob, database }) => {
    const t = await ownedTable(database, [alice, bob]);
    await database.query(`insert into ${t} values (1, $1, 'his'), (2, $2, 'hers')`, [bob.name, alice.name]);
    using reader = await readEvents(blind, alice, { query: `SUBSCRIBE (SELECT id, secret FROM ${t} ORDER BY id)` });
    await reader.until(1);
    await database.query(`update ${t} set secret = 'hidden' where id = 1`);
    await database.query(`delete from ${t} where id = 1`);
    await mark(database, t);
    await reader.until(2);
    expect(told(reader.rows())).toEqual([
      ['1', '2', 'hers'],
      ['1', MARK, 'mark'],
    ]);
  });

  test("the caller's own functions and operators meet no row that is hidden, not even as a predicate (imm-073)", async ({
    live,
    alice,
    bob,
    database,
  }) => {
    const t = await ownedTable(database, [alice, bob]);
    await database.query(`create schema if not exists own_${t} authorization ${pg.escapeIdentifier(alice.name)}`);
    await database.query(`grant usage on schema own_${t} to ${pg.escapeIdentifier(bob.name)}`);
    const leak = `own_${t}.leak`;
    // It cannot write, but it can fail with what it sees.
    await live.simple(
      alice,
      `create function ${leak}(seen text) returns boolean language plpgsql immutable cost 0.0001 as $$
         begin if seen like '%hidden%' then raise exception 'seen: %', seen; end if; return true; end $$;
       create function own_${t}.eq(name, text) returns boolean language plpgsql immutable as $$
         begin if $2 like '%hidden%' then raise exception 'seen: %', $2; end if; return true; end $$;
       create function own_${t}.eq(text, name) returns boolean language plpgsql immutable as $$
         begin raise exception 'seen: %', $1; return true; end $$;
       create operator own_${t}.= (leftarg = text, rightarg = name, function = own_${t}.eq)`,
    );
    const options = encodeURIComponent(JSON.stringify({ search_path: `own_${t}, pg_catalog, public` }));
    const query = encodeURIComponent(`SUBSCRIBE (SELECT id, secret FROM ${t} WHERE ${leak}(secret))`);
    using reader = await readEvents(live, alice, { path: `/api/sql/subscribe?query=${query}&options=${options}` });
    await reader.until(1, 'columns');
    await database.query(`insert into ${t} values (1, $1, 'hidden one')`, [bob.name]);
    await database.query(`update ${t} set secret = 'hidden two'`);
    await mark(database, t);
    await reader.until(1);
    expect(told(reader.rows())).toEqual([['1', MARK, 'mark']]);
    expect(reader.events.filter(({ event }) => event === 'error')).toEqual([]);
  });

  test.for(['may', 'might'] as const)(
    'a policy that calls functions where the caller %s plant some is asked by the server alone',
    async (may, { live, alice, bob, database }) => {
      const t = await makeTable(database, [alice, bob], 'id int primary key, owner text, secret text');
      await database.query(
        `create function public.is_own_${t}(anyelement) returns boolean language sql stable as 'select $1::text = current_user'`,
      );
      await database.query(`alter table ${t} enable row level security`);
      await database.query(`create policy own on ${t} for select using (public.is_own_${t}(owner) or id = ${MARK})`);
      // By name it would be the better match.
      await live.simple(alice, `create function public.is_own_${t}(text) returns boolean language sql as 'select true'`);
      // She may not create there any more; what she has made is still there.
      if (may === 'might') await database.query(`revoke create on schema public from ${pg.escapeIdentifier(alice.name)}`);
      using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
      await reader.until(1, 'columns');
      await database.query(`insert into ${t} values (1, $1, 'hidden')`, [bob.name]);
      await mark(database, t);
      await reader.until(1);
      expect(told(reader.rows())).toEqual([['1', MARK, 'all', 'mark']]);
      await database.query(`grant create on schema public to ${pg.escapeIdentifier(alice.name)}`);
    },
  );

  test('rights are asked for again with every change: columns, tables, policies', async ({ live, alice, database }) => {
    const role = pg.escapeIdentifier(alice.name);
    const t = await makeTable(database, [], 'id int primary key, secret text');
    await database.query(`grant select (id) on ${t} to ${role}`);
    using refused = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
    expect([refused.status, refused.body]).toMatchObject([400, { code: '42501' }]);
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE (SELECT id FROM ${t})` });
    await reader.until(1, 'columns');
    await database.query(`insert into ${t} values (1, 'a')`);
    await reader.until(1);
    await database.query(`revoke select (id) on ${t} from ${role}`);
    await database.query(`insert into ${t} values (2, 'b')`);
    const [error] = await reader.until(1, 'error');
    expect(error?.data).toMatchObject({ code: '42501' });
    await reader.ended;
    expect(told(reader.rows())).toEqual([['1', '1']]);
  });

  test.for(['a policy', 'a membership', 'row-level security'] as const)(
    '%s that changes ends the stream, and nothing of what was hidden is shown',
    async (what, { live, alice, bob, database }) => {
      const t = await ownedTable(database, [alice]);
      const role = `member_${t}`;
      await database.query(`create role ${role}`);
      await database.query(`create policy members on ${t} for select to ${role} using (true)`);
      using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
      await mark(database, t);
      await reader.until(1);
      await database.query(`insert into ${t} values (1, $1, 'hidden')`, [bob.name]);
      await database.query(
        {
          'a policy': `alter policy own on ${t} using (true)`,
          'a membership': `grant ${role} to ${pg.escapeIdentifier(alice.name)}`,
          'row-level security': `alter table ${t} disable row level security`,
        }[what],
      );
      await database.query(`update ${t} set secret = 'shown' where id = 1`);
      const [error] = await reader.until(1, 'error');
      expect(error?.data).toMatchObject({ code: '55000', hint: 'Subscribe again for a snapshot.' });
      expect(told(reader.rows())).toEqual([['1', MARK, 'all', 'mark']]);
      await database.query(`drop owned by ${role}`);
      await database.query(`drop role ${role}`);
    },
  );

  test('what a policy that looks up other tables hid is not shown to who is let in later (imm-073)', async ({
    live,
    alice,
    database,
  }) => {
    const t = await makeTable(database, [alice], 'id int primary key, secret text');
    const members = await makeTable(database, [alice], 'member text');
    await database.query(`alter table ${t} enable row level security`);
    await database.query(
      `create policy own on ${t} for select using (id = ${MARK} or exists (select from ${members} where member = current_user))`,
    );
    await database.query(`insert into ${t} values (${MARK}, 'mark')`);
    let id: string | undefined;
    {
      using reader = await readEvents(live, alice, { query: `SUBSCRIBE ${t}` });
      id = (await reader.until(1))[0]?.id;
    }
    await database.query(`insert into ${t} values (1, 'old secret')`);
    await database.query(`update ${t} set secret = 'for members' where id = 1`);
    await database.query(`insert into ${members} values ($1)`, [alice.name]);
    using again = await readEvents(live, alice, { query: `SUBSCRIBE ${t}`, lastEventId: id });
    await again.until(1);
    expect(told(again.rows())).toEqual([['1', '1', 'for members']]);
  });

  test('a view shows what it shows, with the rights of its owner', async ({ live, alice, bob, database }) => {
    const t = await ownedTable(database, []);
    await database.query(`create view v_${t} with (security_barrier) as select id, secret from ${t} where id > 0`);
    await database.query(`grant select on v_${t} to ${pg.escapeIdentifier(alice.name)}`);
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE v_${t}` });
    await reader.until(1, 'columns');
    await database.query(`insert into ${t} values (1, $1, 'shown by the view'), (-1, $1, 'not')`, [bob.name]);
    await reader.until(1);
    expect(told(reader.rows())).toEqual([['1', '1', 'shown by the view']]);
  });

  test.for([
    ['INSERT INTO t VALUES (1) RETURNING 1', '42601'],
    ['WITH x AS (DELETE FROM pg_class RETURNING 1) SELECT * FROM x', '25006'],
    ['SELECT 1; SELECT 2', '42601'],
    ['SELECT 1 INTO made', '25006'],
    ['SELECT * FROM pg_authid', '42501'],
    ['SELECT nosuch', '42703'],
    ['SELEC 1', '42601'],
    ["SELECT set_config('transaction_read_only', 'off', true); COPY t TO STDOUT", '42601'],
  ] as const)('%s is no subscription: %s', async ([query, code], { live, alice }) => {
    using reader = await readEvents(live, alice, { query: `SUBSCRIBE (${query})` });
    expect([reader.status, reader.body]).toMatchObject([400, { code }]);
  });
});
