import type { Principal } from '@postern/contracts/common';
import { expect, test } from 'vitest';

import { ofCredential, ofSession } from './revocation.ts';

const principal = (id: string, proof: Partial<Pick<Principal, 'tokenId' | 'sessionId'>> = {}): Principal => ({
  id,
  kind: 'person',
  name: id,
  dbRole: id,
  scopes: [],
  method: 'password',
  expiresAt: 0,
  epoch: 0,
  ...proof,
});

const all = [
  principal('a'),
  principal('a', { tokenId: 'k' }),
  principal('a', { sessionId: 's' }),
  principal('a', { sessionId: 't' }),
  principal('b', { sessionId: 's', tokenId: 'k' }),
];

test('a token or a session takes its own along, a person all of theirs, and all their sessions what came with one', () => {
  expect(all.map(ofCredential({ principalId: 'a' }))).toEqual([true, true, true, true, false]);
  expect(all.map(ofCredential({ principalId: 'a', tokenId: 'k' }))).toEqual([false, true, false, false, false]);
  expect(all.map(ofSession({ principalId: 'a' }))).toEqual([false, false, true, true, false]);
  expect(all.map(ofSession({ principalId: 'a', sessionId: 's' }))).toEqual([false, false, true, false, false]);
});
