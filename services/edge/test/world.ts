/** An edge in this process over a real bus: stand-ins serve the contracts of auth and session, canaries stand where services do. */
import type { NatsConnection } from '@nats-io/transport-node';
import type { Principal } from '@postern/contracts/common';
import { authService, credentialRevoked } from '@postern/contracts/auth';
import { cancelRequested } from '@postern/contracts/edge';
import type { PublicKey } from '@postern/contracts/auth';
import { sessionRevoked, sessionService } from '@postern/contracts/session';
import type { ServiceName } from '@postern/contracts/mesh';
import { announce } from '@postern/rpc/announce';
import { createClient } from '@postern/rpc/client';
import { isConnected } from '@postern/rpc/connect';
import { emit, emitAndWait } from '@postern/rpc/events';
import { createAssertionVerifier } from '@postern/service-kit/assertion';
import { createLogger } from '@postern/service-kit/log';
import type { TestNats } from '@postern/testkit/bus-test';
import { connectAs, serveStub } from '@postern/testkit/bus-test';
import { eventually } from '@postern/testkit/eventually';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { randomBytes } from 'node:crypto';
import { Agent } from 'node:http';
import { Registry } from 'prom-client';

import { createApp } from '../src/app.ts';
import { createCredentials, createLogins, createMint, createSessionLives } from '../src/clients/identity.ts';
import { createIssuers } from '../src/clients/issuer.ts';
import { hearMesh } from '../src/clients/mesh.ts';
import { createTunnels } from '../src/clients/tunnels.ts';
import { createUpstream } from '../src/clients/upstream.ts';
import { parseListeners } from '../src/domain/listeners.ts';
import type { KeyPair } from '../src/domain/ports.ts';
import { openListeners } from '../src/http/listeners.ts';
import type { SocketLimits } from '../src/http/sockets.ts';
import { openCanary } from './canary.ts';
import type { Canary } from './canary.ts';

export const PASSWORD = 'correct horse: battery';
export const ALICE_KEY = `pst_alice123_${'k'.repeat(43)}`;

const all = { enabled: true, allowed_roles: 'NormalAndInternal' };
const only = (allowed: string): object => ({
  base: { enabled: true, allowed_roles: allowed },
  internal: { enabled: true, allowed_roles: allowed },
  metrics: { enabled: true, allowed_roles: allowed },
});

/** One listener of each kind and policy. */
const DOCUMENT = {
  http: {
    none: { addr: '127.0.0.1:0', routes: { base: all, internal: all, metrics: all } },
    none_normal: { addr: '127.0.0.1:0', routes: only('Normal') },
    none_internal: { addr: '127.0.0.1:0', routes: only('Internal') },
    password: { addr: '127.0.0.1:0', authenticator_kind: 'Password', routes: { base: all, internal: all, metrics: all } },
    password_normal: { addr: '127.0.0.1:0', authenticator_kind: 'Password', routes: only('Normal') },
    password_internal: { addr: '127.0.0.1:0', authenticator_kind: 'Password', routes: only('Internal') },
    oidc: { addr: '127.0.0.1:0', authenticator_kind: 'Oidc', routes: { base: all, metrics: all } },
    proxied: { addr: '127.0.0.1:0', authenticator_kind: 'Password', behind_trusted_proxy: true, routes: { base: all } },
    metrics_only: { addr: '127.0.0.1:0', authenticator_kind: 'Password', routes: { metrics: all } },
  },
};

export interface WorldOptions {
  readonly nats: TestNats;
  readonly document?: unknown;
  readonly issuer?: string;
  readonly audiences?: readonly string[];
  readonly corsOrigins?: readonly string[];
  readonly keyPair?: KeyPair;
  readonly drainNoticeMs?: number;
  readonly connectionsMax?: number;
  readonly socketsMax?: number;
  readonly stallMs?: number;
  readonly waitingMax?: number;
  readonly socketLimits?: Partial<SocketLimits>;
  readonly socketDrainMs?: number;
  readonly headMs?: number;
  readonly requestMs?: number;
  readonly identityClock?: { nowMs(): number };
}

interface StubSession {
  readonly token: string;
  readonly id: string;
  readonly name: string;
  readonly createdAt: number;
  expired: boolean;
}

export class StubMesh {
  readonly people = new Map<string, string>([
    ['alice', PASSWORD],
    ['bob', PASSWORD],
    ['mz_system', PASSWORD],
    ['mz_support', PASSWORD],
    ['mz_analytics', PASSWORD],
    ['mz_unknown', PASSWORD],
    ['pg_somebody', PASSWORD],
    ['external_asdf', PASSWORD],
    ['PUBLIC', PASSWORD],
  ]);
  readonly keys = new Map<string, string>([[ALICE_KEY, 'alice']]);
  readonly sessions = new Map<string, StubSession>();
  /** Names of procedures in the order they were called. */
  readonly calls: string[] = [];
  /** Of the requests that the calls were part of. */
  readonly requestIds: (string | undefined)[] = [];
  readonly clients: string[] = [];
  readonly external: unknown[] = [];
  lockedForSeconds = 0;
  loginDenied: string | undefined;
  /** Whether auth still stands by a principal. */
  signs: (principal: Principal) => boolean = () => true;
  /** The next answers wait for this. */
  hold: Promise<void> | undefined;

  principal(name: string, changes: Partial<Principal> = {}): Principal {
    return {
      id: `id-${name}`,
      kind: 'person',
      name,
      dbRole: name,
      scopes: ['role:writer'],
      method: 'password',
      expiresAt: 0,
      epoch: 0,
      ...changes,
    };
  }

  openSession(name: string): StubSession {
    const session = {
      token: randomBytes(32).toString('base64url'),
      id: randomBytes(9).toString('base64url'),
      name,
      createdAt: 1,
      expired: false,
    };
    this.sessions.set(session.token, session);
    return session;
  }
}

export interface World extends AsyncDisposable {
  readonly origins: Readonly<Record<string, string>>;
  readonly stub: StubMesh;
  readonly sql: Canary;
  readonly auth: Canary;
  readonly metrics: Registry;
  readonly lines: Record<string, unknown>[];
  port(listener: string): number;
  revoke(principalId: string, tokenId?: string): void;
  revokeSession(principalId: string, sessionId?: string): void;
  /** Takes a service away, as if all its replicas had stopped. */
  without(service: ServiceName): Promise<void>;
  /** As on SIGTERM. */
  drain(): Promise<void>;
  renew(keyPair: KeyPair): void;
  readonly buses: Readonly<Record<ServiceName, NatsConnection>>;
}

export async function openWorld(options: WorldOptions): Promise<World> {
  const scope = new AsyncDisposableStack();
  const connectTo = async (service: ServiceName): Promise<NatsConnection> =>
    scope.adopt(await connectAs(options.nats, service), (open) => open.close());
  const buses = {
    edge: await connectTo('edge'),
    auth: await connectTo('auth'),
    session: await connectTo('session'),
    sql: await connectTo('sql'),
  };
  const stub = new StubMesh();
  const { publicKey, privateKey } = await generateKeyPair('EdDSA');
  const { x = '' } = await exportJWK(publicKey);
  const keys: PublicKey[] = [{ kty: 'OKP', crv: 'Ed25519', x, kid: 'k1', alg: 'EdDSA', use: 'sig' }];
  const services = {
    auth: serveAuth(buses.auth, stub, privateKey, keys),
    session: serveSession(buses.session, stub),
    sql: serveNothing(),
    edge: serveNothing(),
  };
  const sql = scope.use(await openCanary(createAssertionVerifier({ audience: 'sql', loadKeys: async () => keys })));
  const auth = scope.use(await openCanary(createAssertionVerifier({ audience: 'auth', loadKeys: async () => keys })));
  const ready = { isReady: async () => true };
  const announced = new Map<ServiceName, AsyncDisposable>([
    ['auth', await announce(buses.auth, 'auth', { replicaId: 'auth-1', url: auth.origin, ...ready })],
    ['session', await announce(buses.session, 'session', { replicaId: 'session-1', ...ready })],
    ['sql', await announce(buses.sql, 'sql', { replicaId: 'sql-1', url: sql.origin, ...ready })],
  ]);

  const metrics = new Registry();
  const lines: Record<string, unknown>[] = [];
  const log = createLogger({
    service: 'edge',
    level: 'info',
    destination: { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  });
  const parsed = parseListeners(options.document ?? DOCUMENT);
  if (parsed.kind === 'mistakes') throw new TypeError(JSON.stringify(parsed.mistakes));
  const session = createClient(buses.edge, sessionService);
  const authClient = createClient(buses.edge, authService);
  const issuers = createIssuers(
    {
      oidcIssuer: options.issuer,
      oidcAudience: options.audiences ?? [],
      oidcAuthenticationClaim: 'sub',
      oidcGroupClaim: 'groups',
    },
    log,
  );
  const { socketsMax = 64, waitingMax = 64 } = options;
  const app = createApp({
    credentials: createCredentials(authClient, session),
    logins: createLogins(session),
    sessionLives: createSessionLives(session),
    mint: createMint(authClient),
    upstream: scope.use(createUpstream({ socketsMax, waitingMax, connectMs: 1_000, idleMs: 30_000 })),
    tunnels: scope.use(createTunnels({ connectMs: 1_000, answerMs: 5_000 })),
    socketLimits: { authMs: 10_000, perListener: 100, perClient: 100, ...options.socketLimits },
    cancel: async (key) => emitAndWait(buses.edge, cancelRequested, key, 1_000),
    agent: scope.adopt(new Agent({ keepAlive: true }), (open) => open.destroy()),
    verifierFor: issuers,
    corsOrigins: options.corsOrigins ?? [],
    isBusUp: () => isConnected(buses.edge),
    metrics,
    log,
    clock: options.identityClock ?? { nowMs: () => Date.now() },
    stallMs: options.stallMs ?? 60_000,
    build: { version: '1.2.3', sha: 'abc', time: 'now' },
  });
  scope.use(hearMesh(buses.edge, log, app));
  const open = await openListeners(app, parsed.listeners, {
    keyPair: options.keyPair,
    connectionsMax: options.connectionsMax ?? 1_000,
    headMs: options.headMs ?? 10_000,
    requestMs: options.requestMs ?? 120_000,
    drainNoticeMs: options.drainNoticeMs ?? 0,
    socketDrainMs: options.socketDrainMs ?? 5_000,
    log,
  });
  await eventually(() => app.isReady());
  const without = async (service: ServiceName): Promise<void> => {
    await announced.get(service)?.[Symbol.asyncDispose]();
    announced.delete(service);
    await services[service][Symbol.asyncDispose]();
    await eventually(() => !app.isReady());
  };
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    sql.release();
    await open[Symbol.asyncDispose]();
    await Promise.all([...announced.values()].map((replica) => replica[Symbol.asyncDispose]()));
    await scope.disposeAsync();
  };
  return {
    origins: open.origins,
    stub,
    sql,
    auth,
    metrics,
    lines,
    buses,
    port: (listener) => Number(new URL(open.origins[listener] ?? '').port),
    revoke: (principalId, tokenId) =>
      emit(buses.auth, credentialRevoked, { principalId, ...(tokenId !== undefined && { tokenId }) }),
    revokeSession: (principalId, sessionId) =>
      emit(buses.session, sessionRevoked, { principalId, ...(sessionId !== undefined && { sessionId }) }),
    without,
    drain: async () => open[Symbol.asyncDispose](),
    renew: open.renew,
    [Symbol.asyncDispose]: () => (closing ??= close()),
  };
}

const serveNothing = (): AsyncDisposable => ({ [Symbol.asyncDispose]: async () => {} });

function serveAuth(
  bus: NatsConnection,
  stub: StubMesh,
  privateKey: Parameters<SignJWT['sign']>[0],
  keys: PublicKey[],
): AsyncDisposable {
  const note = async (name: string, { requestId }: { requestId: string | undefined }): Promise<void> => {
    stub.calls.push(name);
    stub.requestIds.push(requestId);
    await stub.hold;
  };
  return serveStub(bus, authService, {
    async verifyPassword(_request, call) {
      throw call.fail('CREDENTIAL_INVALID');
    },
    async verifyApiKey({ key }, call) {
      await note('verifyApiKey', call);
      const name = stub.keys.get(key);
      if (name === undefined) throw call.fail('CREDENTIAL_INVALID');
      return stub.principal(name, { method: 'apiKey', tokenId: key.slice(0, 12) });
    },
    async trust({ name }, call) {
      await note('trust', call);
      if (name === 'nologin') throw call.fail('LOGIN_DENIED');
      return stub.principal(name, { method: 'trusted' });
    },
    async admitExternal(claims, call) {
      await note('admitExternal', call);
      stub.external.push(claims);
      if (stub.loginDenied !== undefined) throw call.fail('LOGIN_DENIED', { detail: stub.loginDenied });
      return stub.principal(claims.name, { method: 'oidc', expiresAt: claims.expiresAt });
    },
    async mint({ principal, audience }, call) {
      await note('mint', call);
      if (!stub.signs(principal)) throw call.fail('ASSERTION_INVALID');
      const expiresAt = Math.floor(Date.now() / 1_000) + 30;
      const assertion = await new SignJWT({ principal })
        .setProtectedHeader({ alg: 'EdDSA', kid: 'k1' })
        .setIssuer('postern')
        .setAudience(audience)
        .setSubject(principal.id)
        .setIssuedAt()
        .setExpirationTime(expiresAt)
        .setJti(crypto.randomUUID())
        .sign(privateKey);
      return { assertion, expiresAt };
    },
    publishKeys: async () => ({ keys }),
    async lendDatabaseLogin(_request, call) {
      throw call.fail('LOGIN_DENIED');
    },
  });
}

function serveSession(bus: NatsConnection, stub: StubMesh): AsyncDisposable {
  const described = ({ id, createdAt }: StubSession) => ({ id, createdAt, lastActivityAt: 2, expiresAt: 3, client: '127.0.0.1' });
  const own = (principalId: string): StubSession[] =>
    [...stub.sessions.values()].filter(({ name }) => `id-${name}` === principalId);
  const end = (session: StubSession): void => {
    stub.sessions.delete(session.token);
    emit(bus, sessionRevoked, { principalId: `id-${session.name}`, sessionId: session.id });
  };
  const isRight = (name: string, password: string): boolean => stub.people.get(name) === password;
  return serveStub(bus, sessionService, {
    async login({ name, password, client, replaces }, call) {
      stub.calls.push('login');
      stub.requestIds.push(call.requestId);
      stub.clients.push(client);
      if (stub.lockedForSeconds > 0) throw call.fail('TOO_MANY_ATTEMPTS', { retryAfterSeconds: stub.lockedForSeconds });
      if (!isRight(name, password)) throw call.fail('LOGIN_REFUSED');
      const old = stub.sessions.get(replaces ?? '');
      if (old !== undefined) end(old);
      const session = stub.openSession(name);
      return { token: session.token, session: described(session), principal: stub.principal(name) };
    },
    async authenticate({ name, password, client }, call) {
      stub.calls.push('authenticate');
      stub.requestIds.push(call.requestId);
      stub.clients.push(client);
      await stub.hold;
      if (stub.lockedForSeconds > 0) throw call.fail('TOO_MANY_ATTEMPTS', { retryAfterSeconds: stub.lockedForSeconds });
      if (!isRight(name, password)) throw call.fail('LOGIN_REFUSED');
      return stub.principal(name);
    },
    async resolve({ token }, call) {
      stub.calls.push('resolve');
      stub.requestIds.push(call.requestId);
      await stub.hold;
      const session = stub.sessions.get(token);
      if (session === undefined) throw call.fail('SESSION_UNKNOWN');
      if (session.expired) throw call.fail('SESSION_EXPIRED');
      return {
        principal: stub.principal(session.name, { method: 'session', sessionId: session.id }),
        session: described(session),
      };
    },
    async logout({ token }) {
      const session = stub.sessions.get(token);
      if (session !== undefined) end(session);
      return { ended: session !== undefined };
    },
    async list({ principalId }, { requestId }) {
      stub.requestIds.push(requestId);
      return { sessions: own(principalId).map(described) };
    },
    async revoke({ principalId, id }, call) {
      const session = own(principalId).find((candidate) => candidate.id === id);
      if (session === undefined) throw call.fail('SESSION_NOT_FOUND');
      end(session);
      return {};
    },
    async revokeAll({ principalId }) {
      const sessions = own(principalId);
      for (const session of sessions) stub.sessions.delete(session.token);
      emit(bus, sessionRevoked, { principalId });
      return { ended: sessions.length };
    },
  });
}
