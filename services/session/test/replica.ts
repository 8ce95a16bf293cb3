import { sessionService } from '@postern/contracts/session';
import type { NatsConnection } from '@nats-io/transport-node';
import { serve } from '@postern/rpc/serve';
import { createLogger } from '@postern/service-kit/log';
import { serveOptions } from '@postern/testkit/bus-test';
import type { Redis } from 'ioredis';
import { setTimeout as delay } from 'node:timers/promises';
import { Registry } from 'prom-client';

import { createApp } from '../src/app.ts';
import { createAuthPasswords } from '../src/clients/auth.ts';
import type { Clock } from '../src/domain/ports.ts';
import { lockStepsMs } from '../src/domain/login-limit.ts';
import { createTellEnded, hearRevocations } from '../src/nats/events.ts';
import { createRedisAttemptStore } from '../src/stores/attempt-store.redis.ts';
import { createRedisSessionStore } from '../src/stores/session-store.redis.ts';

export interface ReplicaOptions {
  readonly bus: NatsConnection;
  readonly redis: Redis;
  readonly clock: Clock;
}

/** One replica of the service in this process, wired as `main.ts` does, with a clock of the test's. */
export async function startReplica({ bus, redis, clock }: ReplicaOptions): Promise<AsyncDisposable> {
  const scope = new AsyncDisposableStack();
  const stop = scope.adopt(new AbortController(), (controller) => controller.abort());
  const { handlers, revocations } = createApp({
    sessionStore: createRedisSessionStore(redis, clock),
    attemptStore: createRedisAttemptStore(redis, { max: 10, windowMs: 60_000, lockStepsMs: lockStepsMs(60_000, 300_000) }),
    passwords: createAuthPasswords(bus, new Registry()),
    clock,
    pause: (ms, signal) => delay(ms, undefined, { ...(signal !== undefined && { signal }) }),
    tellEnded: createTellEnded(bus),
    policy: { idleMs: 28_800_000, absoluteMs: 604_800_000, perPrincipalMax: 100 },
    stopped: stop.signal,
    onRevocationDelay: () => {},
  });
  scope.use(hearRevocations(bus, revocations, createLogger({ service: 'test', level: 'silent' })));
  scope.use(serve(bus, sessionService, handlers, serveOptions()));
  await bus.flush();
  return scope;
}
