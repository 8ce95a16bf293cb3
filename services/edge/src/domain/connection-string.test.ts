import fc from 'fast-check';
import { expect, test } from 'vitest';

import { readConnectionString } from './connection-string.ts';

const text = fc.string({ unit: 'binary', maxLength: 30 }).filter((word) => word.isWellFormed() && !word.includes('\0'));
const escape = (word: string): string => encodeURIComponent(word).replaceAll("'", '%27');

test('any user, password and database come out as they went in', () => {
  fc.assert(
    fc.property(
      text,
      text,
      text.filter((word) => !/^\.{1,2}$/.test(word)),
      (user, password, database) => {
        const string = `postgres://${escape(user)}:${escape(password)}@edge.test:5432/${escape(database)}?sslmode=require`;
        expect(readConnectionString(string)).toEqual({ user, password, database });
      },
    ),
  );
});

test('a part that is not there is empty', () => {
  expect(readConnectionString('postgresql://alice@edge')).toEqual({ user: 'alice', password: '', database: '' });
  expect(readConnectionString('POSTGRESQL://alice@edge/db')).toEqual({ user: 'alice', password: '', database: 'db' });
});

test.each([
  '',
  'alice',
  'mysql://alice@edge/db',
  ' postgres://alice@edge/db',
  'postgres:/alice',
  'postgres://a:%zz@edge/db',
  'postgres://%00@edge/db',
])('%j is no connection string', (string) => {
  expect(readConnectionString(string)).toBeUndefined();
});
