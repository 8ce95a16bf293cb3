import { authService, credentialRevoked } from '@postern/contracts/auth';
import { cancelRequested } from '@postern/contracts/edge';
import type { Principal } from '@postern/contracts/common';
import { Failure } from '@postern/contracts/failure';
import { sessionService } from '@postern/contracts/session';
import type { Session } from '@postern/contracts/session';
import { busTest, connectAs, serveOptions, serveStub } from '@postern/testkit/bus-test';
import { eventually } from '@postern/testkit/eventually';
import { startOwnNats } from '@postern/testkit/own-nats';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';

import { createClient } from '../src/client.ts';
import { emit, emitAndWait, listen } from '../src/events.ts';
import type { Handlers } from '../src/serve.ts';

const alice: Principal = {
  id: 'p1',
  kind: 'person',
  name: 'alice',
  dbRole: 'alice',
  scopes: ['role:reader'],
  method: 'password',
  expiresAt: 0,
  epoch: 0,
};

const session: Session = { id: 'session-0001', createdAt: 1, lastActivityAt: 2, expiresAt: 3, client: '127.0.0.1' };
const attempt = { name: 'alice', password: 'secret', client: '127.0.0.1' };
const opened = { token: 't'.repeat(32), session, principal: alice };

const unused = async (): Promise<never> => {
  throw new Error('not part of this test');
};

type AuthHandlers = Handlers<typeof authService>;
type SessionHandlers = Handlers<typeof sessionService>;

const auth = (handlers: Partial<AuthHandlers>): AuthHandlers => ({
  verifyPassword: unused,
  verifyApiKey: unused,
  trust: unused,
  admitExternal: unused,
  mint: unused,
  publishKeys: unused,
  lendDatabaseLogin: unused,
  ...handlers,
});

const sessions = (handlers: Partial<SessionHandlers>): SessionHandlers => ({
  login: unused,
  authenticate: unused,
  resolve: unused,
  logout: unused,
  list: unused,
  revoke: unused,
  revokeAll: unused,
  ...handlers,
});

busTest('a call is answered by its handler, with the request parsed and the request id passed on', async ({ bus }) => {
  const heard: unknown[] = [];
  const handlers = auth({
    verifyPassword: async (request, call) => {
      heard.push(request, call.requestId);
      return alice;
    },
  });
  await using _stub = serveStub(await bus('auth'), authService, handlers);
  const client = createClient(await bus('session'), authService);
  const answer = await client.verifyPassword({ name: 'alice', password: 'secret' }, { requestId: 'r-1' });
  expect(answer).toEqual(alice);
  expect(heard).toEqual([{ name: 'alice', password: 'secret' }, 'r-1']);
});

busTest(
  'a declared failure reaches the caller with its code, detail and time to wait, and without its cause',
  async ({ bus }) => {
    const handlers = sessions({
      login: async (_request, call) => {
        throw call.fail('TOO_MANY_ATTEMPTS', {
          detail: 'wait a little',
          retryAfterSeconds: 42,
          cause: new Error('inner secret'),
        });
      },
    });
    await using _stub = serveStub(await bus('session'), sessionService, handlers);
    const failure: unknown = await createClient(await bus('edge'), sessionService)
      .login(attempt)
      .catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'TOO_MANY_ATTEMPTS', detail: 'wait a little', retryAfterSeconds: 42 });
    expect(JSON.stringify(failure)).not.toContain('inner secret');
  },
);

busTest.for([
  ['an error of the handler', () => new Error('connection to 10.0.0.1 failed')],
  ['a code of the service that the procedure does not declare', () => new Failure('PERSON_EXISTS', { detail: 'alice' })],
] as const)('%s is INTERNAL to the caller, with no word of it', async ([, make], { bus }) => {
  const handlers = auth({
    verifyPassword: async () => {
      throw make();
    },
  });
  await using _stub = serveStub(await bus('auth'), authService, handlers);
  const client = createClient(await bus('session'), authService);
  const failure: unknown = await client.verifyPassword({ name: 'a', password: 'b' }).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: 'INTERNAL', detail: undefined, message: 'INTERNAL' });
});

busTest('a request that does not fit is INVALID_REQUEST and says where, without the value', async ({ bus }) => {
  await using _stub = serveStub(await bus('auth'), authService, auth({}));
  const client = createClient(await bus('session'), authService);
  const failure: unknown = await client
    .verifyPassword({ name: 'n'.repeat(300), password: 'secret' })
    .catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: 'INVALID_REQUEST', issues: [{ pointer: '/name' }] });
  expect(JSON.stringify(failure)).not.toContain('nnn');
});

busTest('an answer that does not fit its contract is INTERNAL to the caller', async ({ bus }) => {
  const wrong = { ...alice, kind: 'ghost' } as unknown as Principal;
  await using _stub = serveStub(await bus('auth'), authService, auth({ verifyPassword: async () => wrong }));
  const client = createClient(await bus('session'), authService);
  await expect(client.verifyPassword({ name: 'a', password: 'b' })).rejects.toMatchObject({ code: 'INTERNAL' });
});

busTest('nobody serving is UNAVAILABLE', async ({ bus }) => {
  const client = createClient(await bus('session'), authService);
  await expect(client.verifyPassword({ name: 'a', password: 'b' })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
});

busTest('a call that the contracts do not give to the caller is INTERNAL, not a wait', async ({ bus }) => {
  await using _stub = serveStub(await bus('auth'), authService, auth({}));
  const client = createClient(await bus('sql'), authService);
  await expect(client.verifyPassword({ name: 'a', password: 'b' })).rejects.toMatchObject({ code: 'INTERNAL' });
});

busTest('no answer in time is TIMEOUT, and the handler is told that nobody waits', async ({ bus }) => {
  const told = Promise.withResolvers<void>();
  const handlers = auth({
    verifyPassword: async (_request, call) => {
      await once(call.signal, 'abort');
      told.resolve();
      throw new Error('broken off');
    },
  });
  await using _stub = serveStub(await bus('auth'), authService, handlers);
  const client = createClient(await bus('session'), authService);
  const call = client.verifyPassword({ name: 'a', password: 'b' }, { remainingMs: 100 });
  await expect(call).rejects.toMatchObject({ code: 'TIMEOUT' });
  await told.promise;
});

busTest(
  'an idempotent call that the replica it was given to does not answer is asked once more, another one is not',
  async ({ bus }) => {
    const calls = { authenticate: 0, login: 0 };
    const never = Promise.withResolvers<never>();
    const handlers = sessions({
      authenticate: async () => ((calls.authenticate += 1) === 1 ? never.promise : alice),
      login: async () => ((calls.login += 1) === 1 ? never.promise : opened),
      list: async () => ({ sessions: [] }),
    });
    const stub = serveStub(await bus('session'), sessionService, handlers);
    const client = createClient(await bus('edge'), sessionService);
    await expect(client.authenticate(attempt, { remainingMs: 2_000 })).resolves.toMatchObject({ name: 'alice' });
    await expect(client.login(attempt, { remainingMs: 200 })).rejects.toMatchObject({ code: 'TIMEOUT' });
    // Behind all that was asked.
    await client.list({ principalId: alice.id });
    expect(calls).toEqual({ authenticate: 2, login: 1 });
    never.reject(new Error('the test is over'));
    await stub[Symbol.asyncDispose]();
  },
);

busTest('a caller that goes away stops waiting at once', async ({ bus }) => {
  const arrived = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const handlers = auth({
    verifyPassword: async () => {
      arrived.resolve();
      await gate.promise;
      return alice;
    },
  });
  await using _stub = serveStub(await bus('auth'), authService, handlers);
  const gone = new AbortController();
  const client = createClient(await bus('session'), authService);
  const call = client.verifyPassword({ name: 'a', password: 'b' }, { signal: gone.signal });
  call.catch(() => {});
  await arrived.promise;
  gone.abort();
  await expect(call).rejects.toMatchObject({ code: 'TIMEOUT' });
  gate.resolve();
});

busTest('deadlines nest: what a handler passes on is what its caller has left, less the time it took itself', async ({ bus }) => {
  const seen: number[] = [];
  const innerHandlers = auth({
    verifyPassword: async (_request, call) => {
      seen.push(call.remainingMs);
      return alice;
    },
  });
  const toAuth = createClient(await bus('session'), authService);
  const outerHandlers = sessions({
    authenticate: async ({ name, password }, call) => {
      seen.push(call.remainingMs);
      await delay(60);
      return toAuth.verifyPassword({ name, password }, { remainingMs: call.remainingMs });
    },
  });
  await using _inner = serveStub(await bus('auth'), authService, innerHandlers);
  await using _outer = serveStub(await bus('session'), sessionService, outerHandlers);
  await createClient(await bus('edge'), sessionService).authenticate(attempt, { remainingMs: 4_000 });
  const [outer = 0, inner = 0] = seen;
  expect(outer).toBeLessThanOrEqual(4_000);
  expect(inner).toBeLessThanOrEqual(outer - 50);
});

busTest('an idempotent call is tried again after UNAVAILABLE, another one is not', async ({ bus }) => {
  const tries = { authenticate: 0, login: 0 };
  const handlers = sessions({
    authenticate: async (_request, call) => {
      tries.authenticate += 1;
      if (tries.authenticate < 3) throw call.fail('UNAVAILABLE');
      return alice;
    },
    login: async (_request, call) => {
      tries.login += 1;
      throw call.fail('UNAVAILABLE');
    },
  });
  await using _stub = serveStub(await bus('session'), sessionService, handlers);
  const client = createClient(await bus('edge'), sessionService);
  await expect(client.authenticate(attempt)).resolves.toEqual(alice);
  await expect(client.login(attempt)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  expect(tries).toEqual({ authenticate: 3, login: 1 });
});

busTest('a declared failure is never tried again', async ({ bus }) => {
  let tries = 0;
  const handlers = auth({
    verifyPassword: async (_request, call) => {
      tries += 1;
      throw call.fail('CREDENTIAL_INVALID');
    },
  });
  await using _stub = serveStub(await bus('auth'), authService, handlers);
  const client = createClient(await bus('session'), authService);
  await expect(client.verifyPassword({ name: 'a', password: 'b' })).rejects.toMatchObject({ code: 'CREDENTIAL_INVALID' });
  expect(tries).toBe(1);
});

busTest('calls under way beyond the limit are UNAVAILABLE', async ({ bus }) => {
  const gate = Promise.withResolvers<void>();
  let arrived = 0;
  const handlers = sessions({
    login: async () => {
      arrived += 1;
      await gate.promise;
      return opened;
    },
  });
  await using _stub = serveStub(await bus('session'), sessionService, handlers, { maxInFlight: 2 });
  const client = createClient(await bus('edge'), sessionService);
  const held = Promise.all([client.login(attempt), client.login(attempt)]);
  held.catch(() => {});
  await eventually(() => arrived === 2);
  await expect(client.login(attempt)).rejects.toMatchObject({ code: 'UNAVAILABLE', retryAfterSeconds: 1 });
  gate.resolve();
  await expect(held).resolves.toHaveLength(2);
});

busTest('each call goes to one replica, and all replicas get some', async ({ bus }) => {
  const answered = [0, 0];
  const replica = async (index: number): Promise<AsyncDisposable> => {
    const handlers = auth({
      verifyPassword: async () => {
        answered[index] = (answered[index] ?? 0) + 1;
        return alice;
      },
    });
    return serveStub(await bus('auth'), authService, handlers);
  };
  await using _one = await replica(0);
  await using _two = await replica(1);
  const client = createClient(await bus('session'), authService);
  await Promise.all(Array.from({ length: 60 }, () => client.verifyPassword({ name: 'a', password: 'b' })));
  const [one = 0, two = 0] = answered;
  expect(one + two).toBe(60);
  expect(Math.min(one, two)).toBeGreaterThan(0);
});

busTest('a drain answers every call that was taken, and takes none after', async ({ bus }) => {
  const gate = Promise.withResolvers<void>();
  let arrived = 0;
  const handlers = sessions({
    login: async () => {
      arrived += 1;
      await gate.promise;
      return opened;
    },
  });
  const stub = serveStub(await bus('session'), sessionService, handlers);
  const client = createClient(await bus('edge'), sessionService);
  const calls = Promise.all(Array.from({ length: 40 }, () => client.login(attempt)));
  // Looked at when all is over, and heard before.
  calls.catch(() => {});
  await eventually(() => arrived === 40);
  const drained = stub[Symbol.asyncDispose]();
  await eventually(() =>
    client.login(attempt, { remainingMs: 200 }).then(
      () => false,
      (error: unknown) => error instanceof Failure && error.code === 'UNAVAILABLE',
    ),
  );
  gate.resolve();
  await expect(calls).resolves.toHaveLength(40);
  await drained;
});

busTest('while one of two replicas drains, no call fails', async ({ bus }) => {
  const handlers = sessions({ login: async () => (await delay(1), opened) });
  const leaving = serveStub(await bus('session'), sessionService, handlers);
  await using _staying = serveStub(await bus('session'), sessionService, handlers);
  const client = createClient(await bus('edge'), sessionService);
  const calls: Promise<unknown>[] = [];
  for (let index = 0; index < 300; index += 1) {
    calls.push(client.login(attempt));
    if (index === 100) calls.push(Promise.resolve(leaving[Symbol.asyncDispose]()));
    if (index % 10 === 0) await delay(1);
  }
  await expect(Promise.all(calls)).resolves.toHaveLength(301);
});

busTest('an event reaches every replica of every listener once', async ({ bus }) => {
  const heard: string[] = [];
  const { log } = serveOptions();
  const buses = [await bus('edge'), await bus('edge'), await bus('session'), await bus('sql')];
  for (const [index, connection] of buses.entries()) {
    listen(connection, credentialRevoked, log, ({ principalId }) => void heard.push(`${index}:${principalId}`));
    await connection.flush();
  }
  const speaker = await bus('auth');
  emit(speaker, credentialRevoked, { principalId: 'p1' });
  emit(speaker, credentialRevoked, { principalId: 'p2' });
  await speaker.flush();
  await eventually(() => heard.length >= 8);
  expect(heard.toSorted()).toEqual(['0:p1', '0:p2', '1:p1', '1:p2', '2:p1', '2:p2', '3:p1', '3:p2']);
});

busTest('whoever tells an event can wait for the one listener that it concerns', async ({ bus }) => {
  const { log } = serveOptions();
  const done: number[] = [];
  for (const own of [1, 2, 3]) {
    const listener = await bus('sql');
    listen(listener, cancelRequested, log, ({ processId }, acknowledge) => {
      if (processId !== own) return;
      setImmediate(() => {
        done.push(own);
        acknowledge();
      });
    });
    await listener.flush();
  }
  const speaker = await bus('edge');
  for (const processId of [2, 1, 3]) {
    expect(await emitAndWait(speaker, cancelRequested, { processId, secretKey: 0 }, 5_000)).toBe(true);
    expect(done.at(-1)).toBe(processId);
  }
  expect(await emitAndWait(speaker, cancelRequested, { processId: 4, secretKey: 0 }, 50)).toBe(false);
  emit(speaker, cancelRequested, { processId: 2, secretKey: 0 });
  await eventually(() => expect(done).toEqual([2, 1, 3, 2]));
});

busTest('an event whose payload does not fit is dropped, and the next one is heard', async ({ bus }) => {
  const heard: string[] = [];
  const listener = await bus('edge');
  listen(listener, credentialRevoked, serveOptions().log, ({ principalId }) => void heard.push(principalId));
  await listener.flush();
  const speaker = await bus('auth');
  speaker.publish('evt.auth.v1.revoked', 'not json');
  speaker.publish('evt.auth.v1.revoked', '{"principalId":7}');
  emit(speaker, credentialRevoked, { principalId: 'p1' });
  await eventually(() => heard.length > 0);
  expect(heard).toEqual(['p1']);
});

busTest('a message above the limit of the bus is INVALID_REQUEST, and the connection lives on', async ({ bus }) => {
  await using _stub = serveStub(await bus('auth'), authService, auth({ verifyPassword: async () => alice }));
  const connection = await bus('session');
  const client = createClient(connection, authService);
  // The second is below the limit by itself and above it with its headers.
  for (const length of [2_000_000, 1_048_576 - '{"name":"","password":"x"}'.length]) {
    const call = client.verifyPassword({ name: 'n'.repeat(length), password: 'x' });
    await expect(call).rejects.toMatchObject({ code: 'INVALID_REQUEST', detail: 'the message is too large' });
  }
  await expect(client.verifyPassword({ name: 'a', password: 'b' })).resolves.toEqual(alice);
});

busTest('an answer above the limit of the bus is INTERNAL at once, and the service lives on', async ({ bus }) => {
  let length = 20_000;
  const handlers = sessions({ list: async () => ({ sessions: Array.from({ length }, () => session) }) });
  await using _stub = serveStub(await bus('session'), sessionService, handlers);
  const client = createClient(await bus('edge'), sessionService);
  await expect(client.list({ principalId: 'p1' })).rejects.toMatchObject({ code: 'INTERNAL' });
  length = 2;
  await expect(client.list({ principalId: 'p1' })).resolves.toMatchObject({ sessions: [session, session] });
});

busTest('a caller cannot have an answer sent to a subject that is not an inbox', async ({ bus }) => {
  let asked = 0;
  const handlers = auth({
    verifyPassword: async () => {
      asked += 1;
      return alice;
    },
  });
  await using _stub = serveStub(await bus('auth'), authService, handlers);
  const caller = await bus('session');
  const listener = await bus('edge');
  const heard: string[] = [];
  listener.subscribe('evt.auth.v1.revoked', { callback: (_error, message) => void heard.push(message.string()) });
  await listener.flush();
  const request = JSON.stringify({ name: 'a', password: 'b' });
  caller.publish('rpc.auth.v1.verifyPassword', request, { reply: 'evt.auth.v1.revoked' });
  // Messages of one connection keep their order: this one is answered after the other was dropped.
  await createClient(caller, authService).verifyPassword({ name: 'a', password: 'b' });
  expect(asked).toBe(1);
  expect(heard).toEqual([]);
});

busTest('replicas answer PING, INFO and STATS of the NATS services protocol, one by one and by name', async ({ bus }) => {
  const handlers = auth({
    verifyPassword: async ({ name }, call) => {
      if (name === 'nobody') throw call.fail('CREDENTIAL_INVALID');
      return alice;
    },
  });
  const [one, two] = [crypto.randomUUID(), crypto.randomUUID()];
  await using _one = serveStub(await bus('auth'), authService, handlers, { replicaId: one });
  const client = createClient(await bus('session'), authService);
  await client.verifyPassword({ name: 'a', password: 'b' });
  await client.verifyPassword({ name: 'nobody', password: 'b' }).catch(() => {});
  await using _two = serveStub(await bus('auth'), authService, handlers, { replicaId: two });
  const observer = await bus('observer');
  const pings = await observer.requestMany('$SRV.PING.auth', '', { strategy: 'count', maxMessages: 2, maxWait: 5_000 });
  const ids: string[] = [];
  for await (const message of pings) ids.push(message.json<{ id: string }>().id);
  expect(ids.toSorted()).toEqual([one, two].toSorted());
  const info = await observer.request(`$SRV.INFO.auth.${one}`);
  expect(info.json()).toMatchObject({ type: 'io.nats.micro.v1.info_response', name: 'auth', version: '1.0.0' });
  const mint = { name: 'mint', subject: 'rpc.auth.v1.mint', queue_group: 'auth' };
  expect(info.json<{ endpoints: unknown[] }>().endpoints).toContainEqual(mint);
  const statistics = await observer.request(`$SRV.STATS.auth.${one}`);
  expect(statistics.json<{ endpoints: unknown[] }>().endpoints).toContainEqual(
    expect.objectContaining({ name: 'verifyPassword', num_requests: 2, num_errors: 1, last_error: 'CREDENTIAL_INVALID' }),
  );
});

busTest('both sides count calls by procedure and outcome', async ({ bus }) => {
  const [served, called] = [new Registry(), new Registry()];
  const handlers = auth({
    verifyPassword: async (_request, call) => {
      throw call.fail('CREDENTIAL_INVALID');
    },
  });
  await using _stub = serveStub(await bus('auth'), authService, handlers, { metrics: served });
  const client = createClient(await bus('session'), authService, { metrics: called });
  await client.verifyPassword({ name: 'a', password: 'b' }).catch(() => {});
  const line = 'procedure="auth.verifyPassword",code="CREDENTIAL_INVALID"} 1';
  expect(await called.metrics()).toContain(line);
  await eventually(async () => expect(await served.metrics()).toContain(line));
});

test('while the bus is away calls are UNAVAILABLE at once, and when it is back they are answered without a restart', async () => {
  await using nats = await startOwnNats();
  await using scope = new AsyncDisposableStack();
  const open = async (service: 'auth' | 'session') =>
    scope.adopt(await connectAs(nats, service), (connection) => connection.close());
  const [server, caller] = [await open('auth'), await open('session')];
  await using _stub = serveStub(server, authService, auth({ verifyPassword: async () => alice }));
  const client = createClient(caller, authService);
  await expect(client.verifyPassword({ name: 'a', password: 'b' })).resolves.toEqual(alice);
  await nats.stop();
  // Far below the procedure's own deadline of three seconds, so it cannot be a wait for it.
  await eventually(async () => {
    const call = client.verifyPassword({ name: 'a', password: 'b' }, { remainingMs: 60_000 });
    await expect(call).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
  await nats.start();
  await eventually(() => client.verifyPassword({ name: 'a', password: 'b' }), { timeoutMs: 10_000 });
});
