import { expect, test } from 'vitest';

import { createRevocations } from './revocations.ts';

const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('a revocation is carried out when the store is there again, and each failure is told', async () => {
  const failures: unknown[] = [];
  const ended: string[] = [];
  let isAway = true;
  const done = Promise.withResolvers<void>();
  const revocations = createRevocations({
    async endAll(principalId) {
      if (isAway) throw new Error('away');
      ended.push(principalId);
      done.resolve();
    },
    async pause() {
      if (failures.length === 3) isAway = false;
    },
    signal: new AbortController().signal,
    onDelay: (error) => failures.push(error),
  });
  revocations.revoke('alice');
  await done.promise;
  expect(ended).toEqual(['alice']);
  expect(failures).toHaveLength(3);
});

test('a revocation that comes while one is carried out is carried out after it', async () => {
  const rounds: PromiseWithResolvers<void>[] = [];
  const revocations = createRevocations({
    endAll() {
      const round = Promise.withResolvers<void>();
      rounds.push(round);
      return round.promise;
    },
    pause: async () => {},
    signal: new AbortController().signal,
    onDelay: () => {},
  });
  revocations.revoke('alice');
  revocations.revoke('alice');
  revocations.revoke('alice');
  expect(rounds).toHaveLength(1);
  rounds[0]?.resolve();
  await soon();
  expect(rounds).toHaveLength(2);
  rounds[1]?.resolve();
  await soon();
  expect(rounds).toHaveLength(2);
  revocations.revoke('alice');
  expect(rounds).toHaveLength(3);
});

test('a stop breaks off a revocation that waits', async () => {
  const stop = new AbortController();
  let tries = 0;
  const revocations = createRevocations({
    async endAll() {
      tries += 1;
      throw new Error('away');
    },
    pause: (_ms, signal) => new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(new Error('stop')))),
    signal: stop.signal,
    onDelay: () => {},
  });
  revocations.revoke('alice');
  await soon();
  stop.abort();
  await soon();
  expect(tries).toBe(1);
});
