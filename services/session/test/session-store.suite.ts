/** What every session store promises. Run for Redis and for the fake. */
import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';

import type { NewSession, SessionStore, StoredSession } from '../src/domain/ports.ts';
import type { TestClock } from './clock.ts';
import { somebody } from './principals.ts';

type Case = (store: SessionStore, clock: TestClock) => Promise<void>;

const HOUR_MS = 3_600_000;

function newSession(clock: TestClock, changes: Partial<StoredSession> = {}): NewSession {
  const nowMs = clock.now();
  return {
    session: {
      id: randomUUID(),
      principal: somebody(),
      createdAtMs: nowMs,
      lastActivityAtMs: nowMs,
      client: '192.0.2.1',
      ...changes,
    },
    tokenHash: randomUUID(),
    epoch: 0,
    forgetAtMs: nowMs + HOUR_MS,
    perPrincipalMax: 100,
  };
}

const current = async (store: SessionStore, given: NewSession): Promise<NewSession> => ({ ...given, epoch: await store.epoch() });

export const sessionStoreSuite: Readonly<Record<string, Case>> = {
  'finds a session as it was created, and nothing under another hash': async (store, clock) => {
    const principal = somebody({ org: 'acme', scopes: ['role:reader', 'role:writer'], expiresAt: 1_900_000_000 });
    const given = await current(store, newSession(clock, { principal, client: '2001:db8::1' }));
    expect(await store.create(given)).toEqual({ kind: 'created', ended: [] });
    expect(await store.find(given.tokenHash)).toEqual(given.session);
    expect(await store.find(randomUUID())).toBeUndefined();
  },

  'ends the session that a new one replaces, whoever it belonged to': async (store, clock) => {
    const earlier = await current(store, newSession(clock));
    await store.create(earlier);
    const later = { ...(await current(store, newSession(clock))), replaces: earlier.tokenHash };
    expect(await store.create(later)).toEqual({ kind: 'created', ended: [earlier.session] });
    expect(await store.find(earlier.tokenHash)).toBeUndefined();
    expect(await store.list(earlier.session.principal.id)).toEqual([]);
    expect(await store.find(later.tokenHash)).toEqual(later.session);
  },

  'ends the oldest sessions of a principal beyond the most they may have': async (store, clock) => {
    const principal = somebody();
    const sessions: NewSession[] = [];
    for (let count = 0; count < 3; count += 1) {
      clock.advance(1_000);
      const given = { ...(await current(store, newSession(clock, { principal }))), perPrincipalMax: 2 };
      sessions.push(given);
      const [oldest] = sessions;
      expect(await store.create(given)).toEqual({ kind: 'created', ended: count === 2 ? [oldest?.session] : [] });
    }
    expect(await store.list(principal.id)).toEqual(sessions.slice(1).map(({ session }) => session));
  },

  'notes a use, and never an earlier one than is noted': async (store, clock) => {
    const given = await current(store, newSession(clock));
    await store.create(given);
    const atMs = clock.now() + 5_000;
    expect(await store.renew(given.tokenHash, { atMs, forgetAtMs: atMs + HOUR_MS })).toBe(true);
    expect(await store.renew(given.tokenHash, { atMs: atMs - 1, forgetAtMs: atMs + HOUR_MS })).toBe(true);
    expect(await store.find(given.tokenHash)).toEqual({ ...given.session, lastActivityAtMs: atMs });
  },

  /** A renewal that wrote the session back would undo a revocation that came between reading and writing. */
  'does not bring back a session that ended before its renewal': async (store, clock) => {
    const given = await current(store, newSession(clock));
    await store.create(given);
    expect(await store.end(given.tokenHash)).toEqual(given.session);
    expect(await store.renew(given.tokenHash, { atMs: clock.now() + 1, forgetAtMs: clock.now() + HOUR_MS })).toBe(false);
    expect(await store.find(given.tokenHash)).toBeUndefined();
    expect(await store.list(given.session.principal.id)).toEqual([]);
  },

  'leaves no session alive when renewals and an end of all run side by side': async (store, clock) => {
    const principal = somebody();
    const sessions = await Promise.all(Array.from({ length: 20 }, async () => current(store, newSession(clock, { principal }))));
    await Promise.all(sessions.map((given) => store.create(given)));
    const renewals = sessions.flatMap((given, index) =>
      Array.from({ length: 5 }, (_, round) => {
        const atMs = clock.now() + index + round;
        return store.renew(given.tokenHash, { atMs, forgetAtMs: atMs + HOUR_MS });
      }),
    );
    const [ended] = await Promise.all([store.endAll(principal.id), ...renewals]);
    expect(ended).toHaveLength(20);
    expect(await Promise.all(sessions.map(({ tokenHash }) => store.find(tokenHash)))).toEqual(sessions.map(() => undefined));
    expect(await store.list(principal.id)).toEqual([]);
  },

  "ends one of a principal's sessions by its id, and nobody else's": async (store, clock) => {
    const given = await current(store, newSession(clock));
    await store.create(given);
    expect(await store.endOne(somebody().id, given.session.id)).toBeUndefined();
    expect(await store.find(given.tokenHash)).toEqual(given.session);
    expect(await store.endOne(given.session.principal.id, given.session.id)).toEqual(given.session);
    expect(await store.endOne(given.session.principal.id, given.session.id)).toBeUndefined();
    expect(await store.find(given.tokenHash)).toBeUndefined();
  },

  'ends an unknown session without an error': async (store) => {
    expect(await store.end(randomUUID())).toBeUndefined();
    expect(await store.endAll(randomUUID())).toEqual([]);
  },

  /** Otherwise a login that began before a password was changed would outlive the change. */
  'creates no session for a principal whose sessions were all ended after the epoch': async (store, clock) => {
    const given = await current(store, newSession(clock));
    const other = await current(store, newSession(clock));
    await store.endAll(given.session.principal.id);
    expect(await store.create(given)).toEqual({ kind: 'superseded' });
    expect(await store.find(given.tokenHash)).toBeUndefined();
    expect(await store.create(other)).toEqual({ kind: 'created', ended: [] });
    expect(await store.create(await current(store, given))).toEqual({ kind: 'created', ended: [] });
  },

  'does not end the session that a superseded one was to replace': async (store, clock) => {
    const earlier = await current(store, newSession(clock));
    await store.create(earlier);
    const later = { ...(await current(store, newSession(clock))), replaces: earlier.tokenHash };
    await store.endAll(later.session.principal.id);
    expect(await store.create(later)).toEqual({ kind: 'superseded' });
    expect(await store.find(earlier.tokenHash)).toEqual(earlier.session);
  },
};
