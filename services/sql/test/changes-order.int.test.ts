/** Every change exactly once and in the order of commits, whoever writes, also across disconnections. */
import pg from 'pg';
import { expect } from 'vitest';

import { readEvents } from './event-client.ts';
import type { Person, PersonDatabase, RunningSql } from './sql-test.ts';
import { sqlTest } from './sql-test.ts';

const test = sqlTest.extend('live', { scope: 'file' }, ({ startSql }) => startSql({ changes: { hasLog: true } }));

const WRITERS = 4;
const TRANSACTIONS = 130;
const ROWS = 200;
/** So many rows are waited for at a time. */
const STRIDE = 50;

/** Numbers that look random and are the same in every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
}

/** Inserts, updates, deletes, changes of keys; some transactions are rolled back, some to a savepoint, some are large. */
async function write(database: PersonDatabase, table: string, writer: number): Promise<void> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  const random = numbers(writer + 1);
  const own = (): number => writer * ROWS + 1 + random(ROWS);
  const change = (): string => {
    const id = own();
    switch (random(5)) {
      case 0:
        return `delete from ${table} where id = ${id}`;
      case 1: {
        const next = own();
        return `update ${table} set id = ${next}, v = v + 1 where id = ${id} and not exists (select from ${table} where id = ${next})`;
      }
      default:
        return `insert into ${table} values (${id}, ${random(1_000_000)}) on conflict (id) do update set v = excluded.v`;
    }
  };
  for (let index = 0; index < TRANSACTIONS; index += 1) {
    const statements = ['begin', ...Array.from({ length: random(12) + 6 }, change)];
    if (random(4) === 0) {
      const end = random(2) === 0 ? 'rollback to a' : 'release b';
      statements.push('savepoint a', change(), 'savepoint b', change(), end, change());
    }
    if (random(12) === 0) {
      const [from, to] = [writer * ROWS + 1, (writer + 1) * ROWS];
      statements.push(`update ${table} set v = v + 1 where id between ${from} and ${to}`);
    }
    // All of them meet in one row.
    statements.push(`update ${table} set v = v + 1 where id = 0`, random(8) === 0 ? 'rollback' : 'commit');
    await client.query(statements.join('; '));
  }
  await client.end();
}

/** What the server's log tells by another slot, and what the rows were before each change. */
async function expected(database: PersonDatabase, table: string, slot: string): Promise<unknown[][]> {
  const { rows } = await database.query(
    `select data from pg_logical_slot_get_changes('${slot}', null, null, 'include-xids', '0') where data like 'table public.${table}:%'`,
  );
  const values = new Map<string, string>();
  const told: unknown[][] = [];
  const put = (id: string, value: string | undefined): void => {
    const before = values.get(id);
    if (before === value) return;
    if (before !== undefined) told.push(['-1', id, before]);
    if (value !== undefined) told.push(['1', id, value]);
    if (value === undefined) values.delete(id);
    else values.set(id, value);
  };
  for (const { data } of rows) {
    const text = String(data);
    const before = /(?:old-key|DELETE): id\[integer\]:(\d+)/.exec(text)?.[1];
    const [, id, value] = /(?:new-tuple|INSERT|UPDATE): id\[integer\]:(\d+) v\[integer\]:(\d+)$/.exec(text) ?? [];
    if (before !== undefined && before !== id) put(before, undefined);
    if (id !== undefined) put(id, value);
  }
  return told;
}

/** Reads until the sentinel comes, breaking off again and again and going on behind the last row that was taken. */
async function readAll(
  sql: RunningSql,
  person: Person,
  query: string,
  sentinel: string,
): Promise<{ rows: unknown[][]; readers: number }> {
  const rows: unknown[][] = [];
  let lastEventId: string | undefined;
  let readers = 0;
  for (;;) {
    using reader = await readEvents(sql, person, { query, lastEventId });
    expect(reader.status, JSON.stringify(reader.body)).toBe(200);
    readers += 1;
    // What it had been sent beyond that is lost with its connection.
    const wanted = 700 + readers * 300;
    const isEnd = (): boolean => reader.events.some(({ data }) => Array.isArray(data) && data[2] === sentinel);
    for (let count = 1; count <= wanted && !isEnd(); count += STRIDE) await reader.until(Math.min(count, wanted));
    const taken = reader.events.filter(({ event }) => event === 'row').slice(0, isEnd() ? Infinity : wanted);
    rows.push(...taken.map(({ data }) => data as unknown[]));
    lastEventId = taken.at(-1)?.id;
    const end = rows.findIndex(([, , id]) => id === sentinel);
    if (end !== -1) return { rows: rows.slice(0, end + 1), readers };
  }
}

// A busy machine takes its time for that many.
test(
  '10,000 changes of several writers arrive exactly once and in commit order, also across a resume',
  { timeout: 300_000 },
  async ({ live, alice, database }) => {
    const table = 'many';
    await database.query(`create table ${table} (id int primary key, v int)`);
    await database.query(`grant select on ${table} to ${pg.escapeIdentifier(alice.name)}`);
    const slot = `check_${database.url.slice(-8)}`;
    await database.query(`select pg_create_logical_replication_slot('${slot}', 'test_decoding')`);
    try {
      await database.query(`insert into ${table} values (0, 0)`);
      const writing = async (): Promise<void> => {
        await Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(database, table, writer)));
        // Whoever waits for more rows than there are before it gets them after it.
        await database.query(`insert into ${table} select -n, 0 from generate_series(1, ${STRIDE}) n`);
      };
      const [{ rows, readers }] = await Promise.all([readAll(live, alice, `SUBSCRIBE ${table}`, '-1'), writing()]);
      const sentinel = rows.pop();
      expect(sentinel?.slice(1)).toEqual(['1', '-1', '0']);
      const all = await expected(database, table, slot);
      expect(all.length).toBeGreaterThan(10_000);
      expect(readers).toBeGreaterThan(3);
      // The subscription begins with a snapshot somewhere among them: what it shows is what had been told until then.
      const moments = rows.map(([moment]) => BigInt(String(moment)));
      expect(moments.every((moment, index) => index === 0 || moment >= (moments[index - 1] ?? 0n))).toBe(true);
      const first = moments[0];
      const snapshot = rows.filter((_, index) => moments[index] === first && rows[index]?.[1] === '1');
      expect(snapshot.length).toBeGreaterThan(0);
      const got = rows.map(([, ...row]) => row);
      const joined = joinAt(all, got);
      expect(joined).toBeDefined();
    } finally {
      await database.query(`select pg_drop_replication_slot('${slot}')`);
    }
  },
);

/** Where the changes that were read go on from a snapshot: everything after it is the same, row by row. */
function joinAt(all: readonly unknown[][], got: readonly unknown[][]): number | undefined {
  const state = new Map<unknown, unknown>();
  for (let at = 0; at <= all.length; at += 1) {
    const rest = all.length - at;
    const shown = got.length - rest;
    if (shown === state.size && shown >= 0) {
      const isSnapshot = got.slice(0, shown).every(([diff, id, value]) => diff === '1' && state.get(id) === value);
      if (isSnapshot && JSON.stringify(got.slice(shown)) === JSON.stringify(all.slice(at))) return at;
    }
    const [diff, id, value] = all[at] ?? [];
    if (diff === '1') state.set(id, value);
    else state.delete(id);
  }
  return undefined;
}
