import { beforeEach, expect, test } from 'vitest';

import { createMemoryAttemptStore } from '../../test/attempt-store.memory.ts';
import type { TestClock } from '../../test/clock.ts';
import { createTestClock } from '../../test/clock.ts';
import { createLoginLimit, lockStepsMs } from './login-limit.ts';
import type { LoginLimit } from './login-limit.ts';
import type { Patience } from './ports.ts';

const attempt = { client: '192.0.2.1', name: 'alice' };
const patience: Patience = { signal: new AbortController().signal, remainingMs: 5_000 };

let clock: TestClock;
let pauses: (() => Promise<void>)[];
let limit: LoginLimit;

beforeEach(() => {
  clock = createTestClock();
  pauses = [];
  const store = createMemoryAttemptStore({ max: 10, windowMs: 60_000, lockStepsMs: lockStepsMs(60_000, 300_000) });
  limit = createLoginLimit({ store, clock, pause: async () => pauses.shift()?.() });
});

async function admit(changes: Partial<typeof attempt> = {}) {
  const admission = await limit.admit({ ...attempt, ...changes }, patience);
  if (admission.kind !== 'admitted') throw new Error(`locked for ${admission.retryAfterSeconds} s`);
  return admission.reservation;
}

async function failTenTimes(): Promise<void> {
  for (let count = 0; count < 10; count += 1) await limit.settle(await admit(), 'refused');
}

test('the eleventh attempt after ten failures is refused, and told how long', async () => {
  await failTenTimes();
  expect(await limit.admit(attempt, patience)).toEqual({ kind: 'locked', retryAfterSeconds: 60 });
});

test('the time that a locked client is told is true to the second', async () => {
  await failTenTimes();
  clock.advance(500);
  const told = await limit.admit(attempt, patience);
  expect(told).toEqual({ kind: 'locked', retryAfterSeconds: 60 });
  clock.advance(59_499);
  expect(await limit.admit(attempt, patience)).toEqual({ kind: 'locked', retryAfterSeconds: 1 });
  clock.advance(1);
  expect(await limit.admit(attempt, patience)).toMatchObject({ kind: 'admitted' });
});

test('refused attempts do not make the lock longer', async () => {
  await failTenTimes();
  clock.advance(30_000);
  for (let count = 0; count < 20; count += 1) await limit.admit(attempt, patience);
  expect(await limit.admit(attempt, patience)).toEqual({ kind: 'locked', retryAfterSeconds: 30 });
});

test('locks grow from one minute to five', async () => {
  const told: number[] = [];
  for (let lock = 0; lock < 5; lock += 1) {
    await failTenTimes();
    const admission = await limit.admit(attempt, patience);
    if (admission.kind === 'locked') told.push(admission.retryAfterSeconds);
    clock.advance(300_000);
  }
  expect(told).toEqual([60, 120, 240, 300, 300]);
});

test.each([
  [60_000, 300_000, [60_000, 120_000, 240_000, 300_000]],
  [60_000, 60_000, [60_000]],
  [60_000, 1_000, [1_000]],
  [1_000, 5_000, [1_000, 2_000, 4_000, 5_000]],
])('from %d ms to %d ms the locks are %j', (firstMs, longestMs, steps) => {
  expect(lockStepsMs(firstMs, longestMs)).toEqual(steps);
});

test('an attempt beside ten that are under way waits for one of them, and is let in when it was right', async () => {
  const underWay = await Promise.all(Array.from({ length: 10 }, () => admit()));
  const [first] = underWay;
  pauses.push(
    async () => {},
    async () => void (first !== undefined && (await limit.settle(first, 'proved'))),
  );
  expect(await limit.admit(attempt, patience)).toMatchObject({ kind: 'admitted' });
  expect(pauses).toHaveLength(0);
});

test('an attempt beside ten that are under way is refused when they were wrong', async () => {
  const underWay = await Promise.all(Array.from({ length: 10 }, () => admit()));
  pauses.push(async () => void (await Promise.all(underWay.map((reservation) => limit.settle(reservation, 'refused')))));
  expect(await limit.admit(attempt, patience)).toEqual({ kind: 'locked', retryAfterSeconds: 60 });
});

test('an attempt that waits is refused while there is still time to say so', async () => {
  await Promise.all(Array.from({ length: 10 }, () => admit()));
  expect(await limit.admit(attempt, { ...patience, remainingMs: 1_000 })).toEqual({ kind: 'locked', retryAfterSeconds: 1 });
});

test('strangers lock a name for strangers, and not for the client that has logged in with it before', async () => {
  await limit.settle(await admit(), 'proved');
  for (let count = 0; count < 10; count += 1) await limit.settle(await admit({ client: `198.51.100.${count}` }), 'refused');
  expect(await limit.admit({ ...attempt, client: '203.0.113.1' }, patience)).toMatchObject({ kind: 'locked' });
  expect(await limit.admit(attempt, patience)).toMatchObject({ kind: 'admitted' });
});
