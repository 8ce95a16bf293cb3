import { expect, test } from 'vitest';

import { CutMessage } from './cut-message.pg.ts';

test('of a message that comes in pieces the beginning is kept, and nothing of it is left for the next', () => {
  const cut = new CutMessage();
  const [first, second] = [Buffer.alloc(40_000, 'a'), Buffer.alloc(40_000, 'b')];
  expect(cut.add(first, 0, 40_000, 80_000)).toBeUndefined();
  expect(cut.add(second, 0, 40_000, 40_000)).toBeUndefined();
  const kept = cut.add(second, 0, 40_000, 0);
  expect(kept?.toString()).toBe('a'.repeat(40_000) + 'b'.repeat(25_536));
  expect(cut.add(Buffer.from('next'), 1, 3, 0)?.toString()).toBe('ex');
});
