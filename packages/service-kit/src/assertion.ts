import type { PublicKey } from '@postern/contracts/auth';
import type { Audience } from '@postern/contracts/common';
import { Principal, PRINCIPAL_HEADER } from '@postern/contracts/common';
import { Failure, isFailure } from '@postern/contracts/failure';
import type { RequestHandler } from 'express';
import type { CryptoKey } from 'jose';
import { errors, importJWK, jwtVerify } from 'jose';

/** The `iss` of every assertion. */
export const ASSERTION_ISSUER = 'postern';

export interface AssertionOptions {
  readonly audience: Audience;
  /** Asks auth for the public keys; called when an assertion names one that is not known. */
  readonly loadKeys: () => Promise<readonly PublicKey[]>;
}

export type VerifyAssertion = (assertion: string) => Promise<Principal>;

const REFRESH_PAUSE_MS = 1_000;
const REMEMBERED_MAX = 2_000;

/**
 * Verifies the signed principal (JWS, EdDSA) that the edge attaches. Wrong audience, issuer, signature or age is
 * `ASSERTION_INVALID`; if the keys cannot be had, `UNAVAILABLE`. Verified assertions are remembered until they end.
 */
export function createAssertionVerifier({ audience, loadKeys }: AssertionOptions): VerifyAssertion {
  const keys = new Map<string, CryptoKey>();
  const remembered = new Map<string, { readonly principal: Principal; readonly endsAtMs: number }>();
  let refreshedAt = -Infinity;
  let refreshing: Promise<void> | undefined;

  const refresh = async (): Promise<void> => {
    const published = await loadKeys();
    const imported = await Promise.all(published.map(async (jwk) => [jwk.kid, await importJWK(jwk, 'EdDSA')] as const));
    keys.clear();
    for (const [kid, key] of imported) if (!(key instanceof Uint8Array)) keys.set(kid, key);
    refreshedAt = performance.now();
  };
  const findKey = async (kid: string | undefined): Promise<CryptoKey> => {
    if (kid === undefined) throw new Failure('ASSERTION_INVALID');
    if (!keys.has(kid) && performance.now() - refreshedAt > REFRESH_PAUSE_MS) {
      refreshing ??= refresh().finally(() => {
        refreshing = undefined;
      });
      await refreshing;
    }
    const key = keys.get(kid);
    if (key === undefined) throw new Failure('ASSERTION_INVALID');
    return key;
  };

  return async (assertion) => {
    const now = Date.now();
    const known = remembered.get(assertion);
    if (known !== undefined) {
      if (known.endsAtMs > now) return known.principal;
      remembered.delete(assertion);
      throw new Failure('ASSERTION_INVALID');
    }
    try {
      const { payload } = await jwtVerify(assertion, ({ kid }) => findKey(kid), {
        algorithms: ['EdDSA'],
        audience,
        issuer: ASSERTION_ISSUER,
        requiredClaims: ['exp', 'principal'],
        clockTolerance: 0,
      });
      const principal = Principal.parse(payload['principal']);
      if (remembered.size >= REMEMBERED_MAX) remembered.delete(remembered.keys().next().value ?? '');
      remembered.set(assertion, { principal, endsAtMs: (payload.exp ?? 0) * 1_000 });
      return principal;
    } catch (error) {
      if (isFailure(error)) throw error;
      if (error instanceof errors.JOSEError) throw new Failure('ASSERTION_INVALID');
      throw new Failure('ASSERTION_INVALID', { cause: error });
    }
  };
}

/** `response.locals` key under which the verified principal is found; read it with {@link callerOf}. */
const LOCALS_KEY = 'principal';

/** Admits only requests that carry exactly one valid assertion for this service. */
export function requirePrincipal(verify: VerifyAssertion): RequestHandler {
  return async (request, response, next) => {
    const given = request.headersDistinct[PRINCIPAL_HEADER] ?? [];
    if (given.length !== 1 || given[0] === undefined) throw new Failure('ASSERTION_INVALID');
    response.locals[LOCALS_KEY] = { principal: await verify(given[0]), assertion: given[0] };
    next();
  };
}

export interface Caller {
  readonly principal: Principal;
  readonly assertion: string;
}

/** The caller that {@link requirePrincipal} admitted. */
export const callerOf = (response: { readonly locals: Record<string, unknown> }): Caller => response.locals[LOCALS_KEY] as Caller;
