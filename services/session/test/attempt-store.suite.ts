/** What every store of login attempts promises. Run for Redis and for the fake; made with {@link suiteLimits}. */
import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';

import type { AttemptKeys, AttemptLimits, AttemptStore, Reservation } from '../src/domain/ports.ts';
import type { TestClock } from './clock.ts';

type Case = (store: AttemptStore, clock: TestClock) => Promise<void>;

export const suiteLimits: AttemptLimits = { max: 3, windowMs: 60_000, lockStepsMs: [60_000, 120_000, 200_000] };

const anyKeys = (): AttemptKeys => ({ client: randomUUID(), name: randomUUID() });

async function reserve(store: AttemptStore, keys: AttemptKeys, clock: TestClock): Promise<Reservation> {
  const outcome = await store.reserve(keys, clock.now());
  if (outcome.kind !== 'reserved') throw new Error(`not reserved but ${outcome.kind}`);
  return outcome.reservation;
}

async function failTimes(store: AttemptStore, clock: TestClock, attempts: readonly AttemptKeys[]): Promise<void> {
  for (const keys of attempts) await store.fail(await reserve(store, keys, clock), clock.now());
}

const repeated = (keys: AttemptKeys, times: number): AttemptKeys[] => Array.from({ length: times }, () => keys);

export const attemptStoreSuite: Readonly<Record<string, Case>> = {
  'locks a client after the most failures, whatever names it tried': async (store, clock) => {
    const { client } = anyKeys();
    await failTimes(
      store,
      clock,
      repeated(anyKeys(), 3).map(() => ({ client, name: randomUUID() })),
    );
    expect(await store.reserve({ client, name: randomUUID() }, clock.now())).toEqual({
      kind: 'locked',
      untilMs: clock.now() + 60_000,
    });
    expect(await store.reserve(anyKeys(), clock.now())).toMatchObject({ kind: 'reserved' });
  },

  'locks a name after the most failures, from wherever they came': async (store, clock) => {
    const { name } = anyKeys();
    await failTimes(
      store,
      clock,
      repeated(anyKeys(), 3).map(() => ({ client: randomUUID(), name })),
    );
    expect(await store.reserve({ client: randomUUID(), name }, clock.now())).toMatchObject({ kind: 'locked' });
  },

  'counts failures of the window only': async (store, clock) => {
    const keys = anyKeys();
    await failTimes(store, clock, repeated(keys, 2));
    clock.advance(60_000);
    await failTimes(store, clock, repeated(keys, 2));
    expect(await store.reserve(keys, clock.now())).toMatchObject({ kind: 'reserved' });
  },

  'opens a lock at its end and not a millisecond before': async (store, clock) => {
    const keys = anyKeys();
    await failTimes(store, clock, repeated(keys, 3));
    clock.advance(59_999);
    expect(await store.reserve(keys, clock.now())).toEqual({ kind: 'locked', untilMs: clock.now() + 1 });
    clock.advance(1);
    expect(await store.reserve(keys, clock.now())).toMatchObject({ kind: 'reserved' });
  },

  'makes each lock longer than the one before, up to the longest': async (store, clock) => {
    const keys = anyKeys();
    for (const lockMs of [60_000, 120_000, 200_000, 200_000]) {
      await failTimes(store, clock, repeated(keys, 3));
      expect(await store.reserve(keys, clock.now())).toEqual({ kind: 'locked', untilMs: clock.now() + lockMs });
      clock.advance(lockMs);
    }
  },

  'takes no attempt beyond those that may still fail, until one is settled': async (store, clock) => {
    const keys = anyKeys();
    const [first, second, third] = [
      await reserve(store, keys, clock),
      await reserve(store, keys, clock),
      await reserve(store, keys, clock),
    ];
    expect(await store.reserve(keys, clock.now())).toEqual({ kind: 'busy' });
    await store.release(first);
    const fourth = await reserve(store, keys, clock);
    expect(await store.reserve(keys, clock.now())).toEqual({ kind: 'busy' });
    await store.succeed(second, clock.now());
    await store.fail(third, clock.now());
    await store.fail(fourth, clock.now());
    expect(await store.reserve(keys, clock.now())).toMatchObject({ kind: 'reserved' });
  },

  /** Fifty guesses sent at once must not be fifty guesses. */
  'takes no more than the most of attempts that arrive together': async (store, clock) => {
    const keys = anyKeys();
    const outcomes = await Promise.all(Array.from({ length: 50 }, () => store.reserve(keys, clock.now())));
    expect(outcomes.filter(({ kind }) => kind === 'reserved')).toHaveLength(3);
    expect(outcomes.filter(({ kind }) => kind === 'busy')).toHaveLength(47);
  },

  'counts nothing of an attempt that was given back': async (store, clock) => {
    const keys = anyKeys();
    for (const settle of ['succeed', 'release', 'release', 'succeed', 'release'] as const) {
      await store[settle](await reserve(store, keys, clock), clock.now());
    }
    await failTimes(store, clock, repeated(keys, 2));
    expect(await store.reserve(keys, clock.now())).toMatchObject({ kind: 'reserved' });
  },

  /** Otherwise an account of one's own would buy endless guesses at others. */
  'does not forget failures because of a success': async (store, clock) => {
    const { client } = anyKeys();
    await failTimes(store, clock, [
      { client, name: randomUUID() },
      { client, name: randomUUID() },
    ]);
    await store.succeed(await reserve(store, { client, name: randomUUID() }, clock), clock.now());
    await failTimes(store, clock, [{ client, name: randomUUID() }]);
    expect(await store.reserve({ client, name: randomUUID() }, clock.now())).toMatchObject({ kind: 'locked' });
  },

  'lets in a client that has logged in with the name before, though strangers locked it': async (store, clock) => {
    const own = anyKeys();
    await store.succeed(await reserve(store, own, clock), clock.now());
    await failTimes(
      store,
      clock,
      repeated(own, 3).map(({ name }) => ({ client: randomUUID(), name })),
    );
    expect(await store.reserve({ ...own, client: randomUUID() }, clock.now())).toMatchObject({ kind: 'locked' });
    expect(await store.reserve(own, clock.now())).toMatchObject({ kind: 'reserved', reservation: { known: true } });
  },

  "does not count a known client's failures against the name, and counts them against the client": async (store, clock) => {
    const own = anyKeys();
    await store.succeed(await reserve(store, own, clock), clock.now());
    await failTimes(store, clock, repeated(own, 3));
    expect(await store.reserve({ ...own, client: randomUUID() }, clock.now())).toMatchObject({ kind: 'reserved' });
    expect(await store.reserve(own, clock.now())).toMatchObject({ kind: 'locked' });
  },
};
