import { expect, test } from 'vitest';

import { createAttempts } from './attempts.ts';

test('the tenth failure within a minute shuts the door until the minute is over, for that person only', () => {
  const clock = { ms: 0, now: () => clock.ms };
  const attempts = createAttempts(clock);
  for (let failure = 0; failure < 10; failure += 1) {
    expect(attempts.reserve('ada')).toMatchObject({ kind: 'reserved' });
    clock.ms += 1_000;
  }
  expect(attempts.reserve('ada')).toEqual({ kind: 'limited', waitSeconds: 50 });
  expect(attempts.reserve('bob')).toMatchObject({ kind: 'reserved' });
  clock.ms = 59_999;
  expect(attempts.reserve('ada')).toEqual({ kind: 'limited', waitSeconds: 1 });
  clock.ms = 60_000;
  expect(attempts.reserve('ada')).toMatchObject({ kind: 'reserved' });
});

test('an attempt that is given back leaves its place to another, and to one only', () => {
  const attempts = createAttempts({ now: () => 0 });
  const [first] = Array.from({ length: 10 }, () => attempts.reserve('ada'));
  expect(attempts.reserve('ada').kind).toBe('limited');
  if (first?.kind === 'reserved') first.giveBack();
  expect(attempts.reserve('ada').kind).toBe('reserved');
  expect(attempts.reserve('ada').kind).toBe('limited');
});

test('what is given back after its minute gives nothing to the next minute', () => {
  const clock = { ms: 0, now: () => clock.ms };
  const attempts = createAttempts(clock);
  const early = attempts.reserve('ada');
  clock.ms = 60_000;
  for (let failure = 0; failure < 10; failure += 1) attempts.reserve('ada');
  if (early.kind === 'reserved') early.giveBack();
  expect(attempts.reserve('ada').kind).toBe('limited');
});

test('no more people are remembered than there is room for', () => {
  const attempts = createAttempts({ now: () => 0 });
  for (let failure = 0; failure < 10; failure += 1) attempts.reserve('first');
  for (let person = 0; person < 10_000; person += 1) attempts.reserve(`p${person}`);
  expect(attempts.reserve('first').kind).toBe('reserved');
});
