import { neon, neonConfig } from '@neondatabase/serverless';
import { eventually } from '@postern/testkit/eventually';
import type pg from 'pg';
import { expect } from 'vitest';

import { answersAsOverTcp, readsTypesAsOverTcp, tables } from '../drivers/compare.ts';
import { directPool, neonHttp, neonPool, neonWebSocket, plainResult, useOwnServer } from '../drivers/neon.ts';
import type { BuiltInType } from '../drivers/samples.ts';
import { BUILT_IN_TYPES, SAMPLES, WITHOUT_VALUES } from '../drivers/samples.ts';
import { bearer, makeKey, makePerson, request } from '../harness/client.ts';
import { doorUrl, query } from '../harness/database.ts';
import type { Mesh } from '../harness/mesh.ts';
import { verifies } from '../verifies.ts';

for (const pair of [neonHttp, neonWebSocket]) {
  verifies('drivers:script', `${pair.name} answers and fails as over TCP`, (mesh) => answersAsOverTcp(mesh, pair));
  verifies('drivers:types', `${pair.name} reads every type as over TCP`, (mesh) => readsTypesAsOverTcp(mesh, pair));
}

verifies('drivers:types', 'no built-in type is left out', async (mesh) => {
  const names = (await query<BuiltInType>(mesh, BUILT_IN_TYPES)).map(({ name }) => name);
  expect(names.filter((name) => !(name in SAMPLES) && !WITHOUT_VALUES.includes(name))).toEqual([]);
});

/** What JavaScript makes of values is the driver's; that they arrive is ours. */
const NATIVE = {
  text: 'select $1::int as int, $2::float8 as float, $3::bool as bool, $4::timestamptz as at, $5::bytea as bytes, $6::int[] as ints, $7::text[] as texts, $8::jsonb as json, $9::text as nothing, $10::int8 as large, $11::bytea as view',
  values: [
    7,
    0.1,
    false,
    new Date('2026-02-28T12:34:56.789Z'),
    Buffer.from([0, 255, 39, 92]),
    [1, null, 3],
    ['a"b', "c'd", 'e\\f', 'null', '', null],
    { a: [1, { b: 'é' }], c: null },
    null,
    9_007_199_254_740_993n,
    new Uint8Array([1, 2, 3]),
  ],
};

verifies('drivers:types', 'values of JavaScript arrive as over TCP, in object and in array mode', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const url = doorUrl(mesh, person.name, person.password);
  useOwnServer();
  const direct = directPool(mesh.databaseUrl);
  const pool = neonPool(url);
  try {
    for (const rowMode of ['array', undefined] as const) {
      const expected = plainResult(await direct.query({ ...NATIVE, ...(rowMode !== undefined && { rowMode }) }));
      const overSocket = await pool.query({ ...NATIVE, ...(rowMode !== undefined && { rowMode }) });
      expect(plainResult(overSocket)).toEqual(expected);
      const overHttp = await neon(url).query(NATIVE.text, NATIVE.values, { arrayMode: rowMode === 'array', fullResults: true });
      expect(plainResult(overHttp)).toEqual(expected);
    }
  } finally {
    await Promise.all([direct.end(), pool.end()]);
  }
});

const HOW =
  "select current_setting('transaction_isolation') as isolation, current_setting('transaction_read_only') as read_only, current_setting('transaction_deferrable') as deferrable, current_user";

verifies('drivers:transactions', 'a batch has the isolation, the access and the deferment it asks for', async (mesh) => {
  await using person = await makePerson(mesh, 'writer');
  useOwnServer();
  const sql = neon(doorUrl(mesh, person.name, person.password));
  const levels = ['ReadUncommitted', 'ReadCommitted', 'RepeatableRead', 'Serializable'] as const;
  for (const isolationLevel of levels) {
    for (const readOnly of [true, false]) {
      const options = { isolationLevel, readOnly, deferrable: readOnly };
      const [first, second] = await sql.transaction([sql.query(HOW), sql.query('select txid_current_if_assigned()')], options);
      expect(first).toEqual([
        {
          isolation: isolationLevel.replaceAll(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter}`).toLowerCase(),
          read_only: readOnly ? 'on' : 'off',
          deferrable: readOnly ? 'on' : 'off',
          current_user: person.name,
        },
      ]);
      expect(second).toHaveLength(1);
    }
  }
  const writing = sql.transaction([sql`create temporary table a (b int)`, sql`create table c (d int)`], { readOnly: true });
  await expect(writing).rejects.toMatchObject({ code: '25006' });
});

const ACCOUNTS = 20;
const TRANSFERS = 100;

interface Transferred {
  readonly from: number;
  readonly to: number;
  readonly amount: number;
}

/** Each takes rows in the order of their keys, so that none waits for one that waits for it. */
const steps = ({ from, to, amount }: Transferred): readonly (readonly [string, readonly number[]])[] =>
  [
    ['update account set balance = balance + $2 where id = $1', [from, -amount]] as const,
    ['update account set balance = balance + $2 where id = $1', [to, amount]] as const,
  ].toSorted(([, one], [, other]) => (one[0] ?? 0) - (other[0] ?? 0));

const transfers = Array.from({ length: TRANSFERS }, (_, index) => ({
  from: 1 + (index % ACCOUNTS),
  to: 1 + ((index * 7 + 3) % ACCOUNTS),
  amount: 1 + (index % 13),
})).filter(({ from, to }) => from !== to);

async function balancesAfter(mesh: Mesh, transfer: (transfer: Transferred) => Promise<unknown>): Promise<void> {
  await query(mesh, `insert into account select i, 'owner' || i, 1000 from generate_series(1, ${ACCOUNTS}) i`);
  await Promise.all(transfers.map(transfer));
  const expected = new Map(Array.from({ length: ACCOUNTS }, (_, index) => [index + 1, 1_000]));
  for (const { from, to, amount } of transfers) {
    expected.set(from, (expected.get(from) ?? 0) - amount);
    expected.set(to, (expected.get(to) ?? 0) + amount);
  }
  const rows = await query<{ id: number; balance: number }>(mesh, 'select id, balance from account');
  expect(new Map(rows.toSorted((one, other) => one.id - other.id).map(({ id, balance }) => [id, balance]))).toEqual(expected);
}

verifies('drivers:transactions', 'a hundred at once over HTTP each move what they say', async (mesh) => {
  await using person = await makePerson(mesh, 'writer');
  await using _tables = await tables(mesh);
  useOwnServer();
  const doors = mesh.edges.map((origin) => neon(doorUrl(mesh, person.name, person.password, origin)));
  let turn = 0;
  await balancesAfter(mesh, async (transfer) => {
    const sql = doors[(turn += 1) % doors.length] ?? doors[0];
    await sql?.transaction(steps(transfer).map(([text, values]) => sql.query(text, [...values])));
  });
});

verifies('drivers:transactions', 'a hundred at once over WebSocket each move what they say', async (mesh) => {
  await using person = await makePerson(mesh, 'writer');
  await using _tables = await tables(mesh);
  const pools = mesh.edges.map((origin) => neonPool(doorUrl(mesh, person.name, person.password, origin), 25));
  let turn = 0;
  try {
    await balancesAfter(mesh, async (transfer) => {
      const client = await pools[(turn += 1) % pools.length]?.connect();
      try {
        await client?.query('begin');
        for (const [text, values] of steps(transfer)) await client?.query(text, [...values]);
        await client?.query('commit');
      } finally {
        client?.release();
      }
    });
  } finally {
    await Promise.all(pools.map((pool) => pool.end()));
  }
});

verifies('drivers:session', 'what is said in a connection stays in it, and what others say reaches it', async (mesh) => {
  await using person = await makePerson(mesh, 'writer');
  const pool = neonPool(doorUrl(mesh, person.name, person.password), 2);
  const [client, other] = [await pool.connect(), await pool.connect()];
  const heard: string[] = [];
  try {
    client.on('notification', ({ channel, payload }) => heard.push(`${channel} ${payload}`));
    client.on('notice', ({ message }) => heard.push(`notice ${message}`));
    await client.query('create temporary table mine (n int)');
    await client.query("set application_name = 'kept'; listen news");
    await client.query({ name: 'insertion', text: 'insert into mine select * from generate_series(1, $1)', values: [5] });
    await client.query({ name: 'insertion', text: 'insert into mine select * from generate_series(1, $1)', values: [2] });
    await client.query('begin');
    await client.query('declare walk cursor for select n from mine');
    expect((await client.query('fetch 6 from walk')).rows.map(({ n }: { n: number }) => n)).toEqual([1, 2, 3, 4, 5, 1]);
    await client.query('commit');
    await client.query("do $$ begin raise warning 'careful'; end $$");
    await other.query("notify news, 'of the other'");
    await eventually(() => expect(heard).toEqual(['notice careful', 'news of the other']));
    const several = await client.query("select 1 as a; show application_name; select 'é' as c");
    expect((several as unknown as pg.QueryResult[]).map(({ rows }) => rows as unknown)).toEqual([
      [{ a: 1 }],
      [{ application_name: 'kept' }],
      [{ c: 'é' }],
    ]);
  } finally {
    client.release();
    other.release();
    await pool.end();
  }
});

verifies('drivers:session', 'a pool that sends single queries over HTTP mixes both', async (mesh) => {
  await using person = await makePerson(mesh, 'writer');
  const pool = neonPool(doorUrl(mesh, person.name, person.password));
  neonConfig.poolQueryViaFetch = true;
  // The pool tells the host alone, without the port.
  neonConfig.fetchEndpoint = `${mesh.edges[0]}/sql`;
  try {
    const { rows } = await pool.query('select $1::int as n', [1]);
    expect(rows).toEqual([{ n: 1 }]);
    await expect(pool.query('select 1/0')).rejects.toMatchObject({ code: '22012' });
  } finally {
    neonConfig.poolQueryViaFetch = false;
    await pool.end();
  }
});

/** What somebody gets who asks who they are, over both. */
async function whoIs(url: string): Promise<readonly unknown[]> {
  useOwnServer();
  const pool = neonPool(url, 1);
  // Whoever is put out is told so on what is idle as well.
  pool.on('error', () => {});
  const told = (error: unknown): unknown => {
    const { message, code, severity } = error as pg.DatabaseError;
    return { message, code, severity };
  };
  const overHttp = await neon(url)`select current_user as who`.then((rows) => rows[0], told);
  const overSocket = await pool.query('select current_user as who').then(({ rows }) => rows[0] as unknown, told);
  await pool.end();
  return [overHttp, overSocket];
}

verifies('drivers:identity', 'a password and an API key are good in the place of the password, at every edge', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const { key } = await makeKey(mesh, person.name);
  for (const origin of mesh.edges) {
    for (const secret of [person.password, key]) {
      expect(await whoIs(doorUrl(mesh, person.name, secret, origin))).toEqual([{ who: person.name }, { who: person.name }]);
    }
  }
});

verifies('drivers:identity', 'a wrong password is told as PostgreSQL does, and as for nobody', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  for (const name of [person.name, 'nobody_by_this_name']) {
    const told = await whoIs(doorUrl(mesh, name, 'wrong'));
    const message = `password authentication failed for user "${name}"`;
    const error = { message, code: '28P01', severity: 'FATAL' };
    expect(told).toEqual([error, error]);
  }
});

verifies('drivers:identity', 'a key of somebody else does not make anybody them', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  await using other = await makePerson(mesh, 'reader');
  const { key } = await makeKey(mesh, other.name);
  for (const answer of await whoIs(doorUrl(mesh, person.name, key))) expect(answer).not.toEqual({ who: person.name });
});

verifies('drivers:identity', 'a revoked key is dead in the place of the password', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const { id, key } = await makeKey(mesh, person.name);
  const url = doorUrl(mesh, person.name, key);
  expect(await whoIs(url)).toEqual([{ who: person.name }, { who: person.name }]);
  await request(mesh.edges[0], `/api/keys/${id}`, { method: 'DELETE', headers: bearer(mesh.apiKey) });
  await eventually(
    async () => {
      const [overHttp, overSocket] = await whoIs(url);
      expect([overHttp, overSocket]).toMatchObject([{ code: '28P01' }, { code: '28P01' }]);
    },
    { timeoutMs: 1_000 },
  );
});
