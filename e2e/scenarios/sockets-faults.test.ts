import { eventually } from '@postern/testkit/eventually';
import { expect } from 'vitest';

import type { Person } from '../harness/client.ts';
import { makePerson, valueOf } from '../harness/client.ts';
import { query } from '../harness/database.ts';
import type { Mesh, Replica, ServiceName } from '../harness/mesh.ts';
import type { Ended, Socket, SqlSocket, WireSocket } from '../harness/sockets.ts';
import { openSql, openWire, untilQuiet } from '../harness/sockets.ts';
import { verifies } from '../verifies.ts';

const BACK = { timeoutMs: 55_000, intervalMs: 100 };
/** A server went away, started anew, failed, or has no room now: all say that another try is worth it. */
const CLEAN = [1001, 1011, 1012, 1013];
const WRITERS = 6;

/** Stops replicas, all at once, and waits until each is back. */
async function stopAndWait(
  mesh: Mesh,
  service: ServiceName,
  replicas: readonly Replica[],
  stop: (replica: Replica) => Promise<void>,
): Promise<void> {
  await Promise.all(replicas.map(stop));
  await eventually(async () => {
    const now = await mesh.replicas(service);
    for (const { name, process: old } of replicas) {
      const again = now.find((replica) => replica.name === name);
      expect(again !== undefined && again.process !== old && again.ready).toBe(true);
    }
  }, BACK);
}

interface Written {
  /** Numbers whose commit the client was told of. */
  readonly told: readonly number[];
  readonly closes: readonly Ended[];
  /** Connections that were opened after the first of each writer. */
  readonly again: number;
}

/** Writers that each insert one number after the other, and go on elsewhere when their socket is closed. */
async function writeWhile(mesh: Mesh, person: Person, happening: (closes: readonly Ended[]) => Promise<void>): Promise<Written> {
  const told: number[] = [];
  const closes: Ended[] = [];
  let next = 0;
  let again = -WRITERS;
  let going = true;
  const connect = (turn: number): Promise<SqlSocket> =>
    eventually(() => openSql(mesh.edges[turn % mesh.edges.length] ?? '', { user: person.name, password: person.password }), {
      timeoutMs: 20_000,
      intervalMs: 100,
    });
  const write = async (writer: number): Promise<void> => {
    for (let turn = writer; going; turn += 1) {
      const socket = await connect(turn);
      again += 1;
      let isLeaving = false;
      const over = socket.ended.then((ended): undefined => {
        if (!isLeaving) closes.push(ended);
      });
      while (going) {
        const number = (next += 1);
        const answer = await Promise.race([socket.ask({ query: `insert into written values (${number})` }), over]);
        if (answer === undefined) break;
        if (answer.some(({ type }) => type === 'CommandComplete')) told.push(number);
      }
      isLeaving = true;
      await socket[Symbol.asyncDispose]();
    }
  };
  const writing = Array.from({ length: WRITERS }, (_, writer) => write(writer));
  try {
    await eventually(async () => expect(told.length).toBeGreaterThan(WRITERS * 4), BACK);
    await happening(closes);
  } finally {
    going = false;
    await Promise.all(writing);
  }
  return { told, closes, again };
}

/** One that is in, and has nothing to do. */
async function openQuiet(origin: string, person: Person): Promise<WireSocket> {
  const wire = await openWire(origin, person.name, person.password);
  await untilQuiet(wire);
  return wire;
}

const stops: Readonly<Record<string, (mesh: Mesh) => (replica: Replica) => Promise<void>>> = {
  killed: (mesh) => (replica) => mesh.kill(replica),
  stopped: (mesh) => (replica) => mesh.terminate(replica),
};

for (const [what, stop] of Object.entries(stops)) {
  verifies(
    'socket:faults',
    `a replica of sql that is ${what} ends its sockets cleanly and loses nothing it has told`,
    async (mesh) => {
      await using person = await makePerson(mesh, 'writer');
      await valueOf(mesh.edges[0], person.basic, 'create table written (number int)');
      const ends: Ended[] = [];
      const wires: Socket[] = [];
      for (const origin of mesh.edges) {
        for (let index = 0; index < 2; index += 1) wires.push(await openQuiet(origin, person));
      }
      for (const wire of wires) void wire.ended.then((ended) => ends.push(ended));
      const { told, closes, again } = await writeWhile(mesh, person, async (hit) => {
        // One of them serves a writer.
        for (const replica of await mesh.replicas('sql')) {
          if (hit.length === 0) await stopAndWait(mesh, 'sql', [replica], stop(mesh));
        }
      });
      expect([...ends, ...closes].filter(({ code }) => !CLEAN.includes(code))).toEqual([]);
      for (const wire of wires) await wire[Symbol.asyncDispose]();
      expect(closes.length).toBeGreaterThan(0);
      expect(again).toBeGreaterThan(0);
      const rows = await query<{ number: number }>(mesh, `select number from ${person.name}.written`);
      const kept = new Map([...Map.groupBy(rows, ({ number }) => number)].map(([number, all]) => [number, all.length]));
      expect(told.filter((number) => kept.get(number) !== 1)).toEqual([]);
      expect(told.length).toBeGreaterThan(20);
      // What nobody was told of was under way when a socket ended.
      expect(rows.length - told.length).toBeLessThanOrEqual(closes.length + WRITERS);
      await valueOf(mesh.edges[0], person.basic, 'drop table written');
    },
  );
}

verifies(
  'socket:faults',
  'an edge that is told to stop ends its sockets with 1001, when their requests are done',
  async (mesh) => {
    await using person = await makePerson(mesh, 'reader');
    const first = { user: person.name, password: person.password };
    const sockets: Socket[] = [];
    const busy: SqlSocket[] = [];
    for (const origin of mesh.edges) {
      sockets.push(await openSql(origin, first), await openQuiet(origin, person));
      busy.push(await openSql(origin, first));
    }
    for (const socket of busy) {
      socket.send({ query: 'select pg_sleep(1)' });
      socket.send({ query: 'select 1' });
    }
    await stopAndWait(mesh, 'edge', await mesh.replicas('edge'), (replica) => mesh.terminate(replica));
    const codes = (await Promise.all([...sockets, ...busy].map((socket) => socket.ended))).map(({ code }) => code);
    expect(new Set(codes)).toEqual(new Set([1001]));
    for (const socket of busy) expect(socket.messages.map(({ type }) => type)).toContain('Row');
    expect(await valueOf(mesh.edges[0], person.basic, 'select 1')).toBe('1');
  },
);
