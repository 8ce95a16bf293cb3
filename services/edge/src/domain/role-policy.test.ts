import { expect, test } from 'vitest';

import { admits, isReserved } from './role-policy.ts';

test.each([
  ['mz_system', false, true, true],
  ['mz_support', false, true, true],
  ['mz_analytics', false, true, true],
  ['materialize', true, false, true],
  ['anonymous_http_user', true, false, true],
  ['alex', true, false, true],
  ['external_asdf', false, false, false],
  ['pg_somebody', false, false, false],
  ['mz_unknown', false, false, false],
  ['PUBLIC', false, false, false],
])('%s: Normal %s, Internal %s, both %s', (name, normal, internal, both) => {
  expect([admits('Normal', name), admits('Internal', name), admits('NormalAndInternal', name)]).toEqual([normal, internal, both]);
});

test('a group without a policy admits nobody', () => {
  for (const name of ['alex', 'mz_system', 'PUBLIC']) expect(admits(undefined, name)).toBe(false);
});

test('only names of these very letters are reserved', () => {
  expect(['Mz_system', 'public', 'MZ_system', 'pgx', 'external'].map(isReserved)).toEqual([false, false, false, false, false]);
});
