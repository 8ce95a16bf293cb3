import { eventually } from '@postern/testkit/eventually';
import { expect } from 'vitest';

import type { Person } from '../harness/client.ts';
import { makePerson, request } from '../harness/client.ts';
import { query } from '../harness/database.ts';
import type { Mesh } from '../harness/mesh.ts';
import { openSql } from '../harness/sockets.ts';
import { linesOf, openStream } from '../harness/streams.ts';
import { verifies } from '../verifies.ts';

const MiB = 1_048_576;
const ABOVE_IDLE_MAX = 64 * MiB;
const ROW_BYTES = 1_000;
const ROWS = 200_000;
/** Before anything is measured: code is compiled, and buffers are as large as they become. */
const WARM_ROWS = 40_000;

const large = (rows: number): string => `select g, repeat('x', ${ROW_BYTES}) from generate_series(1, ${rows}) g`;

verifies('stream:ndjson', 'an answer of lines tells its columns first and its end last, so that a cut is known', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const lines = async (text: string): Promise<readonly unknown[]> => {
    const headers = { ...person.basic, accept: 'application/x-ndjson' };
    const answer = await request(mesh.edges.at(-1) ?? '', '/api/sql', { json: { query: text }, headers });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toMatch(/^application\/x-ndjson/);
    expect(answer.text.endsWith('\n')).toBe(true);
    return answer.text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
  };
  const column = { name: 'n', type_oid: 23, type_len: 4, type_mod: -1 };
  expect(await lines('select 1 as n; create temporary table of_lines ()')).toEqual([
    { columns: [column] },
    ['1'],
    { tag: 'SELECT 1' },
    { ok: 'CREATE TABLE' },
    { status: 'ok' },
  ]);
  const failed = await lines('select 100 / (500 - n) as n from generate_series(1, 1000) n');
  expect(failed.slice(0, 2)).toEqual([{ columns: [column] }, ['0']]);
  expect(failed).toHaveLength(1 + 499 + 1);
  expect(failed.at(-1)).toMatchObject({ error: { code: '22012' } });
});

verifies('stream:csv', 'a table of text is what COPY would write, and never looks whole when it is not', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const headers = { ...person.basic, accept: 'text/csv' };
  const ask = (text: string) => request(mesh.edges[0], '/api/sql', { json: { query: text }, headers });
  const whole = await ask(`select 1 as n, 'a,"b"' as t, null as "x y" union all select 2, E'é\\n', 'z'`);
  expect(whole.text.replaceAll('\r\n', '\n')).toBe('n,t,x y\n1,"a,""b""",\n2,"é\n",z\n');
  // Enough of it that the beginning has been sent when the error comes.
  await expect(ask(`select repeat('x', 200), 1 / (5000 - g) from generate_series(1, 10000) g`)).rejects.toThrow(
    /aborted|hang up|reset/,
  );
});

/** A reader who has not read for a while, and reads on. */
interface Reader {
  /** Reads on to the end and answers how many rows there were. */
  finish(): Promise<number>;
}

type Read = (mesh: Mesh, person: Person, rows: number) => Promise<Reader>;

const overLines: Read = async (mesh, person, rows) => {
  const headers = { ...person.basic, accept: 'application/x-ndjson' };
  const stream = openStream(mesh.edges[0], '/api/sql', { json: { query: large(rows) }, headers });
  const response = await stream.response;
  return {
    async finish() {
      let count = 0;
      let last = '';
      for await (const line of linesOf(response)) {
        if (line.startsWith('[')) count += 1;
        last = line;
      }
      expect(last).toBe('{"status":"ok"}');
      return count;
    },
  };
};

const overSocket: Read = async (mesh, person, rows) => {
  const socket = await openSql(mesh.edges[0], { user: person.name, password: person.password });
  socket.raw.removeAllListeners('message');
  const ready = Promise.withResolvers<void>();
  let count = 0;
  socket.raw.on('message', (bytes: Buffer) => {
    const begin = bytes.toString('latin1', 0, 24);
    if (begin.startsWith('{"type":"Row",')) count += 1;
    if (begin.startsWith('{"type":"ReadyForQuery"')) ready.resolve();
  });
  socket.send({ query: large(rows) });
  socket.raw.pause();
  return {
    async finish() {
      socket.raw.resume();
      await ready.promise;
      await socket[Symbol.asyncDispose]();
      return count;
    },
  };
};

const held = async (mesh: Mesh): Promise<number> =>
  (await Promise.all([mesh.residentBytes('sql'), mesh.residentBytes('edge')])).reduce((sum, bytes) => sum + bytes, 0);

/** The database has more to say than anybody takes. */
const isWaitedFor = (mesh: Mesh, name: string): Promise<void> =>
  eventually(
    async () => {
      const text = "select 1 from pg_stat_activity where usename = $1 and wait_event = 'ClientWrite'";
      expect(await query(mesh, text, [name])).toHaveLength(1);
    },
    { timeoutMs: 30_000 },
  );

for (const [surface, read] of Object.entries({ '/api/v1/sql': overSocket, NDJSON: overLines })) {
  verifies(
    'stream:memory',
    `a reader who pauses and reads on costs less than 64 MiB, and gets every row (${surface})`,
    async (mesh) => {
      await using person = await makePerson(mesh, 'reader');
      expect(await (await read(mesh, person, WARM_ROWS)).finish()).toBe(WARM_ROWS);
      const idle = await held(mesh);
      const reader = await read(mesh, person, ROWS);
      await isWaitedFor(mesh, person.name);
      let most = await held(mesh);
      let done = false;
      const finishing = reader.finish().finally(() => (done = true));
      await eventually(
        async () => {
          most = Math.max(most, await held(mesh));
          return done;
        },
        { timeoutMs: 100_000 },
      );
      expect(await finishing).toBe(ROWS);
      expect(most - idle).toBeLessThan(ABOVE_IDLE_MAX);
    },
    { only: 'local' },
  );
}
