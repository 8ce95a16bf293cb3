/** auth as main.ts wires it, on real servers, with the rights it has in a real mesh, and its log kept to be searched. */
import { authService, credentialRevoked } from '@postern/contracts/auth';
import type { Principal } from '@postern/contracts/common';
import { PRINCIPAL_HEADER } from '@postern/contracts/common';
import type { ServiceName } from '@postern/contracts/mesh';
import type { Client } from '@postern/rpc/client';
import { createClient } from '@postern/rpc/client';
import { listen } from '@postern/rpc/events';
import { serve } from '@postern/rpc/serve';
import { openDoor } from '@postern/service-kit/door';
import { createLogger } from '@postern/service-kit/log';
import { connectAs } from '@postern/testkit/bus-test';
import type { TestPostgres } from '@postern/testkit/postgres-test';
import { postgresTest } from '@postern/testkit/postgres-test';
import { sharedNats } from '@postern/testkit/test-servers';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { Registry } from 'prom-client';
import { expect } from 'vitest';

import type { App, AppOptions } from '../src/app.ts';
import { createApp } from '../src/app.ts';
import { createGate } from '../src/domain/gate.ts';
import { createPasswordDesk } from '../src/domain/password-desk.ts';
import { openVault } from '../src/domain/vault.ts';
import { createRevocations } from '../src/nats/revocations.ts';
import { createPgDatabaseLogins } from '../src/stores/database-logins.pg.ts';
import { createPgDirectory } from '../src/stores/directory.pg.ts';
import { createPgRootStore, createPgSigningKeyStore } from '../src/stores/key-stores.pg.ts';
import { migrate, readMigrations } from '../src/stores/migrations.pg.ts';
import { createArgon2Hasher } from '../src/stores/password-hasher.argon2.ts';
import { deadlineIn, openTestDatabase } from './databases.ts';

export const ADMIN_PASSWORD = 'correct horse battery';
export const SEALING_KEY = randomBytes(32);

export interface Cluster {
  /** Of the login that auth has in a mesh. */
  readonly url: string;
  /** Of a superuser, on the same database. */
  readonly superuserUrl: string;
  sql(text: string, values?: readonly unknown[]): Promise<Readonly<Record<string, unknown>>[]>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: Readonly<Record<string, unknown>>;
}

export type Ask = (method: string, path: string, body?: unknown) => Promise<Answer>;

export interface Replica extends AsyncDisposable {
  readonly app: App;
  readonly origin: string;
}

export interface World {
  readonly cluster: Cluster;
  readonly nats: { readonly url: string; credsFile(user: string): string };
  readonly edge: Client<typeof authService>;
  readonly session: Client<typeof authService>;
  readonly sql: Client<typeof authService>;
  readonly revoked: { readonly principalId: string; readonly tokenId?: string }[];
  readonly lines: string[];
  /** What must not be in any line of the log. */
  readonly secrets: Set<string>;
  readonly clock: { offsetMs: number; now(): number };
  /** A name that nobody else in the cluster has. */
  name(stem: string): string;
  start(options?: Partial<AppOptions> & { readonly databaseUrl?: string }): Promise<Replica>;
  /** Asks the administration door as a principal, signed for auth. */
  as(replica: Replica, principal: Principal): Ask;
}

/** Tests with a control database that is empty at the start of each. */
export const worldTest = postgresTest.extend('world', async ({ postgres }, { onCleanup }) => {
  const scope = new AsyncDisposableStack();
  onCleanup(() => scope.disposeAsync());
  return createWorld(postgres, scope);
});

async function createWorld(postgres: TestPostgres, scope: AsyncDisposableStack): Promise<World> {
  const cluster = scope.use(await createCluster(postgres));
  const { url, credsDir } = await sharedNats();
  const credsFile = (user: string): string => join(credsDir, `${user}.creds`);
  const connect = async (user: ServiceName) =>
    scope.adopt(await connectAs({ url, credsFile }, user), (connection) => connection.close());
  const [edge, session, sql] = await Promise.all([connect('edge'), connect('session'), connect('sql')]);
  const lines: string[] = [];
  const secrets = new Set([ADMIN_PASSWORD, SEALING_KEY.toString('base64')]);
  scope.defer(() => expectNothingSecret(lines, secrets));
  const log = createLogger({ service: 'auth', level: 'trace', destination: { write: (line) => void lines.push(line) } });
  const revoked: World['revoked'] = [];
  scope.use(listen(session, credentialRevoked, log, (payload) => void revoked.push(payload)));
  await session.flush();
  const suffix = randomBytes(4).toString('hex');
  const clock = { offsetMs: 0, now: () => Date.now() + clock.offsetMs };
  const edgeClient = createClient(edge, authService);

  return {
    cluster,
    nats: { url, credsFile },
    edge: edgeClient,
    session: createClient(session, authService),
    sql: createClient(sql, authService),
    revoked,
    lines,
    secrets,
    clock,
    name: (stem) => `${stem}_${suffix}`,
    async start(options = {}) {
      const own = scope.use(new AsyncDisposableStack());
      const databaseUrl = options.databaseUrl ?? cluster.url;
      const database = own.use(openTestDatabase(databaseUrl));
      const rolesDatabase = own.use(openTestDatabase(databaseUrl, 4));
      const migrated = await migrate(database, await readMigrations(), deadlineIn(60_000));
      expect(migrated.kind).toBe('migrated');
      const opened = await openVault(createPgRootStore(database), { current: SEALING_KEY }, deadlineIn(60_000));
      if (opened.kind !== 'open') throw new Error('the vault does not open');
      const { vault } = opened;
      const gate = createGate({ atOnce: 2, waiting: 64 });
      const bus = own.adopt(await connectAs({ url, credsFile }, 'auth'), (connection) => connection.drain());
      const app = createApp({
        directory: createPgDirectory(database),
        logins: createPgDatabaseLogins(rolesDatabase, vault.meshId),
        signingKeyStore: createPgSigningKeyStore(database),
        rotationMs: 30 * 86_400_000,
        desk: await createPasswordDesk(createArgon2Hasher(), gate),
        gate,
        vault,
        clock,
        revocations: createRevocations(bus, log),
        trustedRoles: ['writer'],
        externalRoles: ['reader'],
        externalGroupRoles: {},
        log,
        metrics: new Registry(),
        ...options,
      });
      await app.prepare({ name: `admin_${suffix}`, password: ADMIN_PASSWORD, apiKey: undefined });
      const door = own.use(await openDoor(app.http, { host: '127.0.0.1', port: 0 }));
      own.use(serve(bus, authService, app.handlers, { log, metrics: new Registry(), replicaId: crypto.randomUUID() }));
      await bus.flush();
      return { app, origin: door.origin, [Symbol.asyncDispose]: () => own.disposeAsync() };
    },
    as: (replica, principal) => async (method, path, body) => {
      const { assertion } = await edgeClient.mint({ principal, audience: 'auth' });
      secrets.add(assertion);
      return ask(replica.origin + path, method, { [PRINCIPAL_HEADER]: assertion }, body);
    },
  };
}

export async function ask(url: string, method: string, headers: Record<string, string>, body?: unknown): Promise<Answer> {
  const response = await fetch(url, {
    method,
    headers: { ...headers, ...(body !== undefined && { 'content-type': 'application/json' }) },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const parsed: unknown = text === '' ? {} : JSON.parse(text);
  return { status: response.status, headers: response.headers, text, body: parsed as Answer['body'] };
}

function expectNothingSecret(lines: readonly string[], secrets: ReadonlySet<string>): void {
  const all = lines.join('');
  expect([...secrets].filter((secret) => all.includes(secret))).toEqual([]);
  expect(all).not.toMatch(/\$argon2|SCRAM-SHA-256\$|pst_[0-9A-Za-z]{8}_|PRIVATE KEY|v1\.[0-9a-f]{8}\./);
}

const SET_UP_LOCK = 0x706f_7374;

/** The file's database, emptied, and a login with the rights that the set-up gives `postern_auth`. */
async function createCluster(postgres: TestPostgres): Promise<Cluster & AsyncDisposable> {
  await onServer(postgres.adminUrl, async (client) => {
    await client.query('SELECT pg_advisory_lock($1)', [SET_UP_LOCK]);
    await client.query(await readFile(new URL('../../../deploy/postgres/roles.sql', import.meta.url), 'utf8'));
  });
  const superuserUrl = postgres.url;
  const login = `auth_${randomBytes(6).toString('hex')}`;
  const password = randomBytes(16).toString('hex');
  await onServer(superuserUrl, async (client) => {
    const { rows } = await client.query<{ modern: boolean }>(
      "SELECT current_setting('server_version_num')::int >= 160000 AS modern",
    );
    const option = rows[0]?.modern === true ? 'ADMIN TRUE, INHERIT FALSE, SET FALSE' : 'ADMIN OPTION';
    await client.query(`CREATE ROLE ${login} LOGIN CREATEROLE NOINHERIT PASSWORD '${password}'`);
    await client.query(`GRANT postern_reader, postern_writer, postern_admin, postern_agent TO ${login} WITH ${option}`);
    await client.query('DROP SCHEMA IF EXISTS auth CASCADE');
    await client.query(`CREATE SCHEMA auth AUTHORIZATION ${login}`);
  });
  const url = new URL(superuserUrl);
  url.username = login;
  url.password = password;
  const sql: Cluster['sql'] = (text, values) =>
    onServer(
      superuserUrl,
      async (client) => (await client.query<Record<string, unknown>>(text, values === undefined ? [] : [...values])).rows,
    );
  return {
    url: url.href,
    superuserUrl,
    sql,
    [Symbol.asyncDispose]: () => onServer(superuserUrl, (client) => dropRoles(client, login)),
  };
}

const OUR_ROLES = `SELECT r.rolname FROM pg_roles r JOIN auth.roots m
  ON shobj_description(r.oid, 'pg_authid') ~ ('^postern(-removed)?:' || m.id)`;

async function dropRoles(client: pg.Client, login: string): Promise<void> {
  const { rows: made } = await client.query("SELECT WHERE to_regclass('auth.roots') IS NOT NULL");
  const { rows } = made.length === 0 ? { rows: [] } : await client.query<{ rolname: string }>(OUR_ROLES);
  for (const role of [...rows.map((row) => row.rolname), login].map((name) => pg.escapeIdentifier(name))) {
    await client.query(`DROP OWNED BY ${role} CASCADE`);
    await client.query(`DROP ROLE ${role}`);
  }
}

export async function onServer<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
