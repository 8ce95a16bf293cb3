import { expect, test } from 'vitest';

import { passwordMistake, preparePassword } from './passwords.ts';

test.for(['eight888', 'four words go well', '        x', 'пароль-пароль', 'x'.repeat(1_024), '🦔🦔🦔🦔🦔🦔🦔🦔'])(
  '%s can be a password',
  (password) => {
    expect(passwordMistake('alice', password)).toBeUndefined();
  },
);

test.for([
  ['seven77', 'at least'],
  ['🦔🦔🦔🦔', 'at least'],
  ['x'.repeat(1_025), 'at most'],
  ['with\0nul character', 'control'],
  ['with\nline end', 'control'],
  ['password', 'guessed'],
  ['PASSWORD', 'guessed'],
  ['postgres', 'guessed'],
  ['changeme', 'guessed'],
  ['Alexandra', 'the name'],
])('%s cannot, and the reason says so', ([password, reason]) => {
  expect(passwordMistake('alexandra', password ?? '')).toContain(reason);
});

test('a password is the same however a keyboard composes its letters or which space it sends, and its case matters', () => {
  expect(preparePassword('cafe\u0301\u00a0noir')).toBe(preparePassword('caf\u00e9 noir'));
  expect(preparePassword('Cafe')).not.toBe(preparePassword('cafe'));
});
