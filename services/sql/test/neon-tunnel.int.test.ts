/** `/v2` with the Neon driver's Pool and Client, and with bytes; next to `pg` over TCP. */
import { Client, neonConfig, Pool } from '@neondatabase/serverless';
import { cancelRequested } from '@postern/contracts/edge';
import { PRINCIPAL_HEADER } from '@postern/contracts/common';
import { emit, emitAndWait } from '@postern/rpc/events';
import { connectAs } from '@postern/testkit/bus-test';
import { eventually } from '@postern/testkit/eventually';
import { createHash } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { describe, expect } from 'vitest';
import { WebSocket } from 'ws';

import { errorOf, overTcp, plain, post } from './neon-test.ts';
import type { Person, PersonDatabase, RunningSql } from './sql-test.ts';
import { sqlTest as test } from './sql-test.ts';

/** What the edge does before it passes bytes on: it takes the password message out. */
function edgeSocket(headers: Readonly<Record<string, string>>): new (url: string) => WebSocket {
  return class EdgeSocket extends WebSocket {
    #left: Buffer = Buffer.alloc(0);
    #isPasswordDue = true;

    constructor(url: string) {
      super(url, { headers });
    }

    override send(data: never): void {
      if (!this.#isPasswordDue) return super.send(data);
      this.#left = Buffer.concat([this.#left, Buffer.from(data)]);
      const startup = this.#left.length < 4 ? Infinity : this.#left.readUInt32BE(0);
      if (this.#left.length < startup + 5) return undefined;
      const password = 1 + this.#left.readUInt32BE(startup + 1);
      if (this.#left.length < startup + password) return undefined;
      expect(this.#left[startup]).toBe(0x70);
      this.#isPasswordDue = false;
      super.send(this.#left.subarray(0, startup));
      const rest = this.#left.subarray(startup + password);
      if (rest.length > 0) super.send(rest);
      return undefined;
    }
  };
}

interface Way {
  readonly connectionString: string;
}

/** How the driver is set up for a person's tunnel. */
async function driverFor(sql: RunningSql, person: Person, database: PersonDatabase): Promise<Way> {
  const headers = await sql.headers(person);
  const { host } = new URL(sql.origin);
  neonConfig.webSocketConstructor = edgeSocket(headers) as never;
  neonConfig.wsProxy = () => `${host}/v2?address=169.254.169.254:80`;
  neonConfig.useSecureWebSocket = false;
  return { connectionString: `postgresql://${encodeURIComponent(person.name)}:secret@${host}/${databaseOf(database)}` };
}

const databaseOf = (database: PersonDatabase): string => new URL(database.url).pathname.slice(1);

async function poolFor(
  sql: RunningSql,
  person: Person,
  database: PersonDatabase,
  options: object = {},
): Promise<Pool & AsyncDisposable> {
  const pool = new Pool({ ...(await driverFor(sql, person, database)), ...options });
  pool.on('error', () => {});
  return Object.assign(pool, { [Symbol.asyncDispose]: () => pool.end() });
}

async function clientFor(sql: RunningSql, person: Person, database: PersonDatabase): Promise<Client & AsyncDisposable> {
  const client = new Client(await driverFor(sql, person, database));
  client.on('error', () => {});
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

interface Message {
  readonly type: string;
  readonly body: Buffer;
}

interface Closing {
  readonly code: number;
  readonly reason: string;
}

/** A client that speaks in bytes. */
interface Raw extends Disposable {
  readonly ws: WebSocket;
  send(...parts: readonly Buffer[]): void;
  readonly messages: readonly Message[];
  readonly closing: Promise<Closing>;
  /** Resolves when there are `count` messages of the type. */
  until(type: string, count?: number): Promise<Message>;
}

const message = (type: string, body: string | Buffer = ''): Buffer => {
  const bytes = Buffer.alloc(5);
  bytes.write(type, 'latin1');
  bytes.writeUInt32BE(4 + Buffer.byteLength(body), 1);
  return Buffer.concat([bytes, Buffer.from(body)]);
};
const query = (text: string): Buffer => message('Q', `${text}\0`);

function startup(parameters: Readonly<Record<string, string>>, [major, minor]: readonly [number, number] = [3, 0]): Buffer {
  const body = `${Object.entries(parameters)
    .map(([name, value]) => `${name}\0${value}\0`)
    .join('')}\0`;
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + Buffer.byteLength(body), 0);
  head.writeUInt16BE(major, 4);
  head.writeUInt16BE(minor, 6);
  return Buffer.concat([head, Buffer.from(body)]);
}

async function raw(sql: RunningSql, person: Person): Promise<Raw> {
  const { [PRINCIPAL_HEADER]: assertion = '' } = await sql.headers(person);
  const ws = new WebSocket(`${sql.origin.replace('http', 'ws')}/v2`, { headers: { [PRINCIPAL_HEADER]: assertion } });
  const messages: Message[] = [];
  let left: Buffer = Buffer.alloc(0);
  ws.on('message', (data: Buffer) => {
    left = Buffer.concat([left, data]);
    for (let length = lengthOf(left); length !== undefined && left.length >= length; length = lengthOf(left)) {
      messages.push({ type: left.toString('latin1', 0, 1), body: Buffer.from(left.subarray(5, length)) });
      left = left.subarray(length);
    }
  });
  ws.on('error', () => {});
  const closed = Promise.withResolvers<Closing>();
  ws.once('close', (code, reason) => closed.resolve({ code, reason: reason.toString() }));
  const opened = Promise.withResolvers<void>();
  ws.once('open', opened.resolve);
  ws.once('error', opened.reject);
  await opened.promise;
  return {
    ws,
    messages,
    closing: closed.promise,
    send: (...parts) => ws.send(Buffer.concat(parts)),
    until: (type, count = 1) =>
      eventually(() => {
        const found = messages.filter((one) => one.type === type);
        expect(found.length).toBeGreaterThanOrEqual(count);
        return found[count - 1] ?? { type, body: Buffer.alloc(0) };
      }),
    [Symbol.dispose]: () => ws.terminate(),
  };
}

const lengthOf = (bytes: Buffer): number | undefined => (bytes.length < 5 ? undefined : 1 + bytes.readUInt32BE(1));

const errorFields = ({ body }: Message): Record<string, string> =>
  Object.fromEntries(
    body
      .toString('utf8')
      .split('\0')
      .filter((field) => field !== '')
      .map((field) => [field.slice(0, 1), field.slice(1)]),
  );

async function ready(sql: RunningSql, person: Person, parameters: Readonly<Record<string, string>> = {}): Promise<Raw> {
  const socket = await raw(sql, person);
  socket.send(startup({ user: person.name, ...parameters }));
  await socket.until('Z');
  return socket;
}

const backends = async (database: PersonDatabase, person: Person): Promise<unknown> =>
  (await database.query("select pid from pg_stat_activity where usename = $1 and backend_type = 'client backend'", [person.name]))
    .rows.length;

describe('the driver', () => {
  test('queries through a pool as pg does over TCP, and has its own session', async ({ sql, database, alice }) => {
    await using pool = await poolFor(sql, alice, database);
    await using direct = await overTcp(database.url, alice);
    const text = "select $1::int as a, $2::text[] as b, $3::jsonb as c, current_user, current_setting('DateStyle') as d";
    const values = [1, ['x', null], { y: [1] }];
    expect(plain(await pool.query(text, values))).toEqual(plain(await direct.query(text, values)));
    for (const bad of ['selec 1', 'select 1/0', 'select * from noexist', "select 'x'::int"]) {
      expect(await errorOf(pool.query(bad))).toEqual(await errorOf(direct.query(bad)));
    }
    expect(
      ((await pool.query('select 1 as one; select 2 as two')) as never as { rows: unknown }[]).map(({ rows }) => rows),
    ).toEqual([[{ one: 1 }], [{ two: 2 }]]);
  });

  test('commits, rolls back, prepares, and has what it set for as long as it is connected', async ({ sql, database, alice }) => {
    await using client = await clientFor(sql, alice, database);
    await client.query('create table tunnel_t (a int primary key)');
    await client.query('begin isolation level serializable');
    await client.query('insert into tunnel_t values (1)');
    await expect(client.query('insert into tunnel_t values (1)')).rejects.toMatchObject({ code: '23505' });
    await expect(client.query('select 1')).rejects.toMatchObject({ code: '25P02' });
    await client.query('rollback');
    expect((await client.query('select * from tunnel_t')).rows).toEqual([]);
    await client.query("set application_name to 'mine'");
    await client.query('create temp table tunnel_temp (a int)');
    for (const a of [1, 2]) await client.query({ name: 'insert', text: 'insert into tunnel_temp values ($1)', values: [a] });
    expect(
      (await client.query("select count(*)::int as n, current_setting('application_name') as who from tunnel_temp")).rows,
    ).toEqual([{ n: 2, who: 'mine' }]);
    await using other = await clientFor(sql, alice, database);
    await expect(other.query('select * from tunnel_temp')).rejects.toMatchObject({ code: '42P01' });
  });

  test('listens', async ({ sql, database, alice }) => {
    await using client = await clientFor(sql, alice, database);
    await using pool = await poolFor(sql, alice, database);
    const heard = Promise.withResolvers<unknown>();
    client.on('notification', ({ channel, payload }) => heard.resolve([channel, payload]));
    await client.query('listen tunnel_channel');
    await pool.query("select pg_notify('tunnel_channel', 'é')");
    expect(await heard.promise).toEqual(['tunnel_channel', 'é']);
  });

  test('fetches from a cursor, and from a portal in pieces', async ({ sql, database, alice }) => {
    await using client = await clientFor(sql, alice, database);
    await client.query('begin; declare c cursor for select generate_series(1, 5) as n');
    expect((await client.query('fetch 2 from c')).rows).toEqual([{ n: 1 }, { n: 2 }]);
    expect((await client.query('fetch all from c')).rows).toEqual([{ n: 3 }, { n: 4 }, { n: 5 }]);
    await client.query('commit');
    using socket = await ready(sql, alice);
    socket.send(
      message('P', '\0select generate_series(1, 3)\0\0\0'),
      message('B', '\0\0\0\0\0\0\0\0'),
      message('E', '\0\0\0\0\x02'),
      message('H'),
    );
    await socket.until('s');
    expect(socket.messages.filter(({ type }) => type === 'D').length).toBe(2);
    socket.send(message('E', '\0\0\0\0\0'), message('S'));
    await socket.until('Z', 2);
    expect(socket.messages.filter(({ type }) => type === 'D').length).toBe(3);
  });

  test('has a session that ends when it says goodbye', async ({ sql, database, person }) => {
    const carol = await person('carol');
    const client = await clientFor(sql, carol, database);
    await client.query('begin');
    await client.end();
    await eventually(async () => expect(await backends(database, carol)).toBe(0));
    using socket = await ready(sql, carol);
    socket.send(message('X'));
    expect(await socket.closing).toMatchObject({ code: 1000 });
    await eventually(async () => expect(await backends(database, carol)).toBe(0));
  });

  test('runs a hundred transactions side by side', async ({ sql, database, alice }) => {
    await using pool = await poolFor(sql, alice, database, { max: 20 });
    await pool.query('create table if not exists tunnel_many (n int, who text)');
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_, n) => {
        const client = await pool.connect();
        try {
          await client.query('begin');
          await client.query('insert into tunnel_many values ($1, $2)', [n, `mark ${n}`]);
          const { rows } = await client.query('select who from tunnel_many where n = $1', [n]);
          await client.query('commit');
          return rows as unknown[];
        } finally {
          client.release();
        }
      }),
    );
    expect(answers).toEqual(Array.from({ length: 100 }, (_, n) => [{ who: `mark ${n}` }]));
  });
});

describe('bytes', () => {
  test('a session begins as a server begins one, with a key of our own', async ({ sql, database, alice }) => {
    using socket = await ready(sql, alice, { database: databaseOf(database), application_name: 'mine', client_encoding: 'UTF8' });
    expect(socket.messages.map(({ type }) => type).join('')).toMatch(/^RS+KZ$/);
    expect(socket.messages[0]?.body).toEqual(Buffer.alloc(4));
    const told = new Map(
      socket.messages.filter(({ type }) => type === 'S').map(({ body }) => body.toString().split('\0') as [string, string]),
    );
    expect(Object.fromEntries(told)).toMatchObject({
      application_name: 'mine',
      client_encoding: 'UTF8',
      session_authorization: alice.name,
      is_superuser: 'off',
    });
    const key = await socket.until('K');
    const { rows } = await database.query('select application_name from pg_stat_activity where pid = $1', [
      key.body.readInt32BE(0),
    ]);
    expect(rows).toEqual([{ application_name: 'mine' }]);
  });

  test('what the client sends before the session is there is not lost, however it is cut', async ({ sql, alice }) => {
    for (const size of [1, 7, 1_000]) {
      using socket = await raw(sql, alice);
      const bytes = Buffer.concat([startup({ user: alice.name }), query('select 1'), query("select 'é'"), message('X')]);
      for (let at = 0; at < bytes.length; at += size) socket.ws.send(bytes.subarray(at, at + size));
      expect(await socket.closing).toMatchObject({ code: 1000 });
      expect(socket.messages.filter(({ type }) => type === 'Z').length).toBe(3);
    }
  });

  test('COPY goes in and out', async ({ sql, alice }) => {
    using socket = await ready(sql, alice);
    socket.send(query('create temp table copied (a int, b text)'));
    await socket.until('Z', 2);
    socket.send(query('copy copied from stdin'));
    await socket.until('G');
    for (let part = 0; part < 20; part += 1) {
      const rows = Array.from({ length: 2_000 }, (_, row) => `${part * 2_000 + row}\t${'x'.repeat(20)}\n`).join('');
      socket.send(message('d', rows));
    }
    socket.send(message('c'));
    await socket.until('Z', 3);
    socket.send(query('copy (select a from copied order by a) to stdout'));
    await socket.until('Z', 4);
    const out = socket.messages.filter(({ type }) => type === 'd');
    expect([out.length, out.at(-1)?.body.toString()]).toEqual([40_000, '39999\n']);
    socket.send(query('copy copied from stdin'));
    await socket.until('G', 2);
    socket.send(message('f', 'enough\0'));
    await socket.until('Z', 5);
    expect(errorFields(await socket.until('E'))).toMatchObject({ C: '57014', M: 'COPY from stdin failed: enough' });
  });

  test('large messages go both ways, as they are', async ({ sql, database, alice }) => {
    await using client = await clientFor(sql, alice, database);
    const large = 'é'.repeat(3_000_000);
    const { rows } = await client.query<{ back: string; sum: string }>('select $1::text as back, md5($1) as sum', [large]);
    expect(rows[0]?.back === large).toBe(true);
    expect(rows[0]?.sum).toBe(createHash('md5').update(large).digest('hex'));
  });

  test('a reader who takes nothing has the server wait, and loses nothing', async ({ sql, database, alice }) => {
    using socket = await ready(sql, alice);
    const { body } = await socket.until('K');
    socket.send(query('create sequence tunnel_rows'));
    await socket.until('Z', 2);
    socket.ws.pause();
    socket.send(query("select nextval('tunnel_rows'), repeat('x', 10000) from generate_series(1, 6000)"));
    let last: unknown;
    await eventually(async () => {
      const { rows } = await database.query(
        'select wait_event, (select last_value::int from tunnel_rows) as sent from pg_stat_activity where pid = $1',
        [body.readInt32BE(0)],
      );
      const before = last;
      last = rows[0]?.['sent'];
      expect(rows).toEqual([{ wait_event: 'ClientWrite', sent: before }]);
    });
    expect(last).toBeLessThan(6_000);
    socket.ws.resume();
    await socket.until('Z', 3);
    expect(socket.messages.filter(({ type }) => type === 'D').length).toBe(6_000);
  });

  test('text is not understood', async ({ sql, alice }) => {
    using socket = await raw(sql, alice);
    socket.ws.send('select 1');
    expect(await socket.closing).toMatchObject({ code: 1003 });
  });

  test('a message of more than 16 MiB ends the connection with 1009', async ({ sql, alice }) => {
    using socket = await ready(sql, alice);
    socket.ws.send(Buffer.alloc(16_777_217));
    expect(await socket.closing).toMatchObject({ code: 1009 });
  });

  test('what is no message of the protocol is the server’s to refuse', async ({ sql, database, person }) => {
    const dora = await person('dora');
    using socket = await ready(sql, dora);
    socket.send(Buffer.from('\0\0\0\0\0\0\0\0\0'));
    expect(errorFields(await socket.until('E'))).toMatchObject({ S: 'FATAL', C: '08P01' });
    expect(await socket.closing).toMatchObject({ code: 1011 });
    await eventually(async () => expect(await backends(database, dora)).toBe(0));
  });
});

describe('who a client may be', () => {
  const attempt = async (
    sql: RunningSql,
    person: Person,
    parameters: Readonly<Record<string, string>>,
    version?: readonly [number, number],
  ) => {
    using socket = await raw(sql, person);
    socket.send(startup(parameters, version), query('select current_user, session_user'));
    await socket.closing;
    return { types: socket.messages.map(({ type }) => type).join(''), error: errorFields(await socket.until('E')) };
  };

  test.for([
    [{ user: 'postgres' }, '28000'],
    [{ user: '' }, '28000'],
    [{ database: 'postgres' }, '3D000'],
    [{ replication: 'database' }, '0A000'],
    [{ replication: 'true' }, '0A000'],
    [{ session_authorization: 'postgres' }, '42501'],
    [{ role: 'postgres' }, '42501'],
    [{ options: '-c role=postgres' }, '42501'],
    [{ options: '-c session_authorization=postgres' }, '42501'],
    [{ options: '-c log_statement=none' }, '42501'],
    [{ options: '-c session_preload_libraries=x' }, '42501'],
    [{ options: '-c is_superuser=on' }, '55P02'],
    [{ options: '-B 1' }, '55P02'],
    [{ options: '-c nothing_of_the_kind=1' }, '42704'],
    [{ nothing_of_the_kind: '1' }, '42704'],
    [{ options: '-c work_mem=many' }, '22023'],
    [{ client_encoding: 'x' }, '22023'],
    [{ DateStyle: 'never' }, '22023'],
  ] as const)('%j is FATAL %s, and nothing runs (imm-073)', async ([parameters, code], { sql, alice }) => {
    const { types, error } = await attempt(sql, alice, { user: alice.name, ...parameters });
    expect(error).toMatchObject({ S: 'FATAL', V: 'FATAL' });
    expect([parameters, error['C']]).toEqual([parameters, code]);
    expect(types).toBe('E');
  });

  test('a library that cannot be loaded is not put down to the login', async ({ sql, alice, auth }) => {
    const before = auth.lent.length;
    let healed = 0;
    auth.healers.set(alice.name, async () => void (healed += 1));
    const { error } = await attempt(sql, alice, { user: alice.name, options: '-c local_preload_libraries=nothing_there' });
    expect(error['C']).toBe('58P01');
    expect([healed, auth.lent.length - before]).toEqual([0, 0]);
    auth.healers.delete(alice.name);
  });

  test('what PostgreSQL takes, the session begins with', async ({ sql, alice }) => {
    using socket = await ready(sql, alice, {
      options: '-c work_mem=3MB --search-path=pg_catalog -c application_name=a\\ b',
      DateStyle: 'German',
      client_encoding: 'LATIN1',
      statement_timeout: '1234',
      replication: 'false',
    });
    socket.send(
      query(
        "select current_setting('work_mem'), current_setting('DateStyle'), current_setting('statement_timeout'), 'é', current_setting('application_name')",
      ),
    );
    const row = await socket.until('D');
    expect(row.body.toString('latin1')).toContain('3MB');
    expect(row.body.toString('latin1')).toContain('German, DMY');
    expect(row.body.toString('latin1')).toContain('1234ms');
    // Two characters of LATIN1 came, and go.
    expect(row.body.includes(Buffer.from('é'))).toBe(true);
    socket.send(query('reset client_encoding'), query('show client_encoding'));
    expect((await socket.until('D', 2)).body.toString('latin1')).toContain('LATIN1');
  });

  test('options of the protocol are negotiated', async ({ sql, alice }) => {
    using socket = await raw(sql, alice);
    socket.send(startup({ user: alice.name, '_pq_.future': '1' }, [3, 2]));
    await socket.until('Z');
    expect(socket.messages[0]).toEqual({ type: 'v', body: Buffer.from('\0\x03\0\x02\0\0\0\x01_pq_.future\0') });
  });

  test('who has no session left is told so', async ({ startSql, alice }) => {
    const narrow = await startSql({ held: { perRole: 1, total: 1 }, pool: { waitMs: 1 } });
    using first = await ready(narrow, alice);
    const { error } = await attempt(narrow, alice, { user: alice.name });
    expect(error).toMatchObject({ S: 'FATAL', C: '53300' });
    first.send(message('X'));
    await first.closing;
    using again = await ready(narrow, alice);
    again.send(query('select 1'));
    await again.until('D');
  });

  test('whose login is not lent is told so', async ({ sql, auth, person }) => {
    const eve = await person('eve');
    auth.denied.add(eve.name);
    const { error } = await attempt(sql, eve, { user: eve.name });
    expect(error).toMatchObject({ S: 'FATAL', C: '28000' });
  });

  test('a database that is away is told of, here and over HTTP', async ({ startSql, alice }) => {
    const away = await startSql({ databaseUrl: 'postgres://nobody@127.0.0.1:1/away' });
    using socket = await raw(away, alice);
    socket.send(startup({ user: alice.name }));
    expect(await socket.closing).toMatchObject({ code: 1011 });
    expect(errorFields(await socket.until('E'))).toMatchObject({ S: 'FATAL', C: '57P03' });
    expect((await post(away, alice, { query: 'select 1' })).status).toBe(503);
  });

  test('who has a limit that cannot be kept here is told which', async ({ startSql, alice, bob }) => {
    const limited = await startSql({
      limitTable: {
        roles: new Map([
          [alice.name, { rowsMax: 5 }],
          [bob.name, { statementTimeMs: 777, concurrentMax: 1 }],
        ]),
        groups: new Map(),
        keys: new Map(),
      },
    });
    const { error } = await attempt(limited, alice, { user: alice.name });
    expect(error).toMatchObject({ S: 'FATAL', C: '54000', M: expect.stringContaining('rowsMax') as string });
    using socket = await ready(limited, bob, { statement_timeout: '0' });
    socket.send(query('show statement_timeout'));
    expect((await socket.until('D')).body.toString()).toContain('777ms');
    expect((await attempt(limited, bob, { user: bob.name })).error).toMatchObject({ C: '53400' });
  });
});

describe('an end', () => {
  const sleeping = async (database: PersonDatabase, person: Person): Promise<number> =>
    (
      await database.query("select from pg_stat_activity where usename = $1 and state = 'active' and query like '%pg_sleep%'", [
        person.name,
      ])
    ).rows.length;

  test('a key cancels what runs, and only the right one', async ({ nats, sql, database, alice }) => {
    await using edge = Object.assign(await connectAs(nats, 'edge'), { [Symbol.asyncDispose]: async () => {} });
    const sleeper = async (): Promise<{ readonly socket: Raw; readonly processId: number; readonly secretKey: number }> => {
      const socket = await ready(sql, alice);
      const { body } = await socket.until('K');
      socket.send(query('select pg_sleep(60)'));
      return { socket, processId: body.readInt32BE(0), secretKey: body.readInt32BE(4) };
    };
    const [one, other] = [await sleeper(), await sleeper()];
    await eventually(async () => expect(await sleeping(database, alice)).toBe(2));
    emit(edge, cancelRequested, { processId: one.processId, secretKey: one.secretKey ^ 1 });
    emit(edge, cancelRequested, { processId: one.processId, secretKey: other.secretKey });
    emit(edge, cancelRequested, { processId: other.processId, secretKey: other.secretKey });
    await edge.flush();
    await other.socket.until('Z', 2);
    expect(errorFields(await other.socket.until('E'))).toMatchObject({ C: '57014', S: 'ERROR' });
    other.socket.send(query('select 1'));
    await other.socket.until('Z', 3);
    expect(await sleeping(database, alice)).toBe(1);
    emit(edge, cancelRequested, { processId: one.processId, secretKey: one.secretKey });
    await one.socket.until('Z', 2);
    for (const { socket } of [one, other]) socket[Symbol.dispose]();
    await edge.close();
  });

  test('a key’s cancel is acknowledged when it has been sent, and what is asked then is not hit', async ({
    nats,
    sql,
    alice,
  }) => {
    const edge = await connectAs(nats, 'edge');
    using socket = await ready(sql, alice);
    const { body } = await socket.until('K');
    const key = { processId: body.readInt32BE(0), secretKey: body.readInt32BE(4) };
    let answers = 1;
    const statesOf = (): unknown[] => socket.messages.filter(({ type }) => type === 'E').map((one) => errorFields(one)['C']);
    for (let round = 0; round < 20; round += 1) {
      socket.send(query(`select pg_sleep(0.0${round % 3})`));
      expect(await emitAndWait(edge, cancelRequested, key, 5_000)).toBe(true);
      await socket.until('Z', (answers += 1));
      const before = statesOf().length;
      socket.send(query('select pg_sleep(0.01)'));
      await socket.until('Z', (answers += 1));
      expect(statesOf().length).toBe(before);
    }
    expect(await emitAndWait(edge, cancelRequested, { ...key, secretKey: key.secretKey ^ 1 }, 100)).toBe(false);
    await edge.close();
  });

  test('a client who leaves while more is to come than the server takes leaves nothing behind', async ({
    sql,
    database,
    person,
  }) => {
    const rita = await person('rita');
    const socket = await ready(sql, rita);
    socket.send(query('select pg_sleep(60)'));
    await eventually(async () => expect(await sleeping(database, rita)).toBe(1));
    const large = query(`select '${'x'.repeat(60_000)}'`);
    for (let count = 0; count < 300; count += 1) socket.send(large);
    // Nothing more is taken, one look after the other.
    let [left, looks] = [0, 0];
    await eventually(() => {
      looks = socket.ws.bufferedAmount === left ? looks + 1 : 0;
      left = socket.ws.bufferedAmount;
      return looks >= 15;
    });
    expect(left).toBeGreaterThan(0);
    socket.ws.terminate();
    await eventually(async () => expect(await backends(database, rita)).toBe(0), { timeoutMs: 4_000 });
  });

  test('a statement time is kept even by who sets it away', async ({ startSql, database, alice }) => {
    const limited = await startSql({
      limitTable: { roles: new Map([[alice.name, { statementTimeMs: 1_000 }]]), groups: new Map(), keys: new Map() },
    });
    using socket = await ready(limited, alice);
    socket.send(query('set statement_timeout = 0'), query('select pg_sleep(0.05)'), query('select pg_sleep(60)'));
    expect(errorFields(await socket.until('E'))).toMatchObject({ C: '57014' });
    await socket.until('Z', 4);
    // A statement that catches its cancel is not canceled for ever.
    socket.send(
      query('do $$ begin loop begin perform pg_sleep(60); exception when query_canceled then null; end; end loop; end $$'),
    );
    expect(await socket.closing).toMatchObject({ code: 1008 });
    await eventually(async () => expect(await sleeping(database, alice)).toBe(0));
  });

  test('pings in any number are answered, at least the last of them, and end nothing', async ({ sql, alice }) => {
    using socket = await ready(sql, alice);
    const pongs: string[] = [];
    socket.ws.on('pong', (payload) => void pongs.push(payload.toString()));
    const { _socket: connection } = socket.ws as unknown as { readonly _socket: Duplex };
    connection.cork();
    for (let index = 0; index < 500; index += 1) socket.ws.ping(String(index));
    connection.uncork();
    await eventually(() => expect(pongs.at(-1)).toBe('499'));
    socket.send(query('select 1'));
    await socket.until('Z', 2);
  });

  test('a client who is gone leaves no statement and no session behind', async ({ sql, database, person }) => {
    const frank = await person('frank');
    for (const text of [
      'select pg_sleep(60)',
      'begin; select pg_sleep(60)',
      'select count(*) from generate_series(1, 100000000000), pg_sleep(0)',
    ]) {
      using socket = await ready(sql, frank, { client_connection_check_interval: '0' });
      socket.send(query(text));
      await eventually(async () => expect(await sleeping(database, frank)).toBe(1));
      socket.ws.terminate();
      await eventually(async () => expect(await backends(database, frank)).toBe(0), { timeoutMs: 2_000 });
    }
  });

  test('a revoked credential closes with 4401, and its backend is gone', async ({ sql, auth, database, person }) => {
    const grace = await person('grace');
    using busy = await ready(sql, grace);
    using idle = await ready(sql, grace);
    busy.send(query('select pg_sleep(60)'));
    await eventually(async () => expect(await sleeping(database, grace)).toBe(1));
    auth.revoke(grace.principal);
    for (const socket of [busy, idle]) {
      expect(await socket.closing).toMatchObject({ code: 4401, reason: 'the credential was revoked' });
      expect(errorFields(await socket.until('E'))).toMatchObject({ S: 'FATAL', C: '28000' });
    }
    await eventually(async () => expect(await backends(database, grace)).toBe(0), { timeoutMs: 2_000 });
  });

  test('another token of the same person is left alone', async ({ sql, auth, alice }) => {
    const [one, two] = ['one', 'two'].map((tokenId) => ({ ...alice, principal: { ...alice.principal, tokenId } }));
    if (one === undefined || two === undefined) throw new Error('there are two');
    using first = await ready(sql, one);
    using second = await ready(sql, two);
    auth.revoke(alice.principal, 'one');
    expect(await first.closing).toMatchObject({ code: 4401 });
    second.send(query('select 1'));
    await second.until('Z', 2);
  });

  test('a credential that expires closes with 4401', async ({ sql, alice }) => {
    const brief = { ...alice, principal: { ...alice.principal, expiresAt: Math.floor(Date.now() / 1_000) + 1 } };
    using socket = await raw(sql, brief);
    socket.send(startup({ user: alice.name }));
    expect(await socket.closing).toMatchObject({ code: 4401, reason: 'the credential has expired' });
  });

  test('a backend that is ended tells why, and the socket closes with 1011', async ({ sql, database, alice }) => {
    using socket = await ready(sql, alice);
    const { body } = await socket.until('K');
    await database.query('select pg_terminate_backend($1)', [body.readInt32BE(0)]);
    expect(await socket.closing).toMatchObject({ code: 1011 });
    expect(errorFields(await socket.until('E'))).toMatchObject({ S: 'FATAL', C: '57P01' });
  });

  test('a drain waits for the transaction, and then says why', async ({ sql, alice }) => {
    using socket = await ready(sql, alice);
    socket.send(query('begin'));
    await socket.until('Z', 2);
    socket.ws.ping('postern-drain');
    socket.send(query('select 1'));
    await socket.until('Z', 3);
    socket.send(query('commit'));
    await socket.until('Z', 4);
    expect(await socket.closing).toMatchObject({ code: 1001 });
    expect(errorFields(await socket.until('E'))).toMatchObject({ S: 'FATAL', C: '57P01' });
    using quiet = await ready(sql, alice);
    quiet.ws.ping('postern-drain');
    expect(await quiet.closing).toMatchObject({ code: 1001 });
  });

  test('a drain waits for COPY, and for no more once it has failed', async ({ sql, alice }) => {
    using socket = await ready(sql, alice);
    socket.send(query('create temp table copied (a int)'));
    await socket.until('Z', 2);
    const group = [message('P', '\0copy copied from stdin\0\0\0'), message('B', '\0\0'.repeat(4)), message('E', '\0'.repeat(5))];
    socket.send(Buffer.concat([...group, message('S')]));
    await socket.until('G');
    socket.ws.ping('postern-drain');
    socket.send(message('d', 'none\n'));
    expect(errorFields(await socket.until('E'))).toMatchObject({ S: 'ERROR', C: '22P02' });
    socket.send(message('S'));
    expect(await socket.closing).toMatchObject({ code: 1001 });
    expect(socket.messages.filter(({ type }) => type === 'Z').length).toBe(3);
  });
});
