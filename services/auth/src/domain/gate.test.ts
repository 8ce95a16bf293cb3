import { expect, test } from 'vitest';

import { createGate } from './gate.ts';

const soon = { remainingMs: () => 60_000 };

test('so many work at once, so many wait, and the rest are turned away without waiting', async () => {
  const gate = createGate({ atOnce: 2, waiting: 3 });
  const release = Promise.withResolvers<void>();
  let atOnce = 0;
  let most = 0;
  const work = async (): Promise<void> => {
    most = Math.max(most, (atOnce += 1));
    await release.promise;
    atOnce -= 1;
  };
  const admitted = Array.from({ length: 5 }, () => gate.pass(soon, work));
  expect(await gate.pass(soon, work)).toEqual({ kind: 'busy' });
  expect(gate.waiting).toBe(3);
  release.resolve();
  expect((await Promise.all(admitted)).map(({ kind }) => kind)).toEqual(Array(5).fill('done'));
  expect(most).toBe(2);
  expect(await gate.pass(soon, async () => 7)).toEqual({ kind: 'done', value: 7 });
});

test('work whose deadline passed while it waited is not done', async () => {
  const gate = createGate({ atOnce: 1, waiting: 9 });
  const release = Promise.withResolvers<void>();
  const first = gate.pass(soon, () => release.promise);
  let done = false;
  let remaining = 1;
  const late = gate.pass({ remainingMs: () => remaining }, async () => {
    done = true;
  });
  remaining = 0;
  release.resolve();
  await first;
  expect(await late).toEqual({ kind: 'late' });
  expect(done).toBe(false);
});

test('work that fails gives its place on', async () => {
  const gate = createGate({ atOnce: 1, waiting: 9 });
  const failing = gate.pass(soon, () => Promise.reject(new Error('no')));
  const next = gate.pass(soon, async () => 1);
  await expect(failing).rejects.toThrow('no');
  expect(await next).toEqual({ kind: 'done', value: 1 });
});
