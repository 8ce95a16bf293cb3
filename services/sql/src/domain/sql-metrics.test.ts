import { expect, test } from 'vitest';

import { columnsFault, FamilyLines, printValue } from './sql-metrics.ts';

const family = { name: 'things', help: 'Things', query: 'select', value: 'n', series: 3, timeoutMs: 1 };

function printed(
  columns: readonly string[],
  ...rows: readonly (readonly (string | null)[])[]
): { text: string; leftOut: number } {
  const lines = new FamilyLines(family, columns);
  for (const row of rows) lines.add(row);
  return { text: lines.print(), leftOut: lines.leftOut };
}

test('the designated column is the value, every other one a label, and NULL an empty label', () => {
  expect(printed(['kind', 'n', 'state'], ['table', '3', null]).text).toBe(
    '# HELP things Things\n# TYPE things gauge\nthings{kind="table",state=""} 3\n',
  );
});

test('a value that is no number is 0', () => {
  expect([null, '', 'x', '1x', 't', '0x10', 'constructor', '1 000'].map(printValue)).toEqual(
    Array.from({ length: 8 }, () => '0'),
  );
  expect(['1', '-2.5', '1e3', ' 7 ', '.5', '5.', 'NaN', 'Infinity', '-Infinity'].map(printValue)).toEqual([
    '1',
    '-2.5',
    '1e3',
    '7',
    '.5',
    '5.',
    'NaN',
    '+Inf',
    '-Inf',
  ]);
});

/** Prometheus refuses a page with a number that its own cannot hold. */
test('a number beyond a double is infinite', () => {
  expect([`1${'0'.repeat(400)}`, '-1e400', '+2e999', '1e308', '1e-999'].map(printValue)).toEqual([
    '+Inf',
    '-Inf',
    '+Inf',
    '1e308',
    '1e-999',
  ]);
});

/** Otherwise a label could end its line and begin a series of its own. */
test('a label cannot leave its quotes', () => {
  expect(printed(['who', 'n'], ['a"} 1\nforged{x="\\', '1']).text.split('\n')).toHaveLength(4);
  expect(printed(['who', 'n'], ['a"\n\\', '1']).text).toContain(String.raw`things{who="a\"\n\\"} 1`);
});

test('a long label is cut, and half a character is replaced', () => {
  expect(printed(['who', 'n'], [`${'x'.repeat(255)}😀`, '1']).text).toContain(`"${'x'.repeat(255)}\uFFFD"`);
});

test('a series that repeats is there once, and no more than the bound are there', () => {
  const { text, leftOut } = printed(['k', 'n'], ['a', '1'], ['a', '2'], ['b', '1'], ['c', '1'], ['d', '1']);
  expect(text.match(/^things/gm)).toHaveLength(3);
  expect(text).toContain('things{k="a"} 1');
  expect(leftOut).toBe(2);
});

test('columns that cannot be labels keep the family from the page', () => {
  expect(columnsFault(['k', 'n'], 'n')).toBeUndefined();
  expect(columnsFault(['n'], 'n')).toBeUndefined();
  expect(columnsFault(['k'], 'n')).toBe('no value column');
  expect(columnsFault(['n', 'n'], 'n')).toBe('no value column');
  for (const name of ['?column?', '1st', '__name__', 'a-b', 'a"b', '', 'größe'])
    expect(columnsFault([name, 'n'], 'n')).toBe('label name');
  expect(columnsFault(['k', 'k', 'n'], 'n')).toBe('label name');
  expect(columnsFault([...Array.from({ length: 25 }, (_, at) => `l${at}`), 'n'], 'n')).toBe('too many labels');
});
