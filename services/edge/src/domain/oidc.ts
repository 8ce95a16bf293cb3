/** Tokens of an external issuer: what is asked of their claims, and the words in which one is refused. */

export interface OidcRules {
  readonly issuer: string;
  /** Empty: the audience is not checked. */
  readonly audiences: readonly string[];
  /** The claim that holds the person's name. */
  readonly nameClaim: string;
  readonly groupClaim: string;
}

/** Bodies of a 401; none shows the expected value. */
export const OIDC_REASONS = {
  unconfigured: 'OIDC issuer is not configured',
  unreachable: 'failed to fetch OIDC provider configuration',
  keyUnnamed: 'missing key ID in JWT header',
  keyUnknown: 'no matching key found in the JWKS',
  nameMissing: 'no matching authentication claim found in the JWT',
  invalid: 'failed to validate JWT',
  wrongUser: 'wrong user',
  wrongAudience: 'invalid audience',
  wrongIssuer: 'invalid issuer',
  expired: 'authentication credentials have expired',
  loginDenied: 'role is not allowed to login',
} as const;

export type OidcReason = (typeof OIDC_REASONS)[keyof typeof OIDC_REASONS];

/** What a verified token says about its holder. */
export interface ExternalIdentity {
  readonly issuer: string;
  readonly subject: string;
  readonly name: string;
  /** Absent: leave the roles as they are. */
  readonly groups: readonly string[] | undefined;
  readonly expiresAt: number;
}

export type TokenVerdict =
  | { readonly kind: 'identity'; readonly identity: ExternalIdentity }
  | { readonly kind: 'refused'; readonly reason: OidcReason };

/** Reads the claims of a token whose signature, issuer, audience and time have been checked. */
export function readClaims(rules: OidcRules, claims: Readonly<Record<string, unknown>>): TokenVerdict {
  const { exp: expiresAt } = claims;
  if (typeof expiresAt !== 'number') return { kind: 'refused', reason: OIDC_REASONS.invalid };
  const name = Object.hasOwn(claims, rules.nameClaim) ? claims[rules.nameClaim] : undefined;
  if (typeof name !== 'string' || name === '' || Buffer.byteLength(name) > 63) {
    return { kind: 'refused', reason: OIDC_REASONS.nameMissing };
  }
  const subject = subjectOf(claims, rules.nameClaim, name);
  if (subject === '' || subject.length > 256) return { kind: 'refused', reason: OIDC_REASONS.invalid };
  const groups = Object.hasOwn(claims, rules.groupClaim) ? readGroups(claims[rules.groupClaim]) : undefined;
  return {
    kind: 'identity',
    identity: { issuer: rules.issuer, subject, name, groups, expiresAt: Math.floor(expiresAt) },
  };
}

/** A token need not have a subject. One without stands for its name, in a form that no subject of the same issuer has by chance. */
function subjectOf(claims: Readonly<Record<string, unknown>>, nameClaim: string, name: string): string {
  if (!Object.hasOwn(claims, 'sub')) return JSON.stringify([nameClaim, name]);
  return typeof claims['sub'] === 'string' ? claims['sub'] : '';
}

/** A list or one string; lower-cased, without repeats, sorted. What is neither says nothing. */
function readGroups(value: unknown): string[] | undefined {
  const entries: readonly unknown[] | undefined = typeof value === 'string' ? [value] : Array.isArray(value) ? value : undefined;
  if (entries === undefined) return undefined;
  const names = entries.filter((entry) => typeof entry === 'string').map((entry) => entry.toLowerCase());
  return [...new Set(names)].toSorted();
}
