import { expect, test } from 'vitest';

import { isVerifierOf, scramVerifier } from './scram.ts';

/** Made by PostgreSQL 17: CREATE ROLE … PASSWORD 'pencil'. */
const OF_POSTGRES =
  'SCRAM-SHA-256$4096:eRJZOETfDbTTOaWJGaNu5w==$CZ8StZVywGVkXkvkolVuB36SYLZJ+rOPQ5gN6XhzFW0=:hF2c/Yq2FANA/ZMXWNukoXXhoDPck5ekcjvqDxwG3qg=';

test('a verifier is of its own secret and of no other', () => {
  const verifier = scramVerifier('pencil');
  expect(isVerifierOf(verifier, 'pencil')).toBe(true);
  expect(isVerifierOf(verifier, 'pencils')).toBe(false);
  expect(scramVerifier('pencil')).not.toBe(verifier);
});

test("the server's own verifier is recognised", () => {
  expect(isVerifierOf(OF_POSTGRES, 'pencil')).toBe(true);
});

test.each(['', 'md5d2a9c1', 'SCRAM-SHA-256$', 'SCRAM-SHA-256$4096:salt'])('what is no verifier is of no secret: %s', (text) => {
  expect(isVerifierOf(text, '')).toBe(false);
});
