import { eventually } from '@postern/testkit/eventually';
import { expect } from 'vitest';

import type { Person } from '../harness/client.ts';
import { bearer, login, makeKey, makePerson, request } from '../harness/client.ts';
import { running } from '../harness/database.ts';
import type { Mesh } from '../harness/mesh.ts';
import type { Socket, SqlSocket } from '../harness/sockets.ts';
import { openSocket, openSql, openWire, rowsIn, typesIn, untilQuiet, upgradeStatus } from '../harness/sockets.ts';
import { verifies } from '../verifies.ts';

const PATHS = ['/api/v1/sql', '/api/experimental/sql'];
const WHO = { query: 'select current_user' };
const PATIENCE = { timeoutMs: 20_000 };
/** What a stop of an open socket may take. */
const IN_TIME = { timeoutMs: 2_000 };

const codeOf = async (socket: Socket): Promise<number> => (await socket.ended).code;

verifies('socket:login', 'whoever says who they are in the first message works as themselves', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const { name, password } = person;
  const { key } = await makeKey(mesh, name);
  const session = await login(mesh.edges[0], name, password);
  for (const origin of mesh.edges) {
    for (const path of PATHS) {
      const ways = [
        { first: { user: name, password }, headers: {} },
        { first: { user: name, password: key }, headers: {} },
        { first: { token: key }, headers: {} },
        { first: {}, headers: { ...session, origin } },
        { first: { token: key }, headers: { ...session, origin } },
      ];
      for (const { first, headers } of ways) {
        await using socket = await openSocket(origin, first, { path, headers });
        const start = typesIn(await socket.untilReady());
        expect(start.slice(-2)).toEqual(['BackendKeyData', 'ReadyForQuery']);
        expect(start).toContain('ParameterStatus');
        expect(rowsIn(await socket.ask(WHO)), `${path} ${JSON.stringify(Object.keys(first))}`).toEqual([[name]]);
      }
    }
  }
});

verifies('socket:login', 'options of the first message are settings of the session', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const first = { user: person.name, password: person.password, options: { application_name: 'chosen', 'my.own': '7' } };
  await using socket = await openSql(mesh.edges[0], first);
  const query = "select current_setting('application_name'), current_setting('my.own')";
  expect(rowsIn(await socket.ask({ query }))).toEqual([['chosen', '7']]);
});

verifies('socket:login', 'who is nobody is told so and nothing else, and gets no session', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const session = await login(mesh.edges[0], person.name, person.password);
  const refused = [
    { first: { user: person.name, password: 'wrong' }, headers: {} },
    { first: { user: 'nobody_by_this_name', password: 'wrong' }, headers: {} },
    { first: { token: 'pst_aaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' }, headers: {} },
    { first: {}, headers: {} },
    { first: { options: {} }, headers: {} },
    // Upgrades carry no credentials: a page could have a browser send them.
    { first: {}, headers: person.basic },
    // Whoever says a wrong name is not let in by their cookie instead.
    { first: { token: 'wrong' }, headers: { ...session, origin: mesh.edges[0] } },
  ];
  for (const [index, path] of PATHS.entries()) {
    // Wrong passwords of one client are counted: where all scenarios are one client, few of them are shown.
    for (const { first, headers } of index === 0 ? refused : refused.slice(2)) {
      await using socket = await openSocket(mesh.edges[0], first, { path, headers });
      expect(await socket.ended, JSON.stringify(first)).toEqual({ code: 1002, reason: 'unauthorized' });
      expect(socket.messages).toEqual([]);
    }
  }
});

/** imm-078, imm-110: a page of somebody else's, open in a browser that is logged in, gets nothing by the cookie it carries. */
verifies('socket:origin', 'a cookie from a foreign page opens no socket', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const [origin] = mesh.edges;
  const session = await login(origin, person.name, person.password);
  for (const path of PATHS) {
    expect(await upgradeStatus(origin, path, { ...session, origin })).toBe(101);
    for (const foreign of ['https://evil.example', 'null', origin.replace('127.0.0.1', 'localhost'), `${origin}.evil.example`]) {
      expect(await upgradeStatus(origin, path, { ...session, origin: foreign }), foreign).toBe(403);
    }
    // A session that is over is as good as none: whoever carries it may say who they are, and is nobody without.
    const dead = { cookie: 'postern_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', origin };
    await using socket = await openSocket(origin, {}, { path, headers: dead });
    expect(await socket.ended).toEqual({ code: 1002, reason: 'unauthorized' });
  }
});

verifies('socket:requests', 'fifty requests that are sent at once are answered one after the other, in order', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  for (const origin of mesh.edges) {
    await using socket = await openSql(origin, { user: person.name, password: person.password });
    const numbers = Array.from({ length: 50 }, (_, index) => index);
    for (const number of numbers) {
      socket.send(
        number % 5 === 4 ? { query: `select ${number}/0` } : { queries: [{ query: 'select $1::int', params: [`${number}`] }] },
      );
    }
    for (const number of numbers) {
      const answer = await socket.untilReady();
      expect(answer.at(-1)).toEqual({ type: 'ReadyForQuery', payload: 'I' });
      if (number % 5 === 4) expect(answer.at(-2)).toMatchObject({ type: 'Error', payload: { code: '22012' } });
      else expect(rowsIn(answer)).toEqual([[`${number}`]]);
    }
  }
});

verifies('socket:requests', 'a transaction lives from request to request, and ends with its socket', async (mesh) => {
  await using person = await makePerson(mesh, 'writer');
  const first = { user: person.name, password: person.password };
  await using watching = await openSql(mesh.edges.at(-1) ?? '', first);
  {
    await using socket = await openSql(mesh.edges[0], first);
    const state = async (query: string): Promise<unknown> => (await socket.ask({ query })).at(-1)?.payload;
    expect(await state('create table of_socket (n int)')).toBe('I');
    expect(await state('begin; insert into of_socket values (1)')).toBe('T');
    expect(await state('select 1/0')).toBe('E');
    expect(await state('select 1')).toBe('E');
    expect(await state('rollback')).toBe('I');
    expect(await state('insert into of_socket values (2)')).toBe('I');
    expect(await state('begin; insert into of_socket values (3)')).toBe('T');
    expect(rowsIn(await watching.ask({ query: 'select n from of_socket' }))).toEqual([['2']]);
  }
  await eventually(async () => {
    const locks = "select count(*) from pg_locks where relation = 'of_socket'::regclass and pid <> pg_backend_pid()";
    expect(rowsIn(await watching.ask({ query: locks }))).toEqual([['0']]);
  });
  expect(rowsIn(await watching.ask({ query: 'select n from of_socket; drop table of_socket' }))).toEqual([['2']]);
});

verifies('socket:requests', 'what runs is canceled in band, and the transaction it was in has failed', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const first = { user: person.name, password: person.password };
  await using socket = await openSql(mesh.edges[0], first);
  await socket.ask({ query: 'begin' });
  socket.send({ query: 'select pg_sleep(300)' });
  await eventually(async () => expect(await running(mesh, person.name)).toHaveLength(1));
  socket.send({ cancel: true });
  const answer = await socket.untilReady();
  expect(answer.at(-2)).toMatchObject({ type: 'Error', payload: { code: '57014' } });
  expect(answer.at(-1)).toEqual({ type: 'ReadyForQuery', payload: 'E' });
});

interface Sockets {
  readonly all: readonly Socket[];
  readonly busy: SqlSocket;
}

/** At each edge both kinds, idle and busy, by what `secret` is. */
async function socketsOf(mesh: Mesh, person: Person, secret: string): Promise<Sockets> {
  const all: Socket[] = [];
  for (const origin of mesh.edges) {
    all.push(await openSql(origin, { user: person.name, password: secret }));
    const wire = await openWire(origin, person.name, secret);
    await untilQuiet(wire);
    all.push(wire, await openWire(origin, person.name, secret, 'select pg_sleep(300)'));
  }
  const busy = await openSql(mesh.edges[0], { user: person.name, password: secret });
  busy.send({ query: 'select pg_sleep(300)' });
  // All are in and at work: one that still says who it is would be told of its end as a wrong password.
  await eventually(async () => expect(await running(mesh, person.name)).toHaveLength(mesh.edges.length + 1), PATIENCE);
  return { all: [...all, busy], busy };
}

const end = async ({ all }: Sockets): Promise<void> => {
  await Promise.all(all.map((socket) => socket[Symbol.asyncDispose]()));
};

async function endsAllInTime({ all }: Sockets): Promise<void> {
  const codes: number[] = [];
  for (const socket of all) void socket.ended.then(({ code }) => codes.push(code));
  await eventually(() => expect(codes).toHaveLength(all.length), IN_TIME);
  expect(new Set(codes)).toEqual(new Set([4401]));
}

const asAdmin = (mesh: Mesh, method: string, path: string, json?: unknown): Promise<unknown> =>
  request(mesh.edges[0], path, { method, headers: bearer(mesh.apiKey), ...(json !== undefined && { json }) });

verifies('socket:revoked', 'a revoked key closes its sockets at every edge, busy or idle, and no others', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const { id, key } = await makeKey(mesh, person.name);
  const sockets = await socketsOf(mesh, person, key);
  await using other = await openSql(mesh.edges[0], { user: person.name, password: person.password });
  try {
    await asAdmin(mesh, 'DELETE', `/api/keys/${id}`);
    await endsAllInTime(sockets);
    expect(rowsIn(await other.ask(WHO))).toEqual([[person.name]]);
  } finally {
    await end(sockets);
  }
});

verifies('socket:revoked', 'a disabled person is out of every socket', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const sockets = await socketsOf(mesh, person, person.password);
  try {
    await asAdmin(mesh, 'PATCH', `/api/people/${person.name}`, { disabled: true });
    await endsAllInTime(sockets);
  } finally {
    await end(sockets);
  }
});

verifies('socket:revoked', 'a logout closes the sockets of its cookie, and leaves those of another login', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const [origin] = mesh.edges;
  const session = await login(origin, person.name, person.password);
  const another = await login(origin, person.name, person.password);
  const sockets: SqlSocket[] = [];
  try {
    for (const edge of mesh.edges) sockets.push(await openSql(edge, {}, { headers: { ...session, origin: edge } }));
    await using kept = await openSql(origin, {}, { headers: { ...another, origin } });
    await request(mesh.edges.at(-1) ?? '', '/api/logout', { method: 'POST', headers: session });
    await endsAllInTime({ all: sockets, busy: kept });
    expect(rowsIn(await kept.ask(WHO))).toEqual([[person.name]]);
    expect(await Promise.all(sockets.map(codeOf))).toEqual(sockets.map(() => 4401));
  } finally {
    await Promise.all(sockets.map((socket) => socket[Symbol.asyncDispose]()));
  }
});
