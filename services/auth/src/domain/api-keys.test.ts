import { expect, test } from 'vitest';

import { makeApiKey, parseApiKey, writeApiKey } from './api-keys.ts';

test('a key is read back as it was written', () => {
  for (let round = 0; round < 100; round += 1) {
    const made = makeApiKey();
    expect(parseApiKey(writeApiKey(made))).toEqual(made);
    expect(Buffer.from(made.secret, 'base64url')).toHaveLength(32);
  }
});

test('a secret may hold the sign that parts the key', () => {
  const secret = `_${'a_'.repeat(21)}`;
  expect(parseApiKey(`pst_abcdefgh_${secret}`)).toEqual({ id: 'abcdefgh', secret });
});

test.for([
  '',
  'pst_',
  'pst_abcdefgh',
  `pst_abcdefgh_${'a'.repeat(42)}`,
  `pst_abcdefgh_${'a'.repeat(44)}`,
  `xst_abcdefgh_${'a'.repeat(43)}`,
  `pst_abcdefgh_${'a'.repeat(43)}\n`,
  `pst_abc%efgh_${'a'.repeat(43)}`,
])('%j is no key', (text) => {
  expect(parseApiKey(text)).toBeUndefined();
});
