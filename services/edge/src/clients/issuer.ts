/** An external OIDC issuer: its key set, found by discovery, and the check of its tokens (jose). */
import type { JWTPayload, JWTVerifyGetKey } from 'jose';
import { createRemoteJWKSet, decodeProtectedHeader, errors, jwtVerify } from 'jose';
import type { Logger } from 'pino';
import { z } from 'zod';

import type { Listener } from '../domain/listeners.ts';
import type { OidcReason, OidcRules, TokenVerdict } from '../domain/oidc.ts';
import { OIDC_REASONS, readClaims } from '../domain/oidc.ts';
import type { TokenVerifier } from '../domain/ports.ts';

/** A secret that both sides share proves nothing about who signed: only asymmetric ones (imm-053). */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'];

const FETCH_MS = 10_000;
/** An unknown key has the set fetched again, but not more often than this. */
const REFETCH_PAUSE_MS = 1_000;
const TOKEN_LENGTH_MAX = 12_288;
const DOCUMENT_BYTES_MAX = 262_144;

const Discovery = z.object({ issuer: z.string(), jwks_uri: z.url({ protocol: /^https?$/ }) });

/** What stopped the keys from being had; the token is not to blame, and is refused all the same. */
class IssuerUnreachable extends Error {
  override readonly name = 'IssuerUnreachable';
}

export interface IssuerSettings {
  readonly oidcIssuer?: string | undefined;
  readonly oidcAudience: readonly string[];
  readonly oidcAuthenticationClaim: string;
  readonly oidcGroupClaim: string;
}

/** The issuer of each listener: its own words first, then the settings; none if neither names one. */
export function createIssuers(settings: IssuerSettings, log: Logger): (listener: Listener) => TokenVerifier | undefined {
  return ({ name, oidc }) => {
    const issuer = oidc?.issuer ?? settings.oidcIssuer;
    if (issuer === undefined) return undefined;
    const audiences = oidc?.audiences ?? settings.oidcAudience;
    if (audiences.length === 0) log.warn({ listener: name }, 'tokens are accepted whatever their audience');
    return createIssuer(
      {
        issuer,
        audiences,
        nameClaim: oidc?.nameClaim ?? settings.oidcAuthenticationClaim,
        groupClaim: oidc?.groupClaim ?? settings.oidcGroupClaim,
      },
      log,
    );
  };
}

function createIssuer(rules: OidcRules, log: Logger): TokenVerifier {
  const findKey = createKeyFinder(rules.issuer, log);
  const refused = (reason: OidcReason): TokenVerdict => ({ kind: 'refused', reason });
  return {
    rules: [rules.issuer, JSON.stringify(rules.audiences), rules.nameClaim, rules.groupClaim],
    async verify(token) {
      if (token.length > TOKEN_LENGTH_MAX) return refused(OIDC_REASONS.invalid);
      try {
        const { kid, alg } = decodeProtectedHeader(token);
        if (alg === undefined || !ALGORITHMS.includes(alg)) return refused(OIDC_REASONS.invalid);
        if (typeof kid !== 'string' || kid === '') return refused(OIDC_REASONS.keyUnnamed);
        return readClaims(rules, await verifyClaims(token, findKey, rules));
      } catch (error) {
        return refused(reasonOf(error));
      }
    },
  };
}

async function verifyClaims(token: string, findKey: JWTVerifyGetKey, rules: OidcRules): Promise<JWTPayload> {
  const { payload } = await jwtVerify(token, findKey, {
    algorithms: ALGORITHMS,
    issuer: rules.issuer,
    requiredClaims: ['exp'],
    clockTolerance: 0,
    ...(rules.audiences.length > 0 && { audience: [...rules.audiences] }),
  });
  return payload;
}

function reasonOf(error: unknown): OidcReason {
  if (error instanceof IssuerUnreachable) return OIDC_REASONS.unreachable;
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return OIDC_REASONS.keyUnknown;
  if (error instanceof errors.JWTExpired) return OIDC_REASONS.expired;
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'iss') return OIDC_REASONS.wrongIssuer;
    if (error.claim === 'aud') return OIDC_REASONS.wrongAudience;
  }
  return OIDC_REASONS.invalid;
}

/** Finds the keys by discovery at first use. A fetch that failed is not repeated before the pause has passed. */
function createKeyFinder(issuer: string, log: Logger): JWTVerifyGetKey {
  let keySet: ReturnType<typeof createRemoteJWKSet> | undefined;
  let discovering: Promise<URL> | undefined;
  let failedAt = -Infinity;

  /** Keys that are known serve on while the issuer is away. */
  const mayFetch = (kid: string | undefined): boolean =>
    performance.now() - failedAt >= REFETCH_PAUSE_MS || keySet?.jwks()?.keys.some((key) => key.kid === kid) === true;

  return async (header, token) => {
    if (!mayFetch(header?.kid)) throw new IssuerUnreachable('the keys could not be had a moment ago');
    try {
      if (keySet === undefined) {
        discovering ??= discover(issuer).finally(() => {
          discovering = undefined;
        });
        const url = await discovering;
        keySet ??= createRemoteJWKSet(url, { timeoutDuration: FETCH_MS, cooldownDuration: REFETCH_PAUSE_MS });
      }
      return await keySet(header, token);
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) throw error;
      failedAt = performance.now();
      log.warn({ err: error }, 'issuer unreachable');
      throw new IssuerUnreachable('the keys cannot be had', { cause: error });
    }
  };
}

async function discover(issuer: string): Promise<URL> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const response = await fetch(url, {
    signal: AbortSignal.timeout(FETCH_MS),
    redirect: 'error',
    headers: { accept: 'application/json' },
  });
  if (!response.ok) throw new TypeError(`discovery answered ${response.status}`);
  const bytes = await readAll(response);
  const document = Discovery.parse(JSON.parse(bytes.toString('utf8')));
  // OpenID Connect Discovery 4.3: a document that names another issuer is somebody else's.
  if (document.issuer !== issuer) throw new TypeError('the discovery document names another issuer');
  return new URL(document.jwks_uri);
}

async function readAll(response: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const parts: AsyncIterable<unknown> = response.body ?? new ReadableStream<unknown>();
  for await (const chunk of parts) {
    if (!(chunk instanceof Uint8Array)) continue;
    bytes += chunk.length;
    if (bytes > DOCUMENT_BYTES_MAX) throw new TypeError('the discovery document is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
