import fc from 'fast-check';
import { expect, test } from 'vitest';

import { cookieName, isApiKey, readCredentials, readSessionCookie, readTrustedUser } from './credentials.ts';

const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;
const TOKEN = 'a'.repeat(43);

test('any user without a colon and any password come out of Basic as they went in', () => {
  const user = fc.string({ unit: 'binary', maxLength: 40 }).filter((text) => !text.includes(':'));
  fc.assert(
    fc.property(user, fc.string({ unit: 'binary', maxLength: 40 }), (name, password) => {
      expect(readCredentials(basic(`${name}:${password}`))).toEqual({ kind: 'basic', user: name, password });
    }),
  );
});

test.each([
  undefined,
  '',
  'Basic',
  'Basic ',
  'Basic !!!!',
  'Basic YQ',
  basic('no colon'),
  `Basic ${Buffer.from([0xff, 0x3a, 0xff]).toString('base64')}`,
  'Digest username="a"',
  'Bearer',
  'Bearer a b',
  'Bearer a,b',
  'Negotiate YWJj',
  `${basic('a:b')}, Bearer x`,
])('%j counts as no credentials', (value) => {
  expect(readCredentials(value).kind).toBe('none');
});

test('schemes are known in any case', () => {
  expect(readCredentials('bEARER a.b.c')).toEqual({ kind: 'bearer', token: 'a.b.c' });
  expect(readCredentials('BASIC YTpi')).toEqual({ kind: 'basic', user: 'a', password: 'b' });
});

test('only the whole form of an API key is one', () => {
  expect(isApiKey(`pst_abcd1234_${TOKEN}`)).toBe(true);
  for (const text of [
    'pst_',
    `pst_abcd1234_${TOKEN}x`,
    `xpst_abcd1234_${TOKEN}`,
    'pst_my favourite password',
    `pst_abcd1234_${TOKEN}\n`,
  ]) {
    expect(isApiKey(text)).toBe(false);
  }
});

test('the cookie is found by its own name alone, and twice is told', () => {
  const read = (cookie: string, tls = false) => readSessionCookie(new Map([['cookie', cookie]]), cookieName(tls));
  expect(read(`a=1; postern_session=${TOKEN}; b=2`)).toEqual({ kind: 'token', token: TOKEN });
  expect(read(`xpostern_session=${TOKEN}`).kind).toBe('none');
  expect(read(`POSTERN_SESSION=${TOKEN}`).kind).toBe('none');
  expect(read(`__Host-postern_session=${TOKEN}`).kind).toBe('none');
  expect(read(`postern_session=${TOKEN}`, true).kind).toBe('none');
  expect(read('postern_session=short').kind).toBe('none');
  expect(read(`postern_session="${TOKEN}"`).kind).toBe('none');
  expect(read(`postern_session=${TOKEN}; postern_session=${TOKEN}`).kind).toBe('repeated');
  expect(readSessionCookie(new Map(), 'postern_session').kind).toBe('none');
});

test('a trusted header names one of two users, in either spelling, or both the same', () => {
  const read = (...headers: [string, string][]) => readTrustedUser(new Map(headers));
  expect(read()).toEqual({ kind: 'none' });
  expect(read(['x-materialize-user', 'mz_system'])).toEqual({ kind: 'user', name: 'mz_system' });
  expect(read(['x-postern-user', 'mz_support'])).toEqual({ kind: 'user', name: 'mz_support' });
  expect(read(['x-materialize-user', 'mz_system'], ['x-postern-user', 'mz_system']).kind).toBe('user');
  expect(read(['x-materialize-user', 'mz_system'], ['x-postern-user', 'mz_support']).kind).toBe('refused');
  for (const name of ['', 'mz_analytics', 'alex', 'MZ_SYSTEM', 'mz_system,mz_system', 'mz_system ']) {
    expect(read(['x-materialize-user', name]).kind).toBe('refused');
  }
});
