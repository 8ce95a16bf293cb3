import { expect, test } from 'vitest';

import { createCancelKeys } from './cancel-keys.ts';

test('only the process id and its own secret cancel, as long as the session lives', () => {
  const keys = createCancelKeys();
  const canceled: string[] = [];
  const one = keys.register(7, () => canceled.push('one'));
  const other = keys.register(8, () => canceled.push('other'));
  keys.cancel(7, one.secretKey ^ 1);
  keys.cancel(8, one.secretKey);
  keys.cancel(9, one.secretKey);
  expect(canceled).toEqual([]);
  keys.cancel(7, one.secretKey);
  // PostgreSQL's protocol has signed numbers.
  keys.cancel(8, other.secretKey | 0);
  expect(canceled).toEqual(['one', 'other']);
  one[Symbol.dispose]();
  keys.cancel(7, one.secretKey);
  expect(canceled).toEqual(['one', 'other']);
});

test('two sessions with one process id have each their own secret', () => {
  const keys = createCancelKeys();
  const canceled: string[] = [];
  const one = keys.register(7, () => canceled.push('one'));
  const two = keys.register(7, () => canceled.push('two'));
  keys.cancel(7, two.secretKey);
  expect(canceled).toEqual(['two']);
  two[Symbol.dispose]();
  keys.cancel(7, one.secretKey);
  expect(canceled).toEqual(['two', 'one']);
});
