/** The catalog and the coordinator, as whoever asks may see them. */
import { PRINCIPAL_HEADER } from '@postern/contracts/common';
import { eventually } from '@postern/testkit/eventually';
import pg from 'pg';
import { expect } from 'vitest';

import type { AuthStub, Person, PersonDatabase, RunningSql } from './sql-test.ts';
import { sqlTest as test } from './sql-test.ts';

type Item = Record<string, unknown> & { readonly schema?: string; readonly name: string };
type Dump = Readonly<Record<string, readonly Item[]>> & { readonly snapshot: Record<string, unknown> };

const get = async (sql: RunningSql, auth: AuthStub, person: Person, path: string): Promise<{ status: number; text: string }> => {
  const headers = { [PRINCIPAL_HEADER]: await auth.assertion(person.principal) };
  const response = await fetch(`${sql.origin}${path}`, { headers });
  return { status: response.status, text: await response.text() };
};

async function getJson<Body>(sql: RunningSql, auth: AuthStub, person: Person, path: string): Promise<Body> {
  const { status, text } = await get(sql, auth, person, path);
  expect(status, text).toBe(200);
  return JSON.parse(text) as Body;
}

const MADE = `
  create schema shop;
  create type shop.mood as enum ('sad', 'it''s ok', 'happy');
  create domain shop.positive as integer constraint above check (value > 0);
  create type shop.place as (x integer, y text);
  create table shop.customers (
    id bigint generated always as identity primary key,
    mail text not null unique,
    mood shop.mood default 'happy',
    shout text generated always as (upper(mail)) stored,
    constraint mail_has_at check (mail like '%@%'));
  create table shop.orders (
    id serial primary key, customer bigint references shop.customers on delete cascade, amount shop.positive not null, at timestamptz default now());
  create table shop.events (day date not null, note text) partition by range (day);
  create table shop.events_2026 partition of shop.events for values from ('2026-01-01') to ('2027-01-01');
  create index orders_recent on shop.orders (at desc) where amount > 10;
  create view shop.large as select id, amount from shop.orders where amount > 100;
  create materialized view shop.totals as select customer, sum(amount) from shop.orders group by 1 with no data;
  create sequence shop.tickets increment 5 start 10;
  create function shop.twice(n integer) returns integer language sql immutable as $$ select n * 2 $$;
  create procedure shop.nothing() language plpgsql as $$ begin null; end $$;
  create aggregate shop.total(integer) (sfunc = int4pl, stype = integer, initcond = '0');
  create function shop.stamp() returns trigger language plpgsql as $$ begin new.at := now(); return new; end $$;
  create trigger stamped before update on shop.orders for each row execute function shop.stamp();
  alter table shop.orders enable row level security;
  create policy own on shop.orders for select to public using (customer = 1);
  comment on table shop.customers is 'who buys: "quoted", \\ and é';
  grant select on shop.customers to public;
  grant usage on schema shop to public`;

test('the dump has what pg_dump -s would tell of, in the words of the server', async ({ database, sql, auth, alice }) => {
  await database.query(MADE);
  const dump = await getJson<Dump>(sql, auth, alice, '/api/catalog/dump');
  const find = (section: string, name: string): Item | undefined =>
    dump[section]?.find((item) => item.schema === 'shop' && item.name === name);

  expect(dump.snapshot).toMatchObject({ takenBy: alice.name, inRecovery: false, encoding: 'UTF8' });
  expect(find('types', 'mood')).toMatchObject({ kind: 'enum', labels: ['sad', "it's ok", 'happy'] });
  expect(find('types', 'positive')).toMatchObject({
    kind: 'domain',
    base: 'integer',
    constraints: [{ definition: 'CHECK ((VALUE > 0))' }],
  });
  expect(find('types', 'place')).toMatchObject({
    kind: 'composite',
    fields: [
      { name: 'x', type: 'integer' },
      { name: 'y', type: 'text' },
    ],
  });
  expect(find('tables', 'customers')).toMatchObject({
    kind: 'table',
    comment: 'who buys: "quoted", \\ and é',
    columns: [
      { name: 'id', type: 'bigint', notNull: true, identity: 'always' },
      { name: 'mail', type: 'text', notNull: true },
      { name: 'mood', type: 'shop.mood', default: "'happy'::shop.mood" },
      { name: 'shout', generated: 'upper(mail)', default: null },
    ],
    constraints: expect.arrayContaining([
      expect.objectContaining({ name: 'customers_pkey', kind: 'primary key', definition: 'PRIMARY KEY (id)' }),
      expect.objectContaining({
        name: 'mail_has_at',
        kind: 'check',
        definition: "CHECK ((mail ~~ '%@%'::text))",
        validated: true,
      }),
    ]),
    acl: expect.arrayContaining([expect.objectContaining({ grantee: null, privilege: 'SELECT', grantable: false })]),
  });
  expect(find('tables', 'orders')).toMatchObject({
    rowSecurity: true,
    constraints: expect.arrayContaining([
      expect.objectContaining({ definition: 'FOREIGN KEY (customer) REFERENCES shop.customers(id) ON DELETE CASCADE' }),
    ]),
    indexes: expect.arrayContaining([
      expect.objectContaining({
        name: 'orders_recent',
        definition: 'CREATE INDEX orders_recent ON shop.orders USING btree (at DESC) WHERE ((amount)::integer > 10)',
      }),
    ]),
    triggers: [
      {
        name: 'stamped',
        definition: 'CREATE TRIGGER stamped BEFORE UPDATE ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.stamp()',
        enabled: 'origin',
      },
    ],
    policies: [{ name: 'own', permissive: true, command: 'select', roles: [null], using: '(customer = 1)', check: null }],
  });
  expect(find('tables', 'events')).toMatchObject({ kind: 'partitioned', partitionKey: 'RANGE (day)' });
  expect(find('tables', 'events_2026')).toMatchObject({
    parents: ['shop.events'],
    partitionBound: "FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
  });
  expect(find('views', 'large')).toMatchObject({ kind: 'view', definition: expect.stringContaining('FROM shop.orders') });
  expect(find('views', 'totals')).toMatchObject({ kind: 'materialized', populated: false });
  expect(find('sequences', 'tickets')).toMatchObject({ increment: '5', start: '10', ownedBy: null });
  expect(find('sequences', 'orders_id_seq')).toMatchObject({ ownedBy: 'shop.orders.id' });
  expect(find('functions', 'twice')).toMatchObject({ kind: 'function', definition: expect.stringContaining('select n * 2') });
  expect(find('functions', 'nothing')).toMatchObject({ kind: 'procedure' });
  expect(find('functions', 'total')).toMatchObject({ kind: 'aggregate', definition: null, aggregate: { transition: 'int4pl' } });
  expect(dump['roles']?.map(({ name }) => name)).toContain(alice.name);
});

/** Every object of the catalog's own lists is there: nothing is lost to a join or a filter. */
test('the dump has every object that the catalog lists for the person’s schemas', async ({ database, sql, auth, alice }) => {
  // Of the whole server, others make and drop some meanwhile.
  const shared = async (): Promise<ReadonlySet<string>> => {
    const { rows } = await database.query(
      `select rolname as name, 'roles' as section from pg_roles union all select datname, 'databases' from pg_database`,
    );
    return new Set(rows.map(({ name, section }) => `${String(section)} ${String(name)}`));
  };
  const before = await shared();
  const dump = await getJson<Dump>(sql, auth, alice, '/api/catalog/dump');
  const after = await shared();
  const told = ['roles', 'databases'].flatMap((section) => dump[section]?.map(({ name }) => `${section} ${name}`) ?? []);
  expect(told).toEqual([...new Set(told)]);
  expect([...before].filter((name) => after.has(name) && !told.includes(name))).toEqual([]);
  expect(told.filter((name) => !before.has(name) && !after.has(name))).toEqual([]);
  const own = `n.nspname !~ '^pg_' and n.nspname <> 'information_schema'`;
  const counted = await database.query(`
    select (select count(*)::int from pg_class c join pg_namespace n on n.oid = relnamespace where relkind in ('r','p','f') and ${own}) as tables,
           (select count(*)::int from pg_class c join pg_namespace n on n.oid = relnamespace where relkind in ('v','m') and ${own}) as views,
           (select count(*)::int from pg_class c join pg_namespace n on n.oid = relnamespace where relkind = 'S' and ${own}) as sequences,
           (select count(*)::int from pg_proc p join pg_namespace n on n.oid = pronamespace where ${own}) as functions,
           (select count(*)::int from pg_namespace n where ${own}) as schemas,
           (select count(*)::int from pg_extension) as extensions`);
  for (const [section, count] of Object.entries(counted.rows[0] ?? {}))
    expect([section, dump[section]?.length]).toEqual([section, count]);
});

/** Whoever may reach this page would otherwise read the keys of others. */
test('a dump holds no secret: no password hash, and no value of settings that hold keys', async ({
  database,
  sql,
  auth,
  alice,
}) => {
  await database.query(`alter role ${JSON.stringify(alice.name)} set app.signing_key to 'k33p-quiet'`);
  const { text } = await get(sql, auth, alice, '/api/catalog/dump');
  expect(text).toContain('app.signing_key');
  expect(text).not.toContain('k33p-quiet');
  expect(text).not.toContain('SCRAM-SHA-256$');
  expect(text).not.toContain(alice.password);
});

test('a dump that does not fit into memory is whole all the same', async ({ database, startSql, auth, alice }) => {
  const sql = await startSql({ limits: { spoolBytes: 65_536 } });
  await database.query(`
    do $$ begin
      for n in 1..400 loop
        execute format('create function shop.many_%s() returns text language sql as %L', n, 'select ''' || repeat('x', 2000) || '''');
      end loop;
      execute format('create function shop.big() returns text language sql as %L', 'select ''' || repeat('y', 600000) || '''');
    end $$`);
  const dump = await getJson<Dump>(sql, auth, alice, '/api/catalog/dump');
  expect(dump['functions']?.filter(({ name }) => name.startsWith('many_'))).toHaveLength(400);
  const big = dump['functions']?.find(({ name }) => name === 'big');
  expect(String(big?.['definition']).length).toBeGreaterThan(600_000);
});

test('what a role has set for itself does not change the words of a dump', async ({ sql, auth, database, person }) => {
  const carol = await person('carol');
  await database.query(`alter role ${JSON.stringify(carol.name)} set search_path to shop, public`);
  const dump = await getJson<Dump>(sql, auth, carol, '/api/catalog/dump');
  expect(dump['views']?.find(({ name }) => name === 'large')?.['definition']).toContain('FROM shop.orders');
});

test('a dump that fails is a 500 with the error, never half an answer', async ({ database, sql, auth, person }) => {
  const dora = await person('dora');
  await database.query('revoke execute on function pg_get_functiondef(oid) from public');
  try {
    const { status, text } = await get(sql, auth, dora, '/api/catalog/dump');
    expect(status).toBe(500);
    expect(JSON.parse(text)).toMatchObject({ code: '42501' });
  } finally {
    await database.query('grant execute on function pg_get_functiondef(oid) to public');
  }
});

test('a role that may not log in is refused as the server refuses it', async ({ database, sql, auth, person }) => {
  const eve = await person('eve');
  await database.query(`alter role ${JSON.stringify(eve.name)} nologin`);
  expect((await get(sql, auth, eve, '/api/catalog/dump')).status).toBe(403);
});

test('a sound catalog is an empty string, and what does not fit is told', async ({ database, sql, auth, alice }) => {
  expect((await get(sql, auth, alice, '/api/catalog/check')).text).toBe('""');
  await database.query(`
    create table shop.doubtful (n integer);
    insert into shop.doubtful values (1), (1);
    alter table shop.doubtful add constraint positive check (n > 5) not valid`);
  await database.query('create unique index concurrently doubtful_n on shop.doubtful (n)').catch(() => {});
  const found = await getJson<{ err: { kind: string; object: string }[] }>(sql, auth, alice, '/api/catalog/check');
  expect(found.err).toEqual([
    expect.objectContaining({ kind: 'invalid index', object: 'shop.doubtful_n' }),
    expect.objectContaining({ kind: 'constraint not validated', object: 'positive on shop.doubtful' }),
  ]);
  await database.query('drop table shop.doubtful');
  expect((await get(sql, auth, alice, '/api/catalog/check')).text).toBe('""');
});

test('an object whose owner, type or dependency is gone is told', async ({ database, sql, auth, alice }) => {
  const { rows } = await database.query(`
    insert into pg_depend values ('pg_class'::regclass, 'shop.orders'::regclass, 0, 'pg_extension'::regclass, 4000000000, 0, 'n') returning refobjid`);
  expect(rows).toHaveLength(1);
  try {
    const found = await getJson<{ err: { kind: string; message: string }[] }>(sql, auth, alice, '/api/catalog/check');
    expect(found.err).toEqual([expect.objectContaining({ kind: 'orphan', message: 'pg_extension 4000000000 is not there' })]);
  } finally {
    await database.query('delete from pg_depend where refobjid = 4000000000');
  }
});

interface CoordinatorDump {
  readonly replica: {
    readonly id: string;
    readonly sessions: readonly { role: string; idle: number; lent: number }[];
    readonly requests: {
      readonly count: number;
      readonly longest: readonly { principalId: string; role: string; forMs: number }[];
    };
  };
  readonly server: { readonly backends: readonly { role: string | null; statement: string | null; processId: number }[] };
}

/** imm-074: what others run may hold what only they may know. */
test('the coordinator tells who is at work and since when, and of others no statement', async ({
  database,
  sql,
  auth,
  alice,
  bob,
}) => {
  await database.query(`grant pg_read_all_stats to ${JSON.stringify(bob.name)}`);
  const left = new AbortController();
  const sleeping = sql
    .send(alice, { query: "select pg_sleep(60), 'alices-own'" }, { signal: left.signal })
    .catch(() => undefined);
  const dump = await eventually(async () => {
    const told = await getJson<CoordinatorDump>(sql, auth, bob, '/api/coordinator/dump');
    expect(told.replica.requests.longest).toEqual([
      { principalId: alice.principal.id, role: alice.name, forMs: expect.any(Number) },
    ]);
    expect(told.replica.sessions.find(({ role }) => role === alice.name)).toMatchObject({ lent: 1 });
    return told;
  });
  expect(dump.replica.id).toBe('test');
  const hers = dump.server.backends.filter(({ role }) => role === alice.name);
  expect(hers.length).toBeGreaterThan(0);
  expect(hers.every(({ statement }) => statement === null)).toBe(true);
  expect(JSON.stringify(dump)).not.toContain('alices-own');
  left.abort();
  await sleeping;
});

test('the coordinator tells of statements nobody waits for, each with its state', async ({ sql, auth, alice, bob }) => {
  await sql.simple(alice, 'select 1');
  const headers = { ...(await sql.headers(alice)), 'content-type': 'application/json' };
  const begun = await fetch(`${sql.origin}/api/sql/statements`, {
    method: 'POST',
    headers,
    body: JSON.stringify({ query: 'select pg_sleep(60)' }),
  });
  const { replica } = await getJson<{ replica: Record<string, { count: number; longest: unknown[] }> }>(
    sql,
    auth,
    bob,
    '/api/coordinator/dump',
  );
  expect(replica['statements']).toEqual({
    count: 1,
    longest: [{ principalId: alice.principal.id, role: alice.name, forMs: expect.any(Number), state: 'running' }],
  });
  expect(replica['sockets']).toEqual({ count: 0, longest: [] });
  await fetch(`${sql.origin}${begun.headers.get('location') ?? ''}`, { method: 'DELETE', headers });
});

test('pools that agree with the server are an empty string', async ({ sql, auth, alice }) => {
  await sql.simple(alice, 'select 1');
  expect((await get(sql, auth, alice, '/api/coordinator/check')).text).toBe('""');
});

/** The dump waits for this lock of somebody else's. */
async function blocked(database: PersonDatabase): Promise<AsyncDisposable> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  await client.query('begin; lock table pg_catalog.pg_publication in access exclusive mode');
  return { [Symbol.asyncDispose]: () => client.end() };
}

const waiting = async (database: PersonDatabase, person: Person): Promise<number> => {
  const { rows } = await database.query(
    `select count(*)::int as n from pg_stat_activity where usename = $1 and wait_event_type = 'Lock'`,
    [person.name],
  );
  return Number(rows[0]?.['n']);
};

test('a credential that is revoked ends what is being read with it', async ({ database, sql, auth, person }) => {
  const fred = await person('fred');
  await using _lock = await blocked(database);
  const dumping = get(sql, auth, fred, '/api/catalog/dump');
  await eventually(async () => expect(await waiting(database, fred)).toBe(1));
  auth.revoke(fred.principal);
  const { status, text } = await dumping;
  expect(status).toBe(500);
  expect(JSON.parse(text)).toMatchObject({ code: '57014' });
});

test('a dump nobody waits for any more leaves nothing running', async ({ database, sql, auth, person }) => {
  const gina = await person('gina');
  await using _lock = await blocked(database);
  const left = new AbortController();
  const headers = { [PRINCIPAL_HEADER]: await auth.assertion(gina.principal) };
  const dumping = fetch(`${sql.origin}/api/catalog/dump`, { headers, signal: left.signal }).catch(() => undefined);
  await eventually(async () => expect(await waiting(database, gina)).toBe(1));
  left.abort();
  await dumping;
  await eventually(async () => expect(await waiting(database, gina)).toBe(0));
});
