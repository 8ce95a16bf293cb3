import { eventually } from '@postern/testkit/eventually';
import { expect } from 'vitest';
import { z } from 'zod';

import type { Person } from '../harness/client.ts';
import { makePerson, request } from '../harness/client.ts';
import { doorUrl, running } from '../harness/database.ts';
import type { Mesh } from '../harness/mesh.ts';
import { cancelByWire, openSql, openWire } from '../harness/sockets.ts';
import { openStream } from '../harness/streams.ts';
import { verifies } from '../verifies.ts';

const LONG = 'select pg_sleep(300)';
/** A minute is less than the statement takes, and more than anybody who left should be waited for. */
const IN_TIME = { timeoutMs: 2_000 };

/** Begins a statement and answers what ends it. */
type Begin = (mesh: Mesh, person: Person, query: string) => Promise<() => Promise<void> | void>;

const overHttp =
  (accept: string): Begin =>
  async (mesh, person, query) =>
    openStream(mesh.edges[0], '/api/sql', { json: { query }, headers: { ...person.basic, accept } }).leave;

const overNeon: Begin = async (mesh, person, query) => {
  const headers = { 'neon-connection-string': doorUrl(mesh, person.name, person.password), 'neon-array-mode': 'true' };
  return openStream(mesh.edges[0], '/sql', { json: { query, params: [] }, headers }).leave;
};

const overSocket: Begin = async (mesh, person, query) => {
  const socket = await openSql(mesh.edges[0], { user: person.name, password: person.password });
  socket.send({ query });
  return () => socket.raw.terminate();
};

const overWire: Begin = async (mesh, person, query) => {
  const socket = await openWire(mesh.edges[0], person.name, person.password, query);
  return () => socket.raw.terminate();
};

const overEvents: Begin = async (mesh, person, query) => {
  const path = `/api/sql/subscribe?query=${encodeURIComponent(query)}`;
  return openStream(mesh.edges[0], path, { headers: { ...person.basic, accept: 'text/event-stream' } }).leave;
};

const ENDED_BY_LEAVING: Readonly<Record<string, Begin>> = {
  'POST /api/sql': overHttp('application/json'),
  'POST /api/sql as NDJSON': overHttp('application/x-ndjson'),
  'POST /api/sql as CSV': overHttp('text/csv'),
  'POST /sql': overNeon,
  '/api/v1/sql': overSocket,
  '/v2': overWire,
  'GET /api/sql/subscribe': overEvents,
};

const Started = z.looseObject({ id: z.string() });

const ENDED_BY_CANCEL: Readonly<Record<string, Begin>> = {
  async '/api/v1/sql, in band'(mesh, person, query) {
    const socket = await openSql(mesh.edges[0], { user: person.name, password: person.password });
    socket.send({ query });
    return async () => {
      socket.send({ cancel: true });
      expect((await socket.untilReady()).at(-2)).toMatchObject({ type: 'Error', payload: { code: '57014' } });
      await socket[Symbol.asyncDispose]();
    };
  },
  async '/v2, by its key'(mesh, person, query) {
    const socket = await openWire(mesh.edges[0], person.name, person.password, query);
    const key = await eventually(() => {
      const found = socket.messages.find(({ type }) => type === 'K');
      if (found === undefined) throw new Error('no key yet');
      return found.body;
    });
    return async () => {
      // At whatever edge: it is another connection, which a balancer may send anywhere.
      await cancelByWire(mesh.edges.at(-1) ?? '', key);
      await eventually(() => expect(socket.messages.find(({ type }) => type === 'E')?.body.toString()).toContain('57014'));
      await socket[Symbol.asyncDispose]();
    };
  },
  async 'DELETE /api/sql/statements/{id}'(mesh, person, query) {
    const path = '/api/sql/statements';
    const begun = await request(mesh.edges[0], path, { json: { query }, headers: person.basic });
    expect(begun.status).toBe(202);
    const { id } = Started.parse(begun.json());
    return async () => {
      const ended = await request(mesh.edges.at(-1) ?? '', `${path}/${id}`, { method: 'DELETE', headers: person.basic });
      expect(ended.status).toBeLessThan(300);
    };
  },
};

for (const [surface, begin] of Object.entries({ ...ENDED_BY_LEAVING, ...ENDED_BY_CANCEL })) {
  const how = surface in ENDED_BY_LEAVING ? 'of a client that is gone' : 'that is canceled';
  verifies('endings:nothing-runs', `a statement ${how} runs no more (${surface})`, async (mesh) => {
    await using person = await makePerson(mesh, 'reader');
    const end = await begin(mesh, person, LONG);
    await eventually(async () => expect(await running(mesh, person.name)).toHaveLength(1));
    await end();
    await eventually(async () => expect(await running(mesh, person.name)).toEqual([]), IN_TIME);
  });
}

/** Each tells that the time was over, and nothing runs when it is told. */
verifies('endings:nothing-runs', 'a statement whose time is over runs no more, and is told so by every surface', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const { name, password, basic } = person;
  const query = `set statement_timeout = '300ms'; ${LONG}`;
  const [origin] = mesh.edges;
  const overOne = async (accept: string): Promise<string> =>
    (await request(origin, '/api/sql', { json: { query }, headers: { ...basic, accept } })).text;
  const surfaces: Readonly<Record<string, () => Promise<string>>> = {
    json: () => overOne('application/json'),
    ndjson: () => overOne('application/x-ndjson'),
    csv: () => overOne('text/csv'),
    async neon() {
      const headers = { 'neon-connection-string': doorUrl(mesh, name, password) };
      const queries = query.split('; ').map((each) => ({ query: each, params: [] }));
      return (await request(origin, '/sql', { json: { queries }, headers })).text;
    },
    async socket() {
      await using socket = await openSql(origin, { user: name, password });
      return JSON.stringify(await socket.ask({ query }));
    },
    async wire() {
      await using socket = await openWire(origin, name, password, query);
      await eventually(() => expect(socket.messages.map(({ type }) => type)).toContain('E'));
      return socket.messages.map(({ body }) => body.toString()).join('\n');
    },
    async statements() {
      const headers = { ...basic, prefer: 'wait=10' };
      return (await request(origin, '/api/sql/statements', { json: { query }, headers })).text;
    },
  };
  for (const [surface, ask] of Object.entries(surfaces)) {
    const told = await ask().catch(String);
    // A table of text has no place for an error: it breaks off.
    if (surface !== 'csv') expect(told, surface).toContain('57014');
    expect(await running(mesh, name), surface).toEqual([]);
  }
});
