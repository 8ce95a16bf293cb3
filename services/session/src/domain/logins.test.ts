import { beforeEach, expect, test } from 'vitest';

import { createMemoryAttemptStore } from '../../test/attempt-store.memory.ts';
import { createTestClock } from '../../test/clock.ts';
import { somebody } from '../../test/principals.ts';
import { createMemorySessionStore } from '../../test/session-store.memory.ts';
import { createLoginLimit } from './login-limit.ts';
import type { Logins } from './logins.ts';
import { createLogins } from './logins.ts';
import type { AttemptStore, Passwords, Patience } from './ports.ts';
import type { Sessions } from './sessions.ts';
import { createSessions } from './sessions.ts';

const alice = somebody({ name: 'alice' });
const right = { name: 'alice', password: 'right', client: '192.0.2.1' };
const wrong = { ...right, password: 'wrong' };
const patience: Patience = { signal: new AbortController().signal, remainingMs: 5_000 };

let verified: string[];
let beforeAnswer: () => Promise<unknown>;
let attempts: AttemptStore;
let sessions: Sessions;
let logins: Logins;

beforeEach(() => {
  const clock = createTestClock();
  verified = [];
  beforeAnswer = async () => {};
  const passwords: Passwords = {
    async verify({ password }) {
      verified.push(password);
      await beforeAnswer();
      return password === 'right' ? { kind: 'proved', principal: alice } : { kind: 'refused' };
    },
  };
  attempts = createMemoryAttemptStore({ max: 10, windowMs: 60_000, lockStepsMs: [60_000] });
  const policy = { idleMs: 1_000_000, absoluteMs: 10_000_000, perPrincipalMax: 100 };
  sessions = createSessions({ store: createMemorySessionStore(clock), policy, clock, tellEnded: () => {} });
  const limit = createLoginLimit({ store: attempts, clock, pause: () => new Promise((resolve) => setImmediate(resolve)) });
  logins = createLogins({ limit, passwords, sessions });
});

test('a right password opens a session', async () => {
  const login = await logins.logIn(right, patience);
  expect(login).toMatchObject({ kind: 'opened', session: { principal: { id: alice.id, method: 'session' } } });
  expect(login.kind === 'opened' && (await sessions.resolve(login.token)).kind).toBe('live');
});

test('a wrong password opens none', async () => {
  expect(await logins.logIn(wrong, patience)).toEqual({ kind: 'refused' });
  expect(await sessions.list(alice.id)).toEqual([]);
});

test('a locked client is refused even with the right password, and auth is not asked', async () => {
  for (let count = 0; count < 10; count += 1) await logins.prove(wrong, patience);
  expect(await logins.logIn(right, patience)).toEqual({ kind: 'locked', retryAfterSeconds: 60 });
  expect(verified).toHaveLength(10);
});

test('of fifty wrong passwords at once ten are looked at', async () => {
  beforeAnswer = () => new Promise((resolve) => setImmediate(resolve));
  const proofs = await Promise.all(Array.from({ length: 50 }, () => logins.prove(wrong, patience)));
  expect(verified).toHaveLength(10);
  expect(proofs.filter(({ kind }) => kind === 'refused')).toHaveLength(10);
  expect(proofs.filter(({ kind }) => kind === 'locked')).toHaveLength(40);
});

test('fifty right passwords at once are all let in', async () => {
  beforeAnswer = () => new Promise((resolve) => setImmediate(resolve));
  const proofs = await Promise.all(Array.from({ length: 50 }, () => logins.prove(right, patience)));
  expect(proofs.filter(({ kind }) => kind === 'proved')).toHaveLength(50);
});

test('an attempt that auth does not answer is not counted, and its error is passed on', async () => {
  const away = new Error('auth is away');
  beforeAnswer = () => Promise.reject(away);
  for (let count = 0; count < 20; count += 1) await expect(logins.prove(wrong, patience)).rejects.toBe(away);
  beforeAnswer = async () => {};
  expect(await logins.prove(right, patience)).toMatchObject({ kind: 'proved' });
});

/** Failing open here would make the limit vanish with the store. */
test('a right password is of no use when its attempt cannot be settled', async () => {
  const away = new Error('the store is away');
  attempts.succeed = () => Promise.reject(away);
  await expect(logins.logIn(right, patience)).rejects.toBe(away);
  expect(await sessions.list(alice.id)).toEqual([]);
});

/** The old password was right when it was looked at; a moment later it is changed and all sessions end. */
test('a login that began before all sessions were ended is proved again', async () => {
  beforeAnswer = async () => {
    if (verified.length === 1) await sessions.endAll(alice.id);
  };
  expect(await logins.logIn(right, patience)).toMatchObject({ kind: 'opened' });
  expect(verified).toHaveLength(2);
  expect(await sessions.list(alice.id)).toHaveLength(1);
});

test('a login during which all sessions are ended again and again opens none', async () => {
  beforeAnswer = () => sessions.endAll(alice.id);
  expect(await logins.logIn(right, patience)).toEqual({ kind: 'unsettled' });
  expect(await sessions.list(alice.id)).toEqual([]);
});
