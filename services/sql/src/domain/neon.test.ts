import { expect, test } from 'vitest';

import { beginBatch, endsTransaction, isIsolationLevel, leadingWords, mayBeCopy, parameterText, readTag } from './neon.ts';

test.for([
  [null, null],
  ['a"b', 'a"b'],
  [true, 'true'],
  [1.5, '1.5'],
  [{ a: ['x', 1] }, '{"a":["x",1]}'],
  [[true, false, null, 'NULL', 42, 'foo', String.raw`bar"-\ `], String.raw`{true,false,NULL,"NULL",42,"foo","bar\"-\\ "}`],
  [[[true], [null, 42]], '{{true},{NULL,42}}'],
  [[{ foo: 1 }], String.raw`{"{\"foo\":1}"}`],
  [[], '{}'],
] as const)('%j is the parameter %s', ([value, text]) => {
  expect(parameterText(value)).toBe(text);
});

test('a number that is not exact is refused, wherever it stands', () => {
  for (const value of [2 ** 53, [[-1e21]], { a: { b: [1e300] } }]) expect(() => parameterText(value)).toThrow('as a string');
});

test.for([
  ['SELECT 5', 'SELECT', 5],
  ['INSERT 0 1', 'INSERT', 1],
  ['CREATE TABLE', 'CREATE', null],
  ['BEGIN', 'BEGIN', null],
  ['COPY 7', 'COPY', 7],
  ['', null, null],
] as const)('the tag %s is %s with %s rows', ([tag, command, rowCount]) => {
  expect(readTag(tag)).toEqual({ command, rowCount });
});

test('words are found behind comments and empty statements', () => {
  expect(leadingWords(' ;; -- x\n/* a /* b */ c */ COPY/**/t', 2)).toEqual(['copy', 't']);
  expect(leadingWords('select(1)', 3)).toEqual(['select']);
  expect(leadingWords('/* open', 1)).toEqual([]);
  expect(leadingWords('-- open', 1)).toEqual([]);
  expect(leadingWords('"copy" x', 1)).toEqual([]);
  expect(mayBeCopy('copy(select 1) to stdout')).toBe(true);
  expect(mayBeCopy('copying')).toBe(false);
});

test('what ends a transaction does not go back to a savepoint', () => {
  for (const query of [
    'commit',
    ' END;',
    'abort',
    'rollback',
    'rollback work',
    "prepare transaction 'x'",
    "commit prepared 'x'",
  ]) {
    expect(endsTransaction(query)).toBe(true);
  }
  for (const query of ['rollback to a', 'ROLLBACK TRANSACTION TO SAVEPOINT a', 'prepare a as select 1', 'begin', 'select 1']) {
    expect(endsTransaction(query)).toBe(false);
  }
});

test('a batch begins as its headers say', () => {
  expect(beginBatch({ isolationLevel: undefined, isReadOnly: false, isDeferrable: false })).toEqual(['BEGIN']);
  expect(beginBatch({ isolationLevel: 'RepeatableRead', isReadOnly: false, isDeferrable: false })).toEqual([
    'BEGIN ISOLATION LEVEL REPEATABLE READ',
  ]);
  const [begin, freeze] = beginBatch({ isolationLevel: 'Serializable', isReadOnly: true, isDeferrable: true });
  expect([begin, freeze]).toEqual(['BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE', 'SELECT']);
  expect(isIsolationLevel('toString')).toBe(false);
});

test('a parameter that is nested too deeply is refused, be it of arrays or of objects', () => {
  const nested = (open: string, close: string, depth: number): unknown =>
    JSON.parse(`${open.repeat(depth)}1${close.repeat(depth)}`) as unknown;
  for (const [open, close] of [
    ['[', ']'],
    ['{"a":', '}'],
  ] as const) {
    expect(parameterText(nested(open, close, 100))).toContain('1');
    expect(() => parameterText(nested(open, close, 20_000))).toThrow('nested deeper');
  }
});
