import { expect, test } from 'vitest';

import { createAttempts } from './attempts.ts';

test('the tenth failure within a minute shuts the door until the minute is over, for that person only', () => {
  const clock = { ms: 0, now: () => clock.ms };
  const attempts = createAttempts(clock);
  for (let failure = 0; failure < 10; failure += 1) {
    expect(attempts.waitSeconds('ada')).toBe(0);
    attempts.failed('ada');
    clock.ms += 1_000;
  }
  expect(attempts.waitSeconds('ada')).toBe(50);
  expect(attempts.waitSeconds('bob')).toBe(0);
  clock.ms = 60_000;
  expect(attempts.waitSeconds('ada')).toBe(0);
  attempts.failed('ada');
  expect(attempts.waitSeconds('ada')).toBe(0);
});

test('no more people are remembered than there is room for', () => {
  const attempts = createAttempts({ now: () => 0 });
  for (let failure = 0; failure < 10; failure += 1) attempts.failed('first');
  for (let person = 0; person < 10_000; person += 1) attempts.failed(`p${person}`);
  expect(attempts.waitSeconds('first')).toBe(0);
});
