/** The service on a real bus and a real Redis, with auth as a stub made from its contract. */
import type { NatsConnection } from '@nats-io/transport-node';
import { authService, credentialRevoked } from '@postern/contracts/auth';
import type { PayloadOf } from '@postern/contracts/define';
import { Failure } from '@postern/contracts/failure';
import { sessionRevoked, sessionService } from '@postern/contracts/session';
import type { Client } from '@postern/rpc/client';
import { createClient } from '@postern/rpc/client';
import { emit, listen } from '@postern/rpc/events';
import { createLogger } from '@postern/service-kit/log';
import { busTest, serveStub } from '@postern/testkit/bus-test';
import { eventually } from '@postern/testkit/eventually';
import { redisFixture } from '@postern/testkit/redis-test';
import { randomBytes, randomUUID } from 'node:crypto';
import { expect } from 'vitest';
import type { Handlers } from '@postern/rpc/serve';

import type { TestClock } from './clock.ts';
import { createTestClock } from './clock.ts';
import { startCuttableProxy } from './cuttable-proxy.ts';
import { somebody } from './principals.ts';
import { startReplica } from './replica.ts';
import { connectAsSession } from './session-redis.ts';
import { connectRedis } from '../src/stores/redis.ts';

const silent = createLogger({ service: 'test', level: 'silent' });
const failing = (code: string): unknown => expect.objectContaining({ name: 'Failure', code });

/** A name and an address that no other test of this file tries. */
const stranger = () => ({
  name: `name-${randomUUID()}`,
  client: `2001:db8:${randomBytes(2).toString('hex')}:${randomBytes(2).toString('hex')}::1`,
});

interface Auth {
  readonly asked: string[];
  verify: (name: string, password: string) => Promise<ReturnType<typeof somebody>>;
}

const people = new Map<string, ReturnType<typeof somebody>>();

/** Knows everybody, with the password `right`. */
function createAuth(): Auth {
  return {
    asked: [],
    async verify(name, password) {
      if (password !== 'right') throw new Failure('CREDENTIAL_INVALID');
      const person = people.get(name) ?? somebody({ name });
      people.set(name, person);
      return person;
    },
  };
}

const unused = async (): Promise<never> => Promise.reject(new Failure('INTERNAL'));

const authHandlers = (auth: Auth): Handlers<typeof authService> => ({
  async verifyPassword({ name, password }) {
    auth.asked.push(password);
    return auth.verify(name, password);
  },
  verifyApiKey: unused,
  trust: unused,
  admitExternal: unused,
  mint: unused,
  publishKeys: unused,
  lendDatabaseLogin: unused,
});

interface Mesh {
  readonly clock: TestClock;
  readonly auth: Auth;
  readonly session: Client<typeof sessionService>;
  readonly edgeBus: NatsConnection;
  readonly authBus: NatsConnection;
  /** What the edge has heard of ended sessions. */
  readonly ended: PayloadOf<typeof sessionRevoked>[];
}

const redisBusTest = busTest.extend('redis', { scope: 'file' }, redisFixture);

const meshTest = redisBusTest.extend('mesh', async ({ bus, redis }, { onCleanup }): Promise<Mesh> => {
  const scope = new AsyncDisposableStack();
  onCleanup(() => scope.disposeAsync());
  const clock = createTestClock();
  const auth = createAuth();
  const authBus = await bus('auth');
  scope.use(serveStub(authBus, authService, authHandlers(auth)));
  await authBus.flush();
  for (let replica = 0; replica < 2; replica += 1) {
    const { client } = scope.use(await connectAsSession(redis));
    scope.use(await startReplica({ bus: await bus('session'), redis: client, clock }));
  }
  const edgeBus = await bus('edge');
  const ended: PayloadOf<typeof sessionRevoked>[] = [];
  scope.use(listen(edgeBus, sessionRevoked, silent, (payload) => ended.push(payload)));
  await edgeBus.flush();
  return { clock, auth, session: createClient(edgeBus, sessionService), edgeBus, authBus, ended };
});

meshTest('a login opens a session that either replica resolves, lists and ends', async ({ mesh: { session, ended } }) => {
  const who = stranger();
  const { token, session: opened, principal } = await session.login({ ...who, password: 'right' });
  expect(principal).toMatchObject({ name: who.name, method: 'session', sessionId: opened.id });
  for (let call = 0; call < 10; call += 1) expect(await session.resolve({ token })).toEqual({ principal, session: opened });
  expect(await session.list({ principalId: principal.id })).toEqual({ sessions: [opened] });
  expect(await session.revoke({ principalId: principal.id, id: opened.id })).toEqual({});
  for (let call = 0; call < 10; call += 1) await expect(session.resolve({ token })).rejects.toEqual(failing('SESSION_UNKNOWN'));
  await expect(session.revoke({ principalId: principal.id, id: opened.id })).rejects.toEqual(failing('SESSION_NOT_FOUND'));
  await eventually(() => expect(ended).toEqual([{ principalId: principal.id, sessionId: opened.id }]));
});

meshTest(
  'a session is expired one millisecond after eight idle hours, on either replica',
  async ({ mesh: { session, clock } }) => {
    const { token } = await session.login({ ...stranger(), password: 'right' });
    const { token: other } = await session.login({ ...stranger(), password: 'right' });
    clock.advance(28_800_000);
    await session.resolve({ token: other });
    clock.advance(1);
    await expect(session.resolve({ token })).rejects.toEqual(failing('SESSION_EXPIRED'));
    await session.resolve({ token: other });
  },
);

meshTest('a login with an earlier cookie ends that session', async ({ mesh: { session } }) => {
  const who = stranger();
  const before = await session.login({ ...who, password: 'right' });
  const after = await session.login({ ...who, password: 'right', replaces: before.token });
  await expect(session.resolve({ token: before.token })).rejects.toEqual(failing('SESSION_UNKNOWN'));
  expect(await session.logout({ token: after.token })).toEqual({ ended: true });
  expect(await session.logout({ token: after.token })).toEqual({ ended: false });
  await expect(session.resolve({ token: after.token })).rejects.toEqual(failing('SESSION_UNKNOWN'));
});

meshTest('a failed login leaves the earlier session of the cookie alone', async ({ mesh: { session } }) => {
  const { token } = await session.login({ ...stranger(), password: 'right' });
  await expect(session.login({ ...stranger(), password: 'wrong', replaces: token })).rejects.toEqual(failing('LOGIN_REFUSED'));
  await session.resolve({ token });
});

meshTest('revokeAll ends every session of the principal and tells the mesh', async ({ mesh: { session, ended } }) => {
  const who = stranger();
  const tokens: string[] = [];
  for (let count = 0; count < 3; count += 1) tokens.push((await session.login({ ...who, password: 'right' })).token);
  const { principal } = await session.resolve({ token: tokens[0] ?? '' });
  expect(await session.revokeAll({ principalId: principal.id })).toEqual({ ended: 3 });
  for (const token of tokens) await expect(session.resolve({ token })).rejects.toEqual(failing('SESSION_UNKNOWN'));
  await eventually(() => expect(ended).toContainEqual({ principalId: principal.id }));
});

meshTest('a revoked credential of a person ends their sessions and leaves those of others', async ({ mesh }) => {
  const { session, authBus, ended } = mesh;
  const [alice, bob] = [
    await session.login({ ...stranger(), password: 'right' }),
    await session.login({ ...stranger(), password: 'right' }),
  ];
  emit(authBus, credentialRevoked, { principalId: alice.principal.id });
  await eventually(() => expect(session.resolve({ token: alice.token })).rejects.toEqual(failing('SESSION_UNKNOWN')));
  await eventually(() => expect(ended).toContainEqual({ principalId: alice.principal.id }));
  await session.resolve({ token: bob.token });
});

meshTest('a revoked API key ends no session', async ({ mesh: { session, authBus, ended } }) => {
  const { token, principal } = await session.login({ ...stranger(), password: 'right' });
  emit(authBus, credentialRevoked, { principalId: principal.id, tokenId: 'a-key' });
  const other = await session.login({ ...stranger(), password: 'right' });
  emit(authBus, credentialRevoked, { principalId: other.principal.id });
  // News arrives in order: when the second is carried out, the first has been.
  await eventually(() => expect(ended).toContainEqual({ principalId: other.principal.id }));
  await session.resolve({ token });
});

/** The password was right when it was looked at; by the time the session is opened it has been changed. */
meshTest('a login that overlaps a revocation has its password looked at again', async ({ mesh }) => {
  const { session, auth, authBus, ended } = mesh;
  const who = stranger();
  const { verify } = auth;
  auth.verify = async (name, password) => {
    const person = await verify(name, password);
    emit(authBus, credentialRevoked, { principalId: person.id });
    await eventually(() => expect(ended.filter(({ principalId }) => principalId === person.id)).toHaveLength(2));
    auth.verify = () => Promise.reject(new Failure('CREDENTIAL_INVALID'));
    return person;
  };
  await expect(session.login({ ...who, password: 'right' })).rejects.toEqual(failing('LOGIN_REFUSED'));
  expect(auth.asked).toHaveLength(2);
});

meshTest(
  'the eleventh attempt is refused on both replicas, even with the right password, without asking auth',
  async ({ mesh }) => {
    const { session, auth, clock } = mesh;
    const who = stranger();
    for (let count = 0; count < 10; count += 1) {
      const attempt = count % 2 === 0 ? session.login : session.authenticate;
      await expect(attempt({ ...who, password: 'wrong' })).rejects.toEqual(failing('LOGIN_REFUSED'));
    }
    clock.advance(10_500);
    for (let count = 0; count < 10; count += 1) {
      await expect(session.login({ ...who, password: 'right' })).rejects.toMatchObject({
        code: 'TOO_MANY_ATTEMPTS',
        retryAfterSeconds: 50,
      });
    }
    expect(auth.asked).toHaveLength(10);
    clock.advance(49_499);
    await expect(session.authenticate({ ...who, password: 'right' })).rejects.toEqual(failing('TOO_MANY_ATTEMPTS'));
    clock.advance(1);
    expect(await session.authenticate({ ...who, password: 'right' })).toMatchObject({ name: who.name, method: 'password' });
  },
);

meshTest('of fifty wrong attempts at once, over two replicas, ten are looked at', async ({ mesh: { session, auth } }) => {
  const who = stranger();
  const outcomes = await Promise.allSettled(Array.from({ length: 50 }, () => session.login({ ...who, password: 'wrong' })));
  const codes = outcomes.map((outcome) => (outcome.status === 'rejected' ? (outcome.reason as Failure).code : 'ok'));
  expect(auth.asked).toHaveLength(10);
  expect(codes.filter((code) => code === 'LOGIN_REFUSED')).toHaveLength(10);
  expect(codes.filter((code) => code === 'TOO_MANY_ATTEMPTS')).toHaveLength(40);
});

meshTest('fifty right attempts at once are all let in', async ({ mesh: { session } }) => {
  const who = stranger();
  const logins = await Promise.all(Array.from({ length: 50 }, () => session.authenticate({ ...who, password: 'right' })));
  expect(new Set(logins.map(({ id }) => id)).size).toBe(1);
});

meshTest('without auth a login is UNAVAILABLE and no attempt is counted', async ({ bus, redis }) => {
  await using connection = await connectAsSession(redis);
  await using _replica = await startReplica({ bus: await bus('session'), redis: connection.client, clock: createTestClock() });
  const session = createClient(await bus('edge'), sessionService);
  const who = stranger();
  for (let count = 0; count < 11; count += 1) {
    await expect(session.login({ ...who, password: 'right' })).rejects.toEqual(failing('UNAVAILABLE'));
  }
  const authBus = await bus('auth');
  await using _auth = serveStub(authBus, authService, authHandlers(createAuth()));
  await authBus.flush();
  await session.login({ ...who, password: 'right' });
});

meshTest('while Redis is away every call is UNAVAILABLE at once, and all is well when it is back', async ({ bus, redis }) => {
  await using own = await connectAsSession(redis);
  await using proxy = await startCuttableProxy(own.url);
  const client = connectRedis(proxy.url, silent);
  await using _replica = await startReplica({ bus: await bus('session'), redis: client, clock: createTestClock() });
  const authBus = await bus('auth');
  const auth = createAuth();
  await using _auth = serveStub(authBus, authService, authHandlers(auth));
  await authBus.flush();
  const session = createClient(await bus('edge'), sessionService);
  const who = { ...stranger(), password: 'right' };
  const { token, principal } = await eventually(() => session.login(who));

  await proxy.cut();
  const calls = () => [
    session.login(who),
    session.authenticate(who),
    session.resolve({ token }),
    session.logout({ token }),
    session.list({ principalId: principal.id }),
    session.revoke({ principalId: principal.id, id: 'unknown-session-id' }),
    session.revokeAll({ principalId: principal.id }),
  ];
  for (const outcome of await Promise.allSettled(calls())) expect(outcome).toMatchObject({ reason: { code: 'UNAVAILABLE' } });
  expect(auth.asked).toHaveLength(1);
  emit(authBus, credentialRevoked, { principalId: principal.id });
  await authBus.flush();

  await proxy.restore();
  await eventually(() => session.list({ principalId: principal.id }));
  // The news came while Redis was away.
  await eventually(() => expect(session.resolve({ token })).rejects.toEqual(failing('SESSION_UNKNOWN')));
  await session.login(who);
  client.disconnect();
});

meshTest(
  'a Redis that takes commands and answers none is UNAVAILABLE before the caller stops waiting',
  async ({ bus, redis }) => {
    await using own = await connectAsSession(redis);
    await using proxy = await startCuttableProxy(own.url);
    const client = connectRedis(proxy.url, silent);
    await using _replica = await startReplica({ bus: await bus('session'), redis: client, clock: createTestClock() });
    const session = createClient(await bus('edge'), sessionService);
    await eventually(() => session.list({ principalId: 'nobody' }));
    proxy.freeze();
    await expect(session.login({ ...stranger(), password: 'right' })).rejects.toEqual(failing('UNAVAILABLE'));
    client.disconnect();
  },
);

meshTest('the token is nowhere in Redis', async ({ mesh: { session }, redis }) => {
  const { token } = await session.login({ ...stranger(), password: 'right' });
  const keys = await redis.client.keys('*');
  expect(keys.every((key) => key.startsWith('postern:{session}:'))).toBe(true);
  const dumps = await Promise.all(keys.map((key) => redis.client.dumpBuffer(key)));
  const secret = Buffer.from(token);
  expect(keys.filter((key, index) => key.includes(token) || dumps[index]?.includes(secret))).toEqual([]);
});

meshTest('every key ends on its own', async ({ mesh: { session }, redis }) => {
  const who = stranger();
  await session.login({ ...who, password: 'right' });
  for (let count = 0; count < 10; count += 1)
    await session.login({ ...stranger(), client: who.client, password: 'wrong' }).catch(() => {});
  const keys = await redis.client.keys('*');
  const lives = await Promise.all(keys.map((key) => redis.client.pttl(key)));
  expect(keys.filter((key, index) => lives[index] === -1 && key !== 'postern:{session}:epoch')).toEqual([]);
});
