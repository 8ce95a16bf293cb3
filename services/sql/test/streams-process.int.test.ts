/** Streams, asynchronous statements and limits in a process of their own: its memory, its end, its file of limits. */
import { eventually } from '@postern/testkit/eventually';
import { temporaryFolder } from '@postern/testkit/temporary-folder';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import http from 'node:http';
import { join } from 'node:path';
import pg from 'pg';
import { expect } from 'vitest';

import { environment, MAIN, processTest as test, residentBytes } from './process-test.ts';
import type { PersonDatabase, RunningSql } from './sql-test.ts';
import { outcomes } from './sql-test.ts';

const MIB = 1_048_576;
/** For machines that have other things to do. */
const BUSY = { timeoutMs: 30_000 };

async function countBytes(sql: RunningSql, headers: Record<string, string>, query: string): Promise<number> {
  const response = await fetch(`${sql.origin}/api/sql`, { method: 'POST', headers, body: JSON.stringify({ query }) });
  expect(response.status).toBe(200);
  let bytes = 0;
  const pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array> = response.body ?? [];
  for await (const piece of pieces) bytes += piece.length;
  return bytes;
}

/** Begins a statement that goes on until it is canceled, and waits for it to run. */
async function begin(sql: RunningSql, headers: Record<string, string>, query: string, wait = 0): Promise<string> {
  const response = await fetch(`${sql.origin}/api/sql/statements`, {
    method: 'POST',
    headers: { ...headers, prefer: `wait=${wait}` },
    body: JSON.stringify({ query }),
  });
  expect(response.ok).toBe(true);
  return ((await response.json()) as { readonly id: string }).id;
}

test.runIf(process.platform === 'linux')(
  'the size of what is streamed or kept does not show in memory, be it many rows, large rows or a reader who pauses',
  async ({ start, alice, database }) => {
    const { child, sql } = await start();
    await countBytes(
      sql,
      { ...(await sql.headers(alice)), accept: 'application/x-ndjson' },
      "select i, repeat('x', 100) from generate_series(1, 20000) i",
    );
    const idle = await residentBytes(child.pid, 'VmRSS');
    for (const accept of ['application/x-ndjson', 'text/csv']) {
      const rows = await countBytes(
        sql,
        { ...(await sql.headers(alice)), accept },
        "select i, repeat('x', 1000) from generate_series(1, 120000) i",
      );
      expect(rows).toBeGreaterThan(110 * MIB);
      const values = await countBytes(
        sql,
        { ...(await sql.headers(alice)), accept },
        "select repeat('é\"', 30000000) as a, null as n, repeat('y', 1000000) as b",
      );
      expect(values).toBeGreaterThan(85 * MIB);
      const paused = Promise.withResolvers<http.IncomingMessage>();
      const asked = { method: 'POST', headers: { ...(await sql.headers(alice)), accept }, agent: false };
      http
        .request(`${sql.origin}/api/sql`, asked, paused.resolve)
        .end(JSON.stringify({ query: "select repeat('x', 1000), generate_series(1, 5000000)" }));
      const reader = await paused.promise;
      const stuck = "select from pg_stat_activity where usename = $1 and wait_event = 'ClientWrite'";
      await eventually(async () => expect((await database.query(stuck, [alice.name])).rowCount).toBe(1), BUSY);
      reader.destroy();
      await eventually(async () => expect((await database.query(stuck, [alice.name])).rowCount).toBe(0), BUSY);
    }
    const id = await begin(sql, await sql.headers(alice), "select repeat('é', 30000000), i from generate_series(1, 3) i", 60);
    const page = await fetch(`${sql.origin}/api/sql/statements/${id}/results?page=0-1&limit=1`, {
      headers: await sql.headers(alice),
    });
    let bytes = 0;
    const pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array> = page.body ?? [];
    for await (const piece of pieces) bytes += piece.length;
    expect(bytes).toBeGreaterThan(57 * MIB);
    expect((await residentBytes(child.pid, 'VmHWM')) - idle).toBeLessThan(64 * MIB);
  },
  600_000,
);

const active = async (database: PersonDatabase, name: string): Promise<number> =>
  (await database.query("select from pg_stat_activity where usename = $1 and state = 'active'", [name])).rowCount ?? 0;

test('a stop lets statements end that nobody waits for, until the deadline; the others are canceled', async ({
  start,
  person,
  database,
}) => {
  const [alice, bob] = [await person('stopped'), await person('stopped_late')];
  const { child, said, sql } = await start({ DRAIN_TIMEOUT_MS: '5000' });
  const holder = new pg.Client({ connectionString: database.url });
  await holder.connect();
  await holder.query('select pg_advisory_lock(4711)');
  await sql.simple(alice, 'create table before_the_end (a int)');
  await begin(sql, await sql.headers(alice), 'insert into before_the_end select 1 from pg_advisory_lock(4711)');
  await begin(sql, await sql.headers(bob), 'set statement_timeout = 0; select pg_sleep(600)');
  await eventually(async () => expect([await active(database, alice.name), await active(database, bob.name)]).toEqual([1, 1]));
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await eventually(() => said.at(-1)?.state === 'draining');
  await holder.end();
  expect(await exited).toEqual([0, null]);
  expect((await database.query('select a from before_the_end')).rows).toEqual([{ a: 1 }]);
  await eventually(async () => expect(await active(database, bob.name)).toBe(0), { timeoutMs: 2_000 });
});

test('a file of limits with mistakes ends the start with 78 and all of them; a good one holds', async ({
  start,
  nats,
  database,
  alice,
}) => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'limits.json');
  await writeFile(path, JSON.stringify({ roles: { a: { rows: 1 } }, groups: { nobody: {} } }));
  const child = spawn(process.execPath, [MAIN], {
    env: { ...environment(database, nats), LOG_LEVEL: 'info', SQL_LIMITS_FILE: path },
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
  expect(await once(child, 'close')).toEqual([78, null]);
  expect(text).toContain('SQL_LIMITS_FILE: ');
  for (const mistake of ['/roles/a: ', '/groups: ']) expect(text).toContain(mistake);
  await writeFile(path, JSON.stringify({ roles: { '*': { estimatedRowsMax: 10 } } }));
  const { sql } = await start({ SQL_LIMITS_FILE: path });
  expect(outcomes(await sql.simple(alice, 'select generate_series(1, 100000)'))).toEqual(['54000']);
  await writeFile(path, JSON.stringify({}));
  await eventually(async () => expect((await sql.simple(alice, 'select generate_series(1, 1000)'))[0]?.tag).toBe('SELECT 1000'));
});
