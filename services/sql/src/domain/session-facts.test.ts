import { expect, test } from 'vitest';

import type { SessionFact } from './session-facts.ts';
import { sessionMistakes } from './session-facts.ts';

const fact: SessionFact = { role: 'alice', processId: 7, isHeld: false, state: 'idle', forMs: 100_000 };
const kinds = (change: Partial<SessionFact>, backends: readonly (readonly [number, string])[]): string[] =>
  sessionMistakes({ ...fact, ...change }, new Map(backends)).map(({ kind }) => kind);

test('a session that the server has for the same role fits', () => {
  expect(kinds({}, [[7, 'alice']])).toEqual([]);
  expect(kinds({ state: 'lent' }, [[7, 'alice']])).toEqual([]);
});

test('a session that the server does not know of, or has for another role, does not fit', () => {
  expect(kinds({}, [[8, 'alice']])).toEqual(['session without a backend']);
  expect(kinds({}, [[7, 'bob']])).toEqual(['session of another role']);
});

test('a session that is not clean long after it was given back is stuck', () => {
  expect(kinds({ state: 'returning', forMs: 20_000 }, [[7, 'alice']])).toEqual([]);
  expect(kinds({ state: 'returning', forMs: 20_001 }, [[7, 'alice']])).toEqual(['stuck reset']);
});
