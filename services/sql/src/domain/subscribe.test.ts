import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { splitStatements } from './statement-split.ts';
import { notAlone, recognise } from './subscribe.ts';

const told = (text: string): unknown => {
  const found = recognise(text);
  return found?.kind === 'subscribe' ? [found.statement.query, found.statement.options, found.isFollowed] : found;
};
const plain = { snapshot: true, progress: false, resume: undefined, channel: undefined };

describe('what is a SUBSCRIBE', () => {
  test.for([
    ['SUBSCRIBE t', 'SELECT * FROM t', plain],
    ['subscribe to "My Schema"."T" -- all of it', 'SELECT * FROM "My Schema"."T"', plain],
    [
      "/* a */ SUBSCRIBE (SELECT a FROM t WHERE b = ')' AND c = $q$ ; $q$)",
      "SELECT a FROM t WHERE b = ')' AND c = $q$ ; $q$",
      plain,
    ],
    ['SUBSCRIBE TO (VALUES (1));', 'VALUES (1)', plain],
    ['SUBSCRIBE t WITH (PROGRESS)', 'SELECT * FROM t', { ...plain, progress: true }],
    ['SUBSCRIBE t WITH (SNAPSHOT = false, PROGRESS true)', 'SELECT * FROM t', { ...plain, snapshot: false, progress: true }],
    [
      "SUBSCRIBE t WITH (RESUME = 'a.b.1-2', CHANNEL 'it''s')",
      'SELECT * FROM t',
      { ...plain, resume: 'a.b.1-2', channel: "it's" },
    ],
    ['SUBSCRIBE t WITH PROGRESS', 'SELECT * FROM t', { ...plain, progress: true }],
  ] as const)('%s', ([text, query, options]) => {
    expect(told(text)).toEqual([query, options, false]);
  });

  test.for(['SELECT 1', 'SELECT * FROM subscribe', "SELECT 'SUBSCRIBE t'", '-- SUBSCRIBE t', '', 'select 1; select subscribe'])(
    'not %s',
    (text) => {
      expect(recognise(text)).toBeUndefined();
    },
  );

  test('statements behind it are told of, and those before it refuse it', () => {
    expect(told('SUBSCRIBE (VALUES (1)); SELECT 1')).toEqual(['VALUES (1)', plain, true]);
    expect(told('SELECT 1; SUBSCRIBE (VALUES (1))')).toEqual({ kind: 'refused', error: notAlone });
  });

  test.for([
    ['SUBSCRIBE', 10],
    ['SUBSCRIBE 1', 11],
    ['SUBSCRIBE ()', 12],
    ['SUBSCRIBE (SELECT 1', 11],
    ['SUBSCRIBE t u', 13],
    ['SUBSCRIBE t WITH (NOSUCH)', 19],
    ['SUBSCRIBE t WITH (SNAPSHOT = maybe)', 19],
    ['SUBSCRIBE t WITH (RESUME)', 19],
    ['SUBSCRIBE t WITH (PROGRESS', 19],
  ] as const)('%s is a syntax error at %i', ([text, position]) => {
    expect(recognise(text)).toMatchObject({ kind: 'refused', error: { code: '42601', position } });
  });
});

test('no text makes the splitting lose or invent a character of a statement', () => {
  const pieces = fc.constantFrom(';', "'", '"', '$$', '$a$', '--', '\n', '/*', '*/', 'E', '\\', 'select', ' ', '(', ')');
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
      const text = parts.join('');
      let from = 0;
      for (const statement of splitStatements(text)) {
        const at = text.indexOf(statement, from);
        expect(at).toBeGreaterThanOrEqual(from);
        from = at + statement.length;
      }
    }),
  );
});
