/** Signs who a request is by, for one service and half a minute. */
import type { Audience, Principal } from '@postern/contracts/common';
import { randomUUID, sign } from 'node:crypto';

import type { Clock } from './ports.ts';
import type { SigningKey } from './signing-keys.ts';

const LIFETIME_SECONDS = 30;

export interface Minted {
  readonly assertion: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

export interface AssertionRequest {
  readonly principal: Principal;
  readonly audience: Audience;
  readonly issuer: string;
}

/** A compact JWS (RFC 7515, RFC 8037). It never outlives the credential it stands for. */
export function mintAssertion(key: SigningKey, { principal, audience, issuer }: AssertionRequest, clock: Clock): Minted {
  const issuedAt = Math.floor(clock.now() / 1_000);
  const end = issuedAt + LIFETIME_SECONDS;
  const expiresAt = principal.expiresAt > 0 ? Math.min(end, principal.expiresAt) : end;
  const claims = { iss: issuer, aud: audience, sub: principal.id, iat: issuedAt, exp: expiresAt, jti: randomUUID(), principal };
  const signed = `${encode({ alg: 'EdDSA', kid: key.kid, typ: 'JWT' })}.${encode(claims)}`;
  return { assertion: `${signed}.${sign(null, Buffer.from(signed), key.privateKey).toString('base64url')}`, expiresAt };
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
