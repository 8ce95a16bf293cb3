import { expect, test } from 'vitest';

import { arrayLiteral, readPlainQuery, rowLiteral } from './changes-query.ts';

test.for([
  ['SELECT * FROM t', { targets: '*', table: 't', alias: 't', where: '' }],
  ['select a, b + 1 from s."T" as x where x.a > 1', { targets: 'a, b + 1', table: 's."T"', alias: 'x', where: 'where x.a > 1' }],
  ['SELECT a AS from, t.from FROM t', { targets: 'a AS from, t.from', table: 't', alias: 't', where: '' }],
  ['SELECT a IS DISTINCT FROM b FROM t', { targets: 'a IS DISTINCT FROM b', table: 't', alias: 't', where: '' }],
  ['SELECT extract(year FROM a) FROM t u', { targets: 'extract(year FROM a)', table: 't', alias: 'u', where: '' }],
  ["SELECT 'FROM' FROM t /* c */ WHERE a = 'GROUP'", { targets: "'FROM'", table: 't', alias: 't', where: "WHERE a = 'GROUP'" }],
] as const)('%s is of one table', ([query, plain]) => {
  expect(readPlainQuery(query)).toEqual(plain);
});

test.for([
  'VALUES (1)',
  'SELECT 1',
  'SELECT FROM t',
  'SELECT DISTINCT a FROM t',
  'SELECT a FROM t, u',
  'SELECT a FROM t JOIN u USING (a)',
  'SELECT a FROM t ORDER BY a',
  'SELECT a FROM t WHERE a = 1 LIMIT 1',
  'SELECT a FROM t GROUP BY a',
  'SELECT a FROM t UNION ALL SELECT a FROM u',
  'SELECT (SELECT 1) FROM t',
  'SELECT row_number() OVER () FROM t',
  'SELECT a FROM t WHERE a IN (TABLE u)',
  'SELECT a FROM t WHERE a = $1',
  'SELECT a FROM f(1)',
  'SELECT a FROM ONLY t',
  'SELECT a FROM t x(b)',
  'SELECT a FROM (SELECT 1) t',
  'SELECT a INTO b FROM t',
  'SELECT a FROM t FOR UPDATE',
  'WITH x AS (SELECT 1) SELECT a FROM t',
  'SELECT a FROM t -- to the end',
])('%s is evaluated as a whole', (query) => {
  expect(readPlainQuery(query)).toBeUndefined();
});

test('literals hold any text', () => {
  expect(arrayLiteral(['a', null, 'b"\\', ''])).toBe(String.raw`{"a",NULL,"b\"\\",""}`);
  expect(rowLiteral(['a', null, 'b"\\,)', ''])).toBe(String.raw`("a",,"b\"\\,)","")`);
});
