import { eventually } from '@postern/testkit/eventually';
import { expect } from 'vitest';
import { z } from 'zod';

import type { Person } from '../harness/client.ts';
import { makePerson, request, valueOf } from '../harness/client.ts';
import { query } from '../harness/database.ts';
import type { Mesh } from '../harness/mesh.ts';
import { openSql, rowsIn } from '../harness/sockets.ts';
import type { Events, ServerEvent } from '../harness/streams.ts';
import { openEvents } from '../harness/streams.ts';
import { verifies } from '../verifies.ts';

/** A table of which each sees what is theirs. */
async function ownRows(mesh: Mesh): Promise<AsyncDisposable> {
  const drop = 'drop table if exists public.feed';
  await query(
    mesh,
    `${drop};
     create table public.feed (id int primary key, owner text not null, n int not null);
     alter table public.feed replica identity full, enable row level security;
     create policy own on public.feed using (owner = current_user);
     grant select on public.feed to public`,
  );
  return {
    async [Symbol.asyncDispose]() {
      await query(mesh, drop);
    },
  };
}

const subscribed = (text: string): string => `/api/sql/subscribe?query=${encodeURIComponent(text)}`;
const FEED = subscribed('select id, n from feed');

/** Of each row: how often it came or went, and what it is. */
const rowsOf = (events: readonly ServerEvent[]): readonly (readonly unknown[])[] =>
  events.filter(({ event }) => event === 'row').map(({ data }) => (data as unknown[]).slice(1));

const PATIENCE = { timeoutMs: 20_000 };

async function rows(feed: Events, count: number): Promise<ReturnType<typeof rowsOf>> {
  await eventually(() => expect(rowsOf(feed.events).length).toBeGreaterThanOrEqual(count), PATIENCE);
  return rowsOf(feed.events);
}

/** Changes of both kinds of rows in one go, by somebody else. */
const change = (mesh: Mesh, person: Person, from: number, to: number): Promise<unknown> =>
  query(
    mesh,
    `insert into feed select i, case i % 2 when 0 then '${person.name}' else 'somebody_else' end, i from generate_series(${from}, ${to}) i`,
  );

const even = (from: number, to: number): readonly number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index).filter((number) => number % 2 === 0);

verifies(
  'feed:changes',
  'changes come once and in order, also across a resume at another edge, and only of rows one may see',
  async (mesh) => {
    await using person = await makePerson(mesh, 'reader');
    await using _table = await ownRows(mesh);
    await change(mesh, person, 1, 10);
    const first = await openEvents(mesh.edges[0], FEED, { headers: person.basic });
    expect(new Set((await rows(first, 5)).map(([, id]) => id))).toEqual(new Set(even(1, 10).map(String)));

    for (let from = 11; from <= 91; from += 20) await change(mesh, person, from, from + 19);
    const seen = (await rows(first, 5 + 50)).slice(5);
    expect(seen).toEqual(even(11, 110).map((id) => ['1', `${id}`, `${id}`]));
    const last = first.events.findLast(({ event }) => event === 'row')?.id ?? '';
    first.leave();

    await change(mesh, person, 111, 130);
    await query(mesh, 'delete from feed where id in (112, 113); update feed set n = -1 where id in (114, 115)');
    await using second = await openEvents(mesh.edges.at(-1) ?? '', FEED, {
      headers: { ...person.basic, 'last-event-id': last },
    });
    await change(mesh, person, 131, 132);
    const resumed = await eventually(() => {
      const all = rowsOf(second.events);
      expect(all.at(-1)).toEqual(['1', '132', '132']);
      return all;
    }, PATIENCE);
    const inserted = even(111, 130).map((id) => ['1', `${id}`, `${id}`]);
    const [gone, before, after] = [
      ['-1', '112', '112'],
      ['-1', '114', '114'],
      ['1', '114', '-1'],
    ];
    expect(resumed.slice(0, inserted.length)).toEqual(inserted);
    const changes = resumed.slice(inserted.length, -1);
    expect(new Set(changes)).toEqual(new Set([gone, before, after]));
    expect(changes).toHaveLength(3);
  },
);

verifies('feed:changes', 'a feed ends when what opened it is revoked', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  await using _table = await ownRows(mesh);
  const feeds = await Promise.all(mesh.edges.map((origin) => openEvents(origin, FEED, { headers: person.basic })));
  let ended = 0;
  for (const feed of feeds) void feed.response.then((response) => response.once('close', () => (ended += 1)));
  await request(mesh.edges[0], `/api/people/${person.name}`, {
    method: 'PATCH',
    json: { disabled: true },
    headers: { authorization: `Bearer ${mesh.apiKey}` },
  });
  await eventually(() => expect(ended).toBe(feeds.length), { timeoutMs: 2_000 });
});

verifies('feed:changes', 'a socket subscribes as well, and is free again after a cancel', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  await using _table = await ownRows(mesh);
  await using socket = await openSql(mesh.edges[0], { user: person.name, password: person.password });
  socket.send({ query: 'SUBSCRIBE (select id, n from feed)' });
  await eventually(() => expect(socket.messages.at(-1)).toMatchObject({ type: 'Rows' }), PATIENCE);
  await change(mesh, person, 1, 4);
  await eventually(() => expect(rowsIn(socket.messages)).toHaveLength(2), PATIENCE);
  expect(rowsIn(socket.messages).map((row) => (row as unknown[]).slice(1))).toEqual([
    ['1', '2', '2'],
    ['1', '4', '4'],
  ]);
  socket.send({ cancel: true });
  const end = await socket.untilReady();
  expect(end.at(-2)).toMatchObject({ type: 'Error', payload: { code: '57014' } });
  expect(rowsIn(await socket.ask({ query: 'select 1' }))).toEqual([['1']]);
});

verifies('feed:channels', 'what is notified on a channel arrives at every edge', async (mesh) => {
  await using person = await makePerson(mesh, 'reader');
  const feeds = await Promise.all(
    mesh.edges.map((origin) => openEvents(origin, '/api/sql/listen?channel=news&channel=more', { headers: person.basic })),
  );
  try {
    await eventually(async () => {
      await query(mesh, "select pg_notify('news', 'é'), pg_notify('other', 'no'), pg_notify('more', '')");
      for (const { events } of feeds) {
        const text = JSON.stringify(events.map(({ data }) => data));
        expect(text).toContain('é');
        expect(text).toContain('more');
        expect(text).not.toContain('other');
      }
    }, PATIENCE);
  } finally {
    for (const feed of feeds) feed.leave();
  }
});

const Statement = z.looseObject({ id: z.string(), status: z.string() });

verifies(
  'statements:anywhere',
  'a statement is found at every edge by its id, by its person alone, until it is forgotten',
  async (mesh) => {
    await using person = await makePerson(mesh, 'writer');
    await using other = await makePerson(mesh, 'reader');
    const path = '/api/sql/statements';
    const begun = await Promise.all(
      Array.from({ length: 6 }, (_, index) =>
        request(mesh.edges[index % mesh.edges.length] ?? '', path, {
          json: { query: `select ${index} as n, g from generate_series(1, 2500) g` },
          headers: person.basic,
        }),
      ),
    );
    for (const [index, answer] of begun.entries()) {
      const { id } = Statement.parse(answer.json());
      for (const origin of mesh.edges) {
        await eventually(async () => {
          const state = await request(origin, `${path}/${id}`, { headers: person.basic });
          expect(Statement.parse(state.json()).status).toBe('succeeded');
        });
        const page = await request(origin, `${path}/${id}/results?limit=1000`, { headers: person.basic });
        expect(page.status).toBe(200);
        expect(page.text).toContain(`["${index}","1000"]`);
        expect(page.text).not.toContain('"1001"');
        for (const part of ['', '/results']) {
          expect((await request(origin, `${path}/${id}${part}`, { headers: other.basic })).status).toBe(404);
        }
        expect((await request(origin, `${path}/${id}`, { method: 'DELETE', headers: other.basic })).status).toBe(404);
      }
      const forgotten = await request(mesh.edges.at(-1) ?? '', `${path}/${id}`, { method: 'DELETE', headers: person.basic });
      expect(forgotten.status).toBe(204);
      expect((await request(mesh.edges[0], `${path}/${id}`, { headers: person.basic })).status).toBe(404);
    }
    expect(await valueOf(mesh.edges[0], person.basic, 'select 1')).toBe('1');
  },
);
