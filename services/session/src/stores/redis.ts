import { Failure } from '@postern/contracts/failure';
import { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { createHash } from 'node:crypto';
import { once } from 'node:events';

/** Every key of this service; the braces put them on one node of a cluster. */
export const PREFIX = 'postern:{session}:';

const RECONNECT_MS_MAX = 500;

/**
 * Opens the connection to Redis. It connects and reconnects on its own, for ever; while it is away a command fails at once,
 * is not kept for later and is not sent again.
 */
export function connectRedis(url: string, log: Logger): Redis {
  const redis = new Redis(url, {
    connectionName: 'postern-session',
    disableClientInfo: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: 1_000,
    socketTimeout: 5_000,
    connectTimeout: 2_000,
    keepAlive: 5_000,
    retryStrategy: (times) => Math.min(times * 50, RECONNECT_MS_MAX),
    // After a failover the address may lead to the new primary.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  });
  let isAway = false;
  redis.on('error', (error: unknown) => {
    if (!isAway) log.warn({ err: error }, 'redis is away');
    isAway = true;
  });
  redis.on('ready', () => {
    if (isAway) log.warn('redis is back');
    isAway = false;
  });
  return redis;
}

/** Resolves when the connection can be used, or when it was waited for long enough. */
export async function firstReady(redis: Redis, waitMs: number): Promise<void> {
  if (redis.status === 'ready') return;
  await once(redis, 'ready', { signal: AbortSignal.timeout(waitMs) }).catch(() => {});
}

export type Script = (keys: readonly string[], values: readonly (string | number)[]) => Promise<unknown>;

/** A Lua script, which Redis runs as one step; sent by its hash, and whole when Redis does not know it. */
export function createScript(redis: Redis, lua: string): Script {
  const hash = createHash('sha1').update(lua).digest('hex');
  return (keys, values) =>
    orUnavailable(async () => {
      try {
        return await redis.evalsha(hash, keys.length, ...keys, ...values);
      } catch (error) {
        if (!isReply(error, /^NOSCRIPT/)) throw error;
        return await redis.eval(lua, keys.length, ...keys, ...values);
      }
    });
}

const AWAY = /^(LOADING|READONLY|MASTERDOWN|NOREPLICAS|MISCONF|OOM|BUSY|CLUSTERDOWN|TRYAGAIN|NOAUTH|WRONGPASS)\b/;

/** Redis being away, in any of its ways, is `UNAVAILABLE`; a command it refuses is a mistake of ours. */
export async function orUnavailable<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error && error.name === 'ReplyError' && !AWAY.test(error.message)) throw error;
    throw new Failure('UNAVAILABLE', { retryAfterSeconds: 1, cause: error });
  }
}

const isReply = (error: unknown, pattern: RegExp): boolean =>
  error instanceof Error && error.name === 'ReplyError' && pattern.test(error.message);
