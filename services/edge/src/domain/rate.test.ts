import { expect, test } from 'vitest';

import { createRate } from './rate.ts';

test('as many as the burst at once, then as many as time gives, each for themselves', () => {
  const clock = { now: 0, nowMs: () => clock.now };
  const { may } = createRate({ clock, burst: 3, perSecond: 2, max: 2 });
  expect([may('a'), may('a'), may('a'), may('a'), may('b')]).toEqual([true, true, true, false, true]);
  clock.now = 499;
  expect(may('a')).toBe(false);
  clock.now = 1_000;
  expect([may('a'), may('a'), may('a')]).toEqual([true, true, false]);
  clock.now = 60_000;
  expect([may('a'), may('a'), may('a'), may('a')]).toEqual([true, true, true, false]);
  clock.now = 0;
  expect(may('a')).toBe(false);
});

test('of more than may be remembered the oldest is forgotten', () => {
  const { may } = createRate({ clock: { nowMs: () => 0 }, burst: 1, perSecond: 0, max: 2 });
  expect(['a', 'b', 'a', 'c', 'b'].map(may)).toEqual([true, true, false, true, true]);
});

test('what is given back does not count, and is no more than the burst', () => {
  const { may, giveBack } = createRate({ clock: { nowMs: () => 0 }, burst: 1, perSecond: 0, max: 2 });
  giveBack('a');
  expect([may('a'), may('a')]).toEqual([true, false]);
  giveBack('a');
  giveBack('a');
  expect([may('a'), may('a')]).toEqual([true, false]);
});
