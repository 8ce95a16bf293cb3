/** The service over a real bus and a real PostgreSQL; auth is a stand-in made from its contract. */
import type { NatsConnection } from '@nats-io/transport-node';
import type { PublicKey } from '@postern/contracts/auth';
import { authService, credentialRevoked } from '@postern/contracts/auth';
import type { Principal } from '@postern/contracts/common';
import { PRINCIPAL_HEADER } from '@postern/contracts/common';
import { Failure } from '@postern/contracts/failure';
import { createClient } from '@postern/rpc/client';
import { emit } from '@postern/rpc/events';
import { ASSERTION_ISSUER, createAssertionVerifier } from '@postern/service-kit/assertion';
import { createLogger } from '@postern/service-kit/log';
import type { TestNats } from '@postern/testkit/bus-test';
import { busTest, connectAs, serveStub } from '@postern/testkit/bus-test';
import { eventually } from '@postern/testkit/eventually';
import { onDatabase } from '@postern/testkit/postgres-test';
import { principalOf } from '@postern/testkit/principals';
import { sharedPostgres } from '@postern/testkit/test-servers';
import { CompactEncrypt, exportJWK, generateKeyPair, importJWK, SignJWT } from 'jose';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import pg from 'pg';
import { Registry } from 'prom-client';
import { expect } from 'vitest';

import { openApp } from '../src/app.ts';
import { createLogins } from '../src/clients/auth.ts';
import { hearCancels } from '../src/clients/edge.ts';
import { createCancelKeys } from '../src/domain/cancel-keys.ts';
import type { LimitTable } from '../src/domain/guard.ts';
import { createGuard } from '../src/domain/guard.ts';
import type { Lifetimes } from '../src/http/sockets/lifetime.ts';
import { createLifetimes } from '../src/http/sockets/lifetime.ts';
import { hearRevocations } from '../src/nats/revocations.ts';
import type { ChangeLog } from '../src/stores/changes-log.pg.ts';
import { noChangeLog, openChangeLog } from '../src/stores/changes-log.pg.ts';
import type { SubscriptionLimits } from '../src/stores/changes.pg.ts';
import { readDocuments } from '../src/stores/documents.fs.ts';
import { shippedMetrics } from '../src/domain/shipped-metrics.ts';
import type { MetricPages } from '../src/domain/sql-metrics.ts';
import { openGrammar } from '../src/stores/grammar.libpg.ts';
import type { NeonLimits } from '../src/stores/neon-task.pg.ts';
import type { RunnerLimits } from '../src/stores/query-runner.pg.ts';
import type { SessionsOptions } from '../src/stores/sessions.pg.ts';
import { createExecutors } from '../src/stores/executors.pg.ts';
import { createSessions } from '../src/stores/sessions.pg.ts';
import { createSpoolSpace } from '../src/stores/spool.fs.ts';
import type { StatementsOptions } from '../src/stores/statements.fs.ts';

export interface Person {
  readonly name: string;
  readonly password: string;
  readonly principal: Principal;
}

/** The database people's statements run on, with a login of the service's own, and people made on demand. */
export interface PersonDatabase {
  readonly url: string;
  readonly ownUrl: string;
  /** As a superuser. */
  query(statement: string, values?: readonly unknown[]): Promise<pg.QueryResult<Record<string, unknown>>>;
  person(name: string): Promise<Person>;
}

export interface AuthStub {
  readonly publicKeys: readonly PublicKey[];
  assertion(principal: Principal, audience?: string): Promise<string>;
  /** Roles whose login is not lent. */
  readonly denied: Set<string>;
  /** How often a login was lent. */
  readonly lent: string[];
  /** What is done about a login that the database refused. */
  readonly healers: Map<string, () => Promise<void>>;
  revoke(principal: Principal, tokenId?: string): void;
}

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Of an answer that is JSON. */
  readonly results: readonly Entry[];
}

export interface Entry {
  readonly rows?: readonly (readonly unknown[])[];
  readonly tag?: string;
  readonly desc?: { readonly columns: readonly { readonly name: string; readonly type_oid: number }[] };
  readonly ok?: string;
  readonly error?: { readonly message: string; readonly code: string; readonly detail?: string; readonly position?: number };
  readonly notices: readonly { readonly message: string; readonly severity: string; readonly code: string }[];
  readonly parameters?: readonly { readonly name: string; readonly value: string }[];
}

export interface RunningSql {
  readonly origin: string;
  send(person: Person, body: unknown, init?: RequestInit & { readonly query?: string; readonly raw?: boolean }): Promise<Reply>;
  simple(person: Person, query: string): Promise<readonly Entry[]>;
  extended(
    person: Person,
    ...queries: readonly (readonly [query: string, params?: readonly (string | null)[]])[]
  ): Promise<readonly Entry[]>;
  headers(person: Person): Promise<Record<string, string>>;
}

export interface StartedSql extends RunningSql {
  readonly lifetimes: Lifetimes;
  readonly metrics: Registry;
}

export interface SqlSettings {
  readonly metricPages?: Partial<MetricPages>;
  readonly limits?: Partial<RunnerLimits & Pick<NeonLimits, 'answerBytes'>>;
  readonly pool?: Partial<SessionsOptions['limits']> & { readonly waitMs?: number };
  readonly held?: Partial<SessionsOptions['heldLimits']>;
  readonly streamMs?: number;
  /** How long a stop waits for requests on sockets. */
  readonly drainMs?: number;
  /** Of asynchronous statements. */
  readonly desk?: Partial<StatementsOptions['limits'] & Pick<StatementsOptions, 'drainMs'>>;
  /** The cost guard's. */
  readonly limitTable?: LimitTable;
  readonly statementTimeoutMs?: number;
  readonly databaseUrl?: string;
  readonly changes?: Partial<SubscriptionLimits> & {
    readonly hasLog?: boolean;
    /** Whether it is read from the beginning on; it is, unless a test sees to it that it cannot be. */
    readonly isLogReady?: boolean;
    readonly logUrl?: string;
    readonly replicaId?: string;
  };
}

export const sqlTest = busTest
  // oxlint-disable-next-line no-empty-pattern -- vitest reads a fixture's needs from the pattern, and this one has none
  .extend('database', { scope: 'file' }, async ({}, { onCleanup }): Promise<PersonDatabase> => {
    const { url: adminUrl } = await sharedPostgres();
    const suffix = randomBytes(4).toString('hex');
    const name = `sql_${suffix}`;
    const admin = new pg.Client({ connectionString: adminUrl });
    await admin.connect();
    await admin.query(`create database ${name}`);
    const own = `sql_own_${suffix}`;
    await admin.query(`create role ${own} login password 'own'`);
    const url = onDatabase(adminUrl, name);
    const pool = new pg.Pool({ connectionString: url, max: 2 });
    pool.on('error', () => {});
    const made = [own];
    onCleanup(async () => {
      await pool.end();
      // The log reader of a process that was killed is there for a moment longer, and not even force drops a database with one.
      await admin.query('select pg_terminate_backend(pid, 60000) from pg_stat_activity where datname = $1', [name]);
      await admin.query(`drop database ${name} with (force)`);
      for (const role of made) await admin.query(`drop role ${pg.escapeIdentifier(role)}`);
      await admin.end();
    });
    return {
      url,
      ownUrl: loginUrl(url, own, 'own'),
      query: (statement, values = []) => pool.query(statement, [...values]),
      async person(given) {
        const role = `${given}_${suffix}`;
        const password = randomBytes(12).toString('base64url');
        await pool.query(`create role ${pg.escapeIdentifier(role)} login password '${password}'`);
        await pool.query(`grant create on schema public to ${pg.escapeIdentifier(role)}`);
        made.push(role);
        return { name: role, password, principal: principalOf(role, { scopes: ['role:writer'] }) };
      },
    };
  })
  .extend('people', { scope: 'file' }, async (): Promise<Map<string, Person>> => new Map())
  .extend('auth', { scope: 'file' }, async ({ nats, people }, { onCleanup }): Promise<AuthStub> => {
    const bus = await connectAs(nats, 'auth');
    const stub = await createAuthStub(bus, people);
    onCleanup(async () => {
      await stub[Symbol.asyncDispose]();
      await bus.close();
    });
    return stub;
  })
  .extend('person', { scope: 'file' }, async ({ database, people }) => {
    return async (name: string): Promise<Person> => {
      const made = await database.person(name);
      people.set(made.name, made);
      return made;
    };
  })
  .extend('startSql', { scope: 'file' }, async ({ nats, database, auth }, { onCleanup }) => {
    const scope = new AsyncDisposableStack();
    onCleanup(() => scope.disposeAsync());
    return (settings: SqlSettings = {}): Promise<StartedSql> => startSql({ nats, database, auth, scope }, settings);
  })
  .extend('sql', { scope: 'file' }, ({ startSql }) => startSql())
  .extend('alice', { scope: 'file' }, ({ person }) => person('alice'))
  .extend('bob', { scope: 'file' }, ({ person }) => person('bob'));

function loginUrl(url: string, role: string, password: string): string {
  const changed = new URL(url);
  changed.username = encodeURIComponent(role);
  changed.password = password;
  return changed.href;
}

async function createAuthStub(bus: NatsConnection, people: ReadonlyMap<string, Person>): Promise<AuthStub & AsyncDisposable> {
  const { publicKey, privateKey } = await generateKeyPair('EdDSA', { crv: 'Ed25519' });
  const { x = '' } = await exportJWK(publicKey);
  const publicKeys = [{ kty: 'OKP', crv: 'Ed25519', x, kid: 'test', alg: 'EdDSA', use: 'sig' } as const];
  const denied = new Set<string>();
  const lent: string[] = [];
  const healers: AuthStub['healers'] = new Map();
  const verify = createAssertionVerifier({ audience: 'sql', loadKeys: async () => publicKeys });
  const unasked = async (): Promise<never> => {
    throw new Failure('INTERNAL');
  };
  const serving = serveStub(bus, authService, {
    verifyPassword: unasked,
    verifyApiKey: unasked,
    trust: unasked,
    admitExternal: unasked,
    mint: unasked,
    publishKeys: async () => ({ keys: [...publicKeys] }),
    lendDatabaseLogin: async ({ assertion, sealTo, refused = false }, call) => {
      const { dbRole } = await verify(assertion);
      if (denied.has(dbRole)) throw call.fail('LOGIN_DENIED');
      lent.push(dbRole);
      if (refused) await healers.get(dbRole)?.();
      const key = await importJWK({ ...sealTo }, 'ECDH-ES');
      const sealedPassword = await new CompactEncrypt(Buffer.from(people.get(dbRole)?.password ?? ''))
        .setProtectedHeader({ alg: 'ECDH-ES', enc: 'A256GCM' })
        .encrypt(key);
      return { dbRole, sealedPassword };
    },
  });
  return {
    publicKeys,
    denied,
    lent,
    healers,
    assertion: (principal, audience = 'sql') =>
      new SignJWT({ principal })
        .setProtectedHeader({ alg: 'EdDSA', kid: 'test' })
        .setIssuer(ASSERTION_ISSUER)
        .setAudience(audience)
        .setSubject(principal.id)
        .setIssuedAt()
        .setJti(crypto.randomUUID())
        .setExpirationTime('30s')
        .sign(privateKey),
    revoke: (principal, tokenId) =>
      emit(bus, credentialRevoked, { principalId: principal.id, ...(tokenId !== undefined && { tokenId }) }),
    [Symbol.asyncDispose]: () => serving[Symbol.asyncDispose](),
  };
}

interface World {
  readonly nats: TestNats;
  readonly database: PersonDatabase;
  readonly auth: AuthStub;
  readonly scope: AsyncDisposableStack;
}

async function startSql({ nats, database, auth, scope }: World, settings: SqlSettings): Promise<StartedSql> {
  const bus = scope.adopt(await connectAs(nats, 'sql'), (open) => open.close());
  const client = createClient(bus, authService);
  const log = createLogger({ service: 'sql', level: 'silent' });
  const clock = { now: () => performance.now() };
  const own = scope.adopt(new pg.Pool({ connectionString: database.ownUrl, max: 2 }), (open) => open.end());
  own.on('error', () => {});
  const { waitMs = 30_000, ...pool } = settings.pool ?? {};
  const sessions = scope.use(
    createSessions({
      databaseUrl: settings.databaseUrl ?? database.ownUrl,
      statementTimeoutMs: settings.statementTimeoutMs ?? 30_000,
      limits: { perRole: 4, total: 12, waiting: 100, idleMs: 60_000, ...pool },
      heldLimits: { perRole: 60, total: 80, ...settings.held },
      waitMs,
      clock,
      logins: await createLogins(client),
      runaway: () => {},
    }),
  );
  const grammar = scope.use(await openGrammar());
  const guard = createGuard(settings.limitTable);
  const {
    hasLog = false,
    isLogReady = hasLog,
    logUrl = database.url,
    replicaId = 'test',
    ...changeLimits
  } = settings.changes ?? {};
  const changeLog = scope.use(hasLog ? openChangeLog({ databaseUrl: logUrl, log }) : noChangeLog);
  if (isLogReady) await untilRead(changeLog);
  const lifetimes = createLifetimes({ drainMs: settings.drainMs ?? 2_000, now: () => Date.now() });
  const cancelKeys = createCancelKeys();
  const metrics = new Registry();
  const executors = createExecutors({
    replicaId,
    pool: own,
    sessions,
    grammar,
    guard,
    changeLog,
    clock,
    limits: {
      requestMs: 60_000,
      resultBytes: 16_777_216,
      answerBytes: 16_777_216,
      spoolBytes: 262_144,
      spoolFolder: tmpdir(),
      spoolSpace: createSpoolSpace(1_073_741_824),
      ...settings.limits,
    },
    subscriptionLimits: { backlogBytes: 16_777_216, totalBytes: 67_108_864, resumeMs: 30_000, pollMs: 100, ...changeLimits },
    desk: {
      limits: {
        perPrincipal: 8,
        total: 32,
        keptMs: 60_000,
        runMs: 60_000,
        bytes: 268_435_456,
        bytesPerPrincipal: 134_217_728,
        ...settings.desk,
      },
      drainMs: settings.desk?.drainMs ?? 0,
    },
    readingMs: 30_000,
    metricPages: { ...shippedMetrics, ...settings.metricPages },
    sockets: lifetimes,
    log,
    metrics,
  });
  scope.use(hearRevocations(bus, log, { sessions, sockets: lifetimes, underWay: executors.underWay }));
  scope.use(hearCancels(bus, log, cancelKeys));
  await bus.flush();
  const door = scope.use(
    await openApp(
      {
        ...executors,
        streamMs: settings.streamMs ?? 60_000,
        documents: readDocuments(),
        lifetimes,
        cancelKeys,
        guard,
        database: new URL(database.ownUrl).pathname.slice(1),
        verify: createAssertionVerifier({ audience: 'sql', loadKeys: async () => (await client.publishKeys({})).keys }),
        log,
        metrics,
      },
      { host: '127.0.0.1', port: 0 },
    ),
  );
  return { ...talkTo(door.origin, auth), lifetimes, metrics };
}

/** A slot is made only when all transactions that write have ended, those of other tests on the same server too. */
const untilRead = (changeLog: ChangeLog): Promise<void> =>
  eventually(
    async () => {
      using following = await changeLog.follow({
        tables: new Set(),
        transaction: () => {},
        reached: () => {},
        lost: () => {},
      });
      expect(following).toBeDefined();
    },
    { timeoutMs: 100_000 },
  );

/** Requests as the edge forwards them. */
export function talkTo(origin: string, auth: Pick<AuthStub, 'assertion'>): RunningSql {
  const headers = async (person: Person): Promise<Record<string, string>> => ({
    'content-type': 'application/json',
    [PRINCIPAL_HEADER]: await auth.assertion(person.principal),
  });
  const send: RunningSql['send'] = async (person, body, { query = '', raw = false, ...init } = {}) => {
    const response = await fetch(`${origin}/api/sql${query}`, {
      method: 'POST',
      body: raw ? (body as NonNullable<RequestInit['body']>) : JSON.stringify(body),
      ...init,
      headers: { ...(await headers(person)), ...(init.headers as Record<string, string> | undefined) },
    });
    const text = await response.text();
    const parsed = response.status === 200 ? (JSON.parse(text) as { readonly results: readonly Entry[] }) : undefined;
    return { status: response.status, headers: response.headers, text, results: parsed?.results ?? [] };
  };
  return {
    origin,
    send,
    headers,
    simple: async (person, query) => (await send(person, { query })).results,
    extended: async (person, ...queries) =>
      (await send(person, { queries: queries.map(([query, params]) => ({ query, ...(params !== undefined && { params }) })) }))
        .results,
  };
}

/** What is left of entries when only their outcome counts. */
export const outcomes = (entries: readonly Entry[]): unknown[] => entries.map(({ ok, rows, error }) => ok ?? rows ?? error?.code);
