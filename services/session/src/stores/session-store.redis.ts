/**
 * Sessions in Redis:
 * `s:<token hash>` a hash of one session, `p:<principal>` the token hashes of a principal's sessions by creation,
 * `epoch` a counter of ended principals, `e:<principal>` that counter when this principal's sessions were last all ended.
 */
import { Principal } from '@postern/contracts/common';
import type { Redis } from 'ioredis';
import { createHash } from 'node:crypto';
import { z } from 'zod';

import type { Clock, SessionStore, StoredSession } from '../domain/ports.ts';
import { createScript, orUnavailable, PREFIX } from './redis.ts';

const EPOCH_KEY = `${PREFIX}epoch`;
/** Longer than any login is under way. */
const EPOCH_MARK_MS = 600_000;

const sessionKey = (tokenHash: string): string => `${PREFIX}s:${tokenHash}`;
/** A principal's id may be of any length; its key is not. */
const principalKey = (principalId: string): string =>
  `${PREFIX}p:${createHash('sha256').update(principalId).digest('base64url')}`;
const markKey = (principalId: string): string => `${PREFIX}e:${createHash('sha256').update(principalId).digest('base64url')}`;

/** What every script begins with. A session's own row names its principal's key. */
const PRELUDE = `
local SESSION = '${PREFIX}s:'
local function read(hash)
  local row = redis.call('HMGET', SESSION .. hash, 'id', 'principal', 'createdAt', 'lastActivityAt', 'client')
  if row[1] then return row end
  return nil
end
local function finish(hash)
  local row = read(hash)
  if not row then return nil end
  redis.call('ZREM', redis.call('HGET', SESSION .. hash, 'owner'), hash)
  redis.call('DEL', SESSION .. hash)
  return row
end
local function finishAll(hashes)
  local rows = {}
  for _, hash in ipairs(hashes) do
    local row = finish(hash)
    if row then rows[#rows + 1] = row end
  end
  return rows
end
local function sweep(owner)
  for _, hash in ipairs(redis.call('ZRANGE', owner, 0, -1)) do
    if redis.call('EXISTS', SESSION .. hash) == 0 then redis.call('ZREM', owner, hash) end
  end
end
`;

const CREATE = `${PRELUDE}
local owner, mark = KEYS[2], KEYS[3]
local hash, replaces, epoch, lifeMs, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
if tonumber(redis.call('GET', mark) or '0') > epoch then return false end
local ended = {}
if replaces ~= '' then ended = finishAll({replaces}) end
sweep(owner)
local surplus = redis.call('ZCARD', owner) - most + 1
if surplus > 0 then
  for _, row in ipairs(finishAll(redis.call('ZRANGE', owner, 0, surplus - 1))) do ended[#ended + 1] = row end
end
redis.call('HSET', KEYS[1], 'owner', owner, 'id', ARGV[6], 'principal', ARGV[7], 'createdAt', ARGV[8],
  'lastActivityAt', ARGV[9], 'client', ARGV[10])
redis.call('PEXPIRE', KEYS[1], lifeMs)
redis.call('ZADD', owner, ARGV[8], hash)
if redis.call('PTTL', owner) < tonumber(lifeMs) then redis.call('PEXPIRE', owner, lifeMs) end
return ended
`;

const RENEW = `
local noted = redis.call('HGET', KEYS[1], 'lastActivityAt')
if not noted then return 0 end
if tonumber(ARGV[1]) > tonumber(noted) then
  redis.call('HSET', KEYS[1], 'lastActivityAt', ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  local owner = redis.call('HGET', KEYS[1], 'owner')
  if redis.call('PTTL', owner) < tonumber(ARGV[2]) then redis.call('PEXPIRE', owner, ARGV[2]) end
end
return 1
`;

const END = `${PRELUDE} return finish(ARGV[1]) or false`;

const LIST = `${PRELUDE}
sweep(KEYS[1])
local rows = {}
for _, hash in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do rows[#rows + 1] = read(hash) end
return rows
`;

const END_ONE = `${PRELUDE}
for _, hash in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if redis.call('HGET', SESSION .. hash, 'id') == ARGV[1] then return finish(hash) end
end
return false
`;

const END_ALL = `${PRELUDE}
local rows = finishAll(redis.call('ZRANGE', KEYS[1], 0, -1))
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], redis.call('INCR', KEYS[3]), 'PX', ARGV[1])
return rows
`;

const Row = z.tuple([z.string(), z.string(), z.coerce.number(), z.coerce.number(), z.string()]);
const Rows = z.array(Row);

function parseSession([id, principal, createdAtMs, lastActivityAtMs, client]: z.output<typeof Row>): StoredSession {
  return { id, principal: Principal.parse(JSON.parse(principal)), createdAtMs, lastActivityAtMs, client };
}

/** An absent session is Lua's `false`, which arrives as null. */
const parseMaybe = (row: unknown): StoredSession | undefined => (row === null ? undefined : parseSession(Row.parse(row)));
const parseAll = (rows: unknown): StoredSession[] => Rows.parse(rows).map(parseSession);

export function createRedisSessionStore(redis: Redis, clock: Clock): SessionStore {
  const create = createScript(redis, CREATE);
  const renew = createScript(redis, RENEW);
  const end = createScript(redis, END);
  const list = createScript(redis, LIST);
  const endOne = createScript(redis, END_ONE);
  const endAll = createScript(redis, END_ALL);
  const lifeMs = (forgetAtMs: number): number => Math.max(1, forgetAtMs - clock.now());

  return {
    epoch: () => orUnavailable(async () => Number((await redis.get(EPOCH_KEY)) ?? 0)),

    async create({ session, tokenHash, replaces, epoch, forgetAtMs, perPrincipalMax }) {
      const { id, principal, createdAtMs, lastActivityAtMs, client } = session;
      const ended = await create(
        [sessionKey(tokenHash), principalKey(principal.id), markKey(principal.id)],
        [
          tokenHash,
          replaces ?? '',
          epoch,
          lifeMs(forgetAtMs),
          perPrincipalMax,
          id,
          JSON.stringify(principal),
          createdAtMs,
          lastActivityAtMs,
          client,
        ],
      );
      return ended === null ? { kind: 'superseded' } : { kind: 'created', ended: parseAll(ended) };
    },

    async find(tokenHash) {
      const fields = ['id', 'principal', 'createdAt', 'lastActivityAt', 'client'];
      const row = await orUnavailable(() => redis.hmget(sessionKey(tokenHash), ...fields));
      return row[0] === null ? undefined : parseSession(Row.parse(row));
    },

    renew: async (tokenHash, { atMs, forgetAtMs }) => (await renew([sessionKey(tokenHash)], [atMs, lifeMs(forgetAtMs)])) === 1,
    end: async (tokenHash) => parseMaybe(await end([sessionKey(tokenHash)], [tokenHash])),
    list: async (principalId) => parseAll(await list([principalKey(principalId)], [])),
    endOne: async (principalId, id) => parseMaybe(await endOne([principalKey(principalId)], [id])),
    endAll: async (principalId) =>
      parseAll(await endAll([principalKey(principalId), markKey(principalId), EPOCH_KEY], [EPOCH_MARK_MS])),
  };
}
