import { sessionService } from '@postern/contracts/session';
import { announce } from '@postern/rpc/announce';
import { connectBus } from '@postern/rpc/connect';
import { serve } from '@postern/rpc/serve';
import { createReadiness, serveOps } from '@postern/service-kit/ops';
import { runService } from '@postern/service-kit/run';
import { setTimeout as delay } from 'node:timers/promises';

import { createApp } from './app.ts';
import { createAuthPasswords } from './clients/auth.ts';
import { refine, settings } from './config.ts';
import { lockStepsMs } from './domain/login-limit.ts';
import { createTellEnded, hearRevocations } from './nats/events.ts';
import { createRedisAttemptStore } from './stores/attempt-store.redis.ts';
import { connectRedis, firstReady } from './stores/redis.ts';
import { createRedisSessionStore } from './stores/session-store.redis.ts';

const SESSIONS_PER_PRINCIPAL_MAX = 100;
const REDIS_WAIT_MS = 2_000;

await runService(
  'session',
  settings,
  async ({ config, scope, log, metrics, replicaId }) => {
    const bus = scope.adopt(await connectBus('session', { url: config.natsUrl, credsFile: config.natsCredsFile }), (open) =>
      open.drain(),
    );
    const redis = scope.adopt(connectRedis(config.redisUrl, log), (open) => open.disconnect());
    const clock = { now: () => Date.now() };
    const stop = scope.adopt(new AbortController(), (controller) => controller.abort());
    const limits = {
      max: config.attemptsMax,
      windowMs: config.attemptsWindowSeconds * 1_000,
      lockStepsMs: lockStepsMs(config.attemptsWindowSeconds * 1_000, config.lockSecondsMax * 1_000),
    };
    const { handlers, revocations } = createApp({
      sessionStore: createRedisSessionStore(redis, clock),
      attemptStore: createRedisAttemptStore(redis, limits),
      passwords: createAuthPasswords(bus, metrics),
      clock,
      pause: (ms, signal) => delay(ms, undefined, { ...(signal !== undefined && { signal }) }),
      tellEnded: createTellEnded(bus),
      policy: {
        idleMs: config.idleSeconds * 1_000,
        absoluteMs: config.absoluteSeconds * 1_000,
        perPrincipalMax: SESSIONS_PER_PRINCIPAL_MAX,
      },
      stopped: stop.signal,
      onRevocationDelay: (error) => log.warn({ err: error }, 'revocation waits for redis'),
    });
    // Whoever serves is asked: a replica whose Redis is about to be there waits for it, and does not refuse meanwhile.
    await firstReady(redis, REDIS_WAIT_MS);
    scope.use(hearRevocations(bus, revocations, log));
    scope.use(serve(bus, sessionService, handlers, { log, metrics, replicaId }));
    const isReady = createReadiness({ redis: () => redis.ping() });
    scope.use(await serveOps({ host: config.opsHost, port: config.opsPort, metrics, isReady }));
    scope.use(await announce(bus, 'session', { replicaId, isReady }));
  },
  { refine },
);
