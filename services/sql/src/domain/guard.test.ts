import { principalOf } from '@postern/testkit/principals';
import { expect, test } from 'vitest';

import { createGuard, needsEstimate, unreadable } from './guard.ts';
import type { Limits } from './guard.ts';

const guardOf = (given: {
  readonly roles?: Record<string, Limits>;
  readonly groups?: Record<string, Limits>;
  readonly keys?: Record<string, Limits>;
}) =>
  createGuard({
    roles: new Map(Object.entries(given.roles ?? {})),
    groups: new Map(Object.entries(given.groups ?? {})),
    keys: new Map(Object.entries(given.keys ?? {})),
  });

test('without a table there are no bounds', () => {
  expect(createGuard().boundsOf(principalOf('alice'))).toEqual({});
});

test('the strictest limit of each name holds, and says whose it is', () => {
  const guard = guardOf({
    roles: { '*': { rowsMax: 100, statementTimeMs: 50 }, alice: { rowsMax: 200 } },
    groups: { reader: { estimatedCostMax: 10 }, admin: { rowsMax: 1 } },
    keys: { k: { rowsMax: 0 } },
  });
  expect(guard.boundsOf(principalOf('alice'))).toEqual({
    rowsMax: { name: 'rowsMax', value: 100, of: 'role "*"' },
    statementTimeMs: { name: 'statementTimeMs', value: 50, of: 'role "*"' },
    estimatedCostMax: { name: 'estimatedCostMax', value: 10, of: 'group "reader"' },
  });
  expect(guard.boundsOf(principalOf('alice', { tokenId: 'k' })).rowsMax).toEqual({ name: 'rowsMax', value: 0, of: 'key "k"' });
  expect(needsEstimate(guard.boundsOf(principalOf('alice')))).toBe(true);
  expect(unreadable(guard.boundsOf(principalOf('alice')))?.message).toContain('estimatedCostMax of group "reader"');
});

test('a role that is called like every role gets no second turn, and a scope that is no group none at all', () => {
  const guard = guardOf({ roles: { '*': { rowsMax: 5 } }, groups: { 'le:reader': { rowsMax: 1 }, reader: { rowsMax: 1 } } });
  expect(guard.boundsOf(principalOf('*', { scopes: ['reader', 'xrole:reader'] })).rowsMax?.value).toBe(5);
});

test('statements at a time count by role, and those of a key by key; who leaves twice leaves once', () => {
  const guard = guardOf({ roles: { '*': { concurrentMax: 2 } }, keys: { k: { concurrentMax: 1 } } });
  const withKey = principalOf('alice', { tokenId: 'k' });
  const first = guard.enter(withKey);
  expect(guard.enter(withKey)).toMatchObject({
    kind: 'refused',
    error: { code: '53400', message: expect.stringContaining('concurrentMax of key "k"') as unknown },
  });
  const second = guard.enter(principalOf('alice'));
  expect(second.kind).toBe('admitted');
  expect(guard.enter(principalOf('alice', { tokenId: 'other' }))).toMatchObject({
    error: { message: expect.stringContaining('role "*"') as unknown },
  });
  // Another role has a count of its own.
  expect(guard.enter(principalOf('bob')).kind).toBe('admitted');
  if (first.kind === 'admitted') {
    first.leave();
    first.leave();
  }
  expect(guard.enter(withKey).kind).toBe('admitted');
  expect(guard.enter(principalOf('alice')).kind).toBe('refused');
});

test('a new table holds for whoever enters from then on, and counts go on', () => {
  const guard = guardOf({});
  const inside = guard.enter(principalOf('alice'));
  guard.replace({ roles: new Map([['alice', { concurrentMax: 1 }]]), groups: new Map(), keys: new Map() });
  expect(guard.enter(principalOf('alice')).kind).toBe('refused');
  if (inside.kind === 'admitted') inside.leave();
  expect(guard.enter(principalOf('alice')).kind).toBe('admitted');
});
