import { expect, test } from 'vitest';

import type { Token } from './reprint.ts';
import { reprint } from './reprint.ts';

const RESERVED = new Set(['to', 'from', 'with', 'select']);
const KEYWORDS = new Set([...RESERVED, 'copy', 'stdout', 'format', 'csv', 'next', 'fetch']);

const tokens = (...texts: readonly string[]): Token[] =>
  texts.map((text) => ({
    text,
    isReserved: RESERVED.has(text),
    isKeyword: KEYWORDS.has(text),
    isComment: text.startsWith('/*'),
  }));

test('a statement is printed on one line, with its keywords in capitals and without comments', () => {
  expect(reprint(tokens('copy', '/* c */', 's', '.', '"T a"', '(', 'a', ',', 'b', ')', 'to', 'stdout'))).toBe(
    'COPY s."T a" (a, b) TO STDOUT',
  );
});

test('a keyword that names a column of something stays as it is', () => {
  expect(reprint(tokens('copy', 's', '.', 'next', 'to', 'stdout'))).toBe('COPY s.next TO STDOUT');
});

test('a long statement is cut off', () => {
  const printed = reprint(tokens('copy', ...Array.from({ length: 1_000 }, () => 'column')));
  expect(printed).toHaveLength(1_025);
  expect(printed.endsWith('…')).toBe(true);
});
