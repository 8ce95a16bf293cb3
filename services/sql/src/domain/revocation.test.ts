import { principalOf } from '@postern/testkit/principals';
import { expect, test } from 'vitest';

import { ofCredential, ofSession } from './revocation.ts';

const all = [
  principalOf('a'),
  principalOf('a', { tokenId: 'k' }),
  principalOf('a', { sessionId: 's' }),
  principalOf('a', { sessionId: 't' }),
  principalOf('b', { sessionId: 's', tokenId: 'k' }),
];

test('a token or a session takes its own along, a person all of theirs, and all their sessions what came with one', () => {
  expect(all.map(ofCredential({ principalId: 'id-a' }))).toEqual([true, true, true, true, false]);
  expect(all.map(ofCredential({ principalId: 'id-a', tokenId: 'k' }))).toEqual([false, true, false, false, false]);
  expect(all.map(ofSession({ principalId: 'id-a' }))).toEqual([false, false, true, true, false]);
  expect(all.map(ofSession({ principalId: 'id-a', sessionId: 's' }))).toEqual([false, false, true, false, false]);
});
