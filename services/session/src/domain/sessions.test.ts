import type { Principal } from '@postern/contracts/common';
import { beforeEach, expect, test } from 'vitest';

import type { TestClock } from '../../test/clock.ts';
import { createTestClock } from '../../test/clock.ts';
import { somebody } from '../../test/principals.ts';
import { createMemorySessionStore } from '../../test/session-store.memory.ts';
import type { SessionStore } from './ports.ts';
import type { Sessions } from './sessions.ts';
import { createSessions, hashToken, renewEveryMs } from './sessions.ts';

const IDLE_MS = 8 * 3_600_000;
const ABSOLUTE_MS = 7 * 86_400_000;

let clock: TestClock;
let store: SessionStore;
let told: { principalId: string; sessionId?: string }[];
let sessions: Sessions;

beforeEach(() => {
  clock = createTestClock();
  store = createMemorySessionStore(clock);
  told = [];
  sessions = createSessions({
    store,
    policy: { idleMs: IDLE_MS, absoluteMs: ABSOLUTE_MS, perPrincipalMax: 3 },
    clock,
    tellEnded: (ended) => told.push(ended),
  });
});

async function open(principal: Principal = somebody(), replaces?: string): Promise<{ token: string; id: string }> {
  const opening = await sessions.open({ principal, client: '192.0.2.1', epoch: await sessions.epoch(), replaces });
  if (opening.kind !== 'opened') throw new Error(opening.kind);
  return { token: opening.token, id: opening.session.id };
}

const kindOf = async (token: string): Promise<string> => (await sessions.resolve(token)).kind;

test('resolve answers the principal of the login, by way of the session and until its absolute end', async () => {
  const principal = somebody();
  const { token, id } = await open(principal);
  const resolution = await sessions.resolve(token);
  expect(resolution).toMatchObject({ kind: 'live', session: { id, client: '192.0.2.1', endsAtMs: clock.now() + IDLE_MS } });
  expect(resolution.kind === 'live' && resolution.session.principal).toEqual({
    ...principal,
    method: 'session',
    sessionId: id,
    expiresAt: (clock.now() + ABSOLUTE_MS) / 1_000,
  });
});

test('resolve refuses a session one millisecond after its idle time', async () => {
  const { token } = await open();
  clock.advance(IDLE_MS);
  expect(await store.find(hashToken(token))).toBeDefined();
  clock.advance(1);
  expect(await kindOf(token)).toBe('expired');
  expect(await kindOf(token)).toBe('unknown');
});

test('resolve accepts a session in the last millisecond of its idle time, which begins anew', async () => {
  const { token } = await open();
  clock.advance(IDLE_MS);
  expect(await kindOf(token)).toBe('live');
  clock.advance(IDLE_MS);
  expect(await kindOf(token)).toBe('live');
});

test('resolve refuses a session one millisecond after seven days, however busy it is', async () => {
  const { token } = await open();
  const step = 4 * 3_600_000;
  for (let spentMs = 0; spentMs < ABSOLUTE_MS; spentMs += step) {
    expect(await kindOf(token)).toBe('live');
    clock.advance(step);
  }
  expect(await kindOf(token)).toBe('live');
  clock.advance(1);
  expect(await kindOf(token)).toBe('expired');
});

test('a session ends with the credential that opened it', async () => {
  const { token } = await open(somebody({ expiresAt: clock.now() / 1_000 + 60 }));
  clock.advance(60_000);
  expect(await kindOf(token)).toBe('live');
  clock.advance(1);
  expect(await kindOf(token)).toBe('expired');
});

test('uses within a minute are noted once, and the idle time is short by less than that', async () => {
  const { token } = await open();
  const renewals: number[] = [];
  const renew = store.renew;
  store.renew = (hash, use) => {
    renewals.push(use.atMs);
    return renew(hash, use);
  };
  const startMs = clock.now();
  for (let second = 0; second < 120; second += 1) {
    clock.advance(1_000);
    await sessions.resolve(token);
  }
  expect(renewals.map((atMs) => atMs - startMs)).toEqual([60_000, 120_000]);
  clock.advance(IDLE_MS - renewEveryMs(IDLE_MS));
  expect(await kindOf(token)).toBe('live');
});

test.each([
  [28_800_000, 60_000],
  [60_000, 600],
  [1_000, 10],
])('with an idle time of %d ms a use is noted after %d ms', (idleMs, everyMs) => {
  expect(renewEveryMs(idleMs)).toBe(everyMs);
});

/** imm-050: a session id that was set before the login never becomes the one that is logged in. */
test('each login has a new token and a new id, and the session of the earlier cookie ends', async () => {
  const principal = somebody();
  const before = await open(principal);
  const after = await open(principal, before.token);
  expect(after.token).not.toBe(before.token);
  expect(after.id).not.toBe(before.id);
  expect(await kindOf(before.token)).toBe('unknown');
  expect(await kindOf(after.token)).toBe('live');
  expect(told).toEqual([{ principalId: principal.id, sessionId: before.id }]);
});

/** imm-050 */
test('a cookie that stands for nothing stands for nothing after a login either', async () => {
  const planted = 'planted-by-somebody-else-0000000000';
  await open(somebody(), planted);
  expect(await kindOf(planted)).toBe('unknown');
});

test('a token has 256 bits, and the store holds only its hash', async () => {
  const created: unknown[] = [];
  const create = store.create;
  store.create = (given) => {
    created.push(given);
    return create(given);
  };
  const { token, id } = await open();
  expect(token).toMatch(/^[\w-]{43}$/);
  expect(id).toMatch(/^[\w-]{22}$/);
  expect(JSON.stringify(created)).not.toContain(token);
});

test('a login beyond the most sessions ends the oldest, and says so', async () => {
  const principal = somebody();
  const opened = [];
  for (let count = 0; count < 4; count += 1) {
    clock.advance(1);
    opened.push(await open(principal));
  }
  const [oldest, ...others] = opened;
  expect(told).toEqual([{ principalId: principal.id, sessionId: oldest?.id }]);
  expect(await Promise.all(others.map(({ token }) => kindOf(token)))).toEqual(['live', 'live', 'live']);
});

test('list answers live sessions of the principal only, newest activity first, and no token', async () => {
  const principal = somebody();
  await open();
  const old = await open(principal);
  clock.advance(IDLE_MS);
  const busy = await open(principal);
  clock.advance(60_000);
  const fresh = await open(principal);
  clock.advance(60_000);
  await sessions.resolve(busy.token);
  const listed = await sessions.list(principal.id);
  expect(listed.map(({ id }) => id)).toEqual([busy.id, fresh.id]);
  expect(JSON.stringify(listed)).not.toContain(busy.token);
  expect(await kindOf(old.token)).toBe('expired');
});

test('end ends one session of its owner and leaves the others', async () => {
  const principal = somebody();
  const [one, other] = [await open(principal), await open(principal)];
  expect(await sessions.end(principal.id, one.id)).toBe(true);
  expect(await kindOf(one.token)).toBe('unknown');
  expect(await kindOf(other.token)).toBe('live');
  expect(told).toEqual([{ principalId: principal.id, sessionId: one.id }]);
});

test('end does not tell a session of somebody else from one that does not exist', async () => {
  const { id, token } = await open();
  expect(await sessions.end(somebody().id, id)).toBe(false);
  expect(await kindOf(token)).toBe('live');
  expect(told).toEqual([]);
});

test('close ends the session of a cookie; the second time there is none', async () => {
  const principal = somebody();
  const { token, id } = await open(principal);
  expect(await sessions.close(token)).toBe(true);
  expect(await sessions.close(token)).toBe(false);
  expect(told).toEqual([{ principalId: principal.id, sessionId: id }]);
});

test('endAll ends every session of the principal and says so even if there is none', async () => {
  const principal = somebody();
  const stranger = await open();
  const mine = [await open(principal), await open(principal)];
  expect(await sessions.endAll(principal.id)).toBe(2);
  expect(await sessions.endAll(principal.id)).toBe(0);
  expect(await Promise.all(mine.map(({ token }) => kindOf(token)))).toEqual(['unknown', 'unknown']);
  expect(await kindOf(stranger.token)).toBe('live');
  expect(told).toEqual([{ principalId: principal.id }, { principalId: principal.id }]);
});

test('resolve does not bring back a session that ended while it was being resolved', async () => {
  const { token } = await open();
  clock.advance(60_000);
  const find = store.find;
  store.find = async (hash) => {
    const found = await find(hash);
    await store.end(hash);
    return found;
  };
  expect(await kindOf(token)).toBe('unknown');
  store.find = find;
  expect(await kindOf(token)).toBe('unknown');
});
