import { expect, test } from 'vitest';

import { createCancelKeys } from './cancel-keys.ts';

test('only the process id and its own secret cancel, as long as the session lives', async () => {
  const keys = createCancelKeys();
  const canceled: string[] = [];
  const one = keys.register(7, async () => void canceled.push('one'));
  const other = keys.register(8, async () => void canceled.push('other'));
  expect(await keys.cancel(7, one.secretKey ^ 1)).toBe(false);
  expect(await keys.cancel(8, one.secretKey)).toBe(false);
  expect(await keys.cancel(9, one.secretKey)).toBe(false);
  expect(canceled).toEqual([]);
  expect(await keys.cancel(7, one.secretKey)).toBe(true);
  // PostgreSQL's protocol has signed numbers.
  expect(await keys.cancel(8, other.secretKey | 0)).toBe(true);
  expect(canceled).toEqual(['one', 'other']);
  one[Symbol.dispose]();
  expect(await keys.cancel(7, one.secretKey)).toBe(false);
  expect(canceled).toEqual(['one', 'other']);
});

test('two sessions with one process id have each their own secret', async () => {
  const keys = createCancelKeys();
  const canceled: string[] = [];
  const one = keys.register(7, async () => void canceled.push('one'));
  const two = keys.register(7, async () => void canceled.push('two'));
  expect(await keys.cancel(7, two.secretKey)).toBe(true);
  expect(canceled).toEqual(['two']);
  two[Symbol.dispose]();
  expect(await keys.cancel(7, one.secretKey)).toBe(true);
  expect(canceled).toEqual(['two', 'one']);
});
