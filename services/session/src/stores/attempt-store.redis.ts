/**
 * Failed logins in Redis, one group of keys per client (`a:c:<client>`) and per name (`a:n:<name>`):
 * `…:f` tickets that failed, by time; `…:r` tickets under way, by the time they lapse; `…:l` the lock: until when, and how
 * many there were before it. `k:<name>` holds the clients that have logged in with a name.
 */
import type { Redis } from 'ioredis';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';

import type { AttemptKeys, AttemptLimits, AttemptStore, Reservation } from '../domain/ports.ts';
import { createScript, PREFIX } from './redis.ts';

/** Longer than any password is checked; after this the attempt of a replica that is gone is given back. */
const RESERVATION_MS = 10_000;
/** A lock without another for this long is forgotten: the next begins with the shortest again. */
const LOCK_MEMORY_MS = 3_600_000;
const KNOWN_MS = 30 * 86_400_000;
const KNOWN_MAX = 20;

/** `counters` are the groups this attempt is counted by: the client's, and the name's unless the pair is known. */
const PRELUDE = `
local function counters(known)
  local all = {{f = KEYS[2], r = KEYS[3], l = KEYS[4]}}
  if known ~= '1' then all[2] = {f = KEYS[5], r = KEYS[6], l = KEYS[7]} end
  return all
end
local function text(number) return string.format('%.0f', number) end
`;

const RESERVE = `${PRELUDE}
local now, windowMs, most, ticket, lapseMs = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local known = '0'
local seen = redis.call('ZSCORE', KEYS[1], ARGV[6])
if seen and tonumber(seen) > now - tonumber(ARGV[7]) then known = '1' end
local lockedUntil = 0
for _, counter in ipairs(counters(known)) do
  lockedUntil = math.max(lockedUntil, tonumber(redis.call('HGET', counter.l, 'until') or '0'))
end
if lockedUntil > now then return {'locked', text(lockedUntil)} end
for _, counter in ipairs(counters(known)) do
  redis.call('ZREMRANGEBYSCORE', counter.f, '-inf', text(now - windowMs))
  redis.call('ZREMRANGEBYSCORE', counter.r, '-inf', text(now))
  if redis.call('ZCARD', counter.f) + redis.call('ZCARD', counter.r) >= most then return {'busy', ''} end
end
for _, counter in ipairs(counters(known)) do
  redis.call('ZADD', counter.r, text(now + lapseMs), ticket)
  redis.call('PEXPIRE', counter.r, lapseMs)
end
return {'reserved', known}
`;

const FAIL = `${PRELUDE}
local now, windowMs, most, ticket, known, memoryMs = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], tonumber(ARGV[6])
for _, counter in ipairs(counters(known)) do
  redis.call('ZREM', counter.r, ticket)
  redis.call('ZREMRANGEBYSCORE', counter.f, '-inf', text(now - tonumber(windowMs)))
  redis.call('ZADD', counter.f, text(now), ticket)
  redis.call('PEXPIRE', counter.f, windowMs)
  if redis.call('ZCARD', counter.f) >= most then
    local step = math.min(redis.call('HINCRBY', counter.l, 'locks', 1), #ARGV - 6)
    local lockMs = tonumber(ARGV[6 + step])
    redis.call('HSET', counter.l, 'until', text(now + lockMs))
    redis.call('PEXPIRE', counter.l, text(lockMs + memoryMs))
    redis.call('DEL', counter.f)
  end
end
return 1
`;

const SUCCEED = `${PRELUDE}
for _, counter in ipairs(counters(ARGV[2])) do redis.call('ZREM', counter.r, ARGV[1]) end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[4])
local surplus = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[6])
if surplus > 0 then redis.call('ZREM', KEYS[1], unpack(redis.call('ZRANGE', KEYS[1], 0, surplus - 1))) end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
`;

const RELEASE = `${PRELUDE}
for _, counter in ipairs(counters(ARGV[2])) do redis.call('ZREM', counter.r, ARGV[1]) end
return 1
`;

const Outcome = z.tuple([z.enum(['reserved', 'locked', 'busy']), z.string()]);

const keysOf = ({ client, name }: AttemptKeys): string[] => [
  `${PREFIX}k:${name}`,
  ...[`c:${client}`, `n:${name}`].flatMap((counter) => ['f', 'r', 'l'].map((part) => `${PREFIX}a:${counter}:${part}`)),
];

const knownFlag = ({ known }: Reservation): string => (known ? '1' : '0');

export function createRedisAttemptStore(redis: Redis, { max, windowMs, lockStepsMs }: AttemptLimits): AttemptStore {
  const reserve = createScript(redis, RESERVE);
  const fail = createScript(redis, FAIL);
  const succeed = createScript(redis, SUCCEED);
  const release = createScript(redis, RELEASE);

  return {
    async reserve(keys, nowMs) {
      const ticket = randomUUID();
      const values = [nowMs, windowMs, max, ticket, RESERVATION_MS, keys.client, KNOWN_MS];
      const [kind, detail] = Outcome.parse(await reserve(keysOf(keys), values));
      switch (kind) {
        case 'reserved':
          return { kind, reservation: { ...keys, ticket, known: detail === '1' } };
        case 'locked':
          return { kind, untilMs: Number(detail) };
        case 'busy':
          return { kind };
      }
    },

    async fail(reservation, nowMs) {
      const { ticket } = reservation;
      const values = [nowMs, windowMs, max, ticket, knownFlag(reservation), LOCK_MEMORY_MS, ...lockStepsMs];
      await fail(keysOf(reservation), values);
    },

    async succeed(reservation, nowMs) {
      const { ticket, client } = reservation;
      await succeed(keysOf(reservation), [ticket, knownFlag(reservation), nowMs, client, KNOWN_MS, KNOWN_MAX]);
    },

    async release(reservation) {
      await release(keysOf(reservation), [reservation.ticket, knownFlag(reservation)]);
    },
  };
}
