import { expect, test } from 'vitest';
import { z } from 'zod';

import { readDocument } from './json-file.ts';

const Document = z.record(z.string(), z.strictObject({ rows: z.int() }));

test('a document that fits its schema is passed on', () => {
  expect(readDocument('{"a":{"rows":1}}', Document)).toEqual({ kind: 'document', document: { a: { rows: 1 } } });
});

test('a mistake says where by a JSON pointer, also where a key has the characters of one, and never the value', () => {
  const mistakes = (text: string): string => JSON.stringify(readDocument(text, Document));
  expect(mistakes('{"a/b":{"rows":"k33p"},"~":{"rows":1.5}}')).toMatch(/\["\/a~1b\/rows: [^"]+","\/~0\/rows: [^"]+"\]/);
  expect(mistakes('["k33p"]')).toMatch(/\["\/: [^"]+"\]/);
  expect(mistakes('{"a/b":{"rows":"k33p"}}')).not.toContain('k33p');
});

test('a text that is none, and one that is not JSON', () => {
  expect(readDocument(undefined, Document)).toEqual({ kind: 'mistakes', mistakes: ['it cannot be read'] });
  expect(readDocument('{', Document)).toEqual({ kind: 'mistakes', mistakes: ['it is not JSON'] });
});
