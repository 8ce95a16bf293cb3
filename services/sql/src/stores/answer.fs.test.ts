import { expect, test } from 'vitest';

import { createAnswer } from './answer.fs.ts';

test('insertions come out at their offsets, wherever the chunks are cut', async () => {
  const held = ['{"a"', ':1,', '"b":2}'].map((text) => Buffer.from(text));
  const insertions = [
    { at: 5, text: '[' },
    { at: 6, text: ']' },
    { at: 12, text: '!' },
  ];
  const answer = createAnswer({ held, heldFrom: 0, insertions, spool: undefined });
  const pieces: Buffer[] = [];
  for await (const piece of answer.pieces()) pieces.push(Buffer.from(piece));
  expect(Buffer.concat(pieces).toString()).toBe('{"a":[1],"b":2!}');
  expect(Buffer.concat(pieces)).toHaveLength(answer.length);
});
