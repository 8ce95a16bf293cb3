import { principalOf } from '@postern/testkit/principals';
import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { expect, test } from 'vitest';

import { mintAssertion } from './assertions.ts';

const anyString: unknown = expect.any(String);

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const jwk = publicKey.export({ format: 'jwk' });
const key = {
  kid: 'one',
  ordinal: 1,
  signsFrom: 0,
  privateKey,
  publicKey: { kty: 'OKP', crv: 'Ed25519', x: jwk.x ?? '', kid: 'one', alg: 'EdDSA', use: 'sig' } as const,
};
const clock = { now: () => 1_800_000_000_500 };
const principal = principalOf('Ünal', { id: 'p' });
const read = (part: string | undefined): unknown => JSON.parse(Buffer.from(part ?? '', 'base64url').toString());

test('an assertion names its key, its audience, its subject and its end, 30 s from now, and is signed', () => {
  const { assertion, expiresAt } = mintAssertion(key, { principal, audience: 'sql', issuer: 'postern' }, clock);
  const [header, payload, signature] = assertion.split('.');
  expect(read(header)).toEqual({ alg: 'EdDSA', kid: 'one', typ: 'JWT' });
  expect(expiresAt).toBe(1_800_000_030);
  expect(read(payload)).toEqual({
    iss: 'postern',
    aud: 'sql',
    sub: 'p',
    iat: 1_800_000_000,
    exp: expiresAt,
    jti: anyString,
    principal,
  });
  const signed = Buffer.from(`${header}.${payload}`);
  const own = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: key.publicKey.x }, format: 'jwk' });
  expect(verify(null, signed, own, Buffer.from(signature ?? '', 'base64url'))).toBe(true);
});

test('an assertion does not outlive the credential it stands for', () => {
  const ending = { ...principal, expiresAt: 1_800_000_010 };
  expect(mintAssertion(key, { principal: ending, audience: 'sql', issuer: 'postern' }, clock).expiresAt).toBe(1_800_000_010);
});
