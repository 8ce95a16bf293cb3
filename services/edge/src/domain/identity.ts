/** Who a request is by: the one order of decisions for every route, kind and credential. */
import type { Principal } from '@postern/contracts/common';

import { isApiKey, readCredentials, readSessionCookie, readTrustedUser } from './credentials.ts';
import type { Head } from './head.ts';
import type { AuthenticatorKind } from './listeners.ts';
import type { IdentityMemory } from './memory.ts';
import { tupleKey } from './memory.ts';
import { OIDC_REASONS } from './oidc.ts';
import type { Credentials, TokenVerifier, Verdict } from './ports.ts';
import type { RolePolicy } from './role-policy.ts';
import { admits } from './role-policy.ts';

const DEFAULT_USER = 'anonymous_http_user';

/** A request, as far as identity depends on it. */
export interface Claim {
  readonly kind: AuthenticatorKind;
  readonly head: Head;
  readonly client: string;
  readonly cookieName: string;
  /** Whether the route has the layer. */
  readonly trustedHeader: boolean;
  readonly cookie: boolean;
  readonly policy: RolePolicy | undefined;
  /** Of the listener, if it is of kind Oidc and has an issuer. */
  readonly verifier: TokenVerifier | undefined;
}

export type Identity =
  | { readonly kind: 'principal'; readonly principal: Principal; readonly by: 'header' | 'cookie' }
  /** There was nothing to check: the one denial that may be answered with a challenge. */
  | { readonly kind: 'missing' }
  | { readonly kind: 'denied'; readonly reason: string }
  | { readonly kind: 'locked'; readonly retryAfterSeconds: number }
  | { readonly kind: 'repeatedCookie' };

export type Identify = (claim: Claim) => Promise<Identity>;

const DENIED: Identity = { kind: 'denied', reason: 'unauthorized' };
const MISSING: Identity = { kind: 'missing' };

/** The name a None listener believes; no question is needed to know it, nor to judge it by the policy. */
export type Believed = { readonly kind: 'name'; readonly name: string } | { readonly kind: 'denied'; readonly reason: string };

export function believe({ head, trustedHeader, policy }: Pick<Claim, 'head' | 'trustedHeader' | 'policy'>): Believed {
  const denied = { kind: 'denied', reason: 'unauthorized' } as const;
  const trusted = trustedHeader ? readTrustedUser(head) : { kind: 'none' as const };
  if (trusted.kind === 'refused') return denied;
  const credentials = readCredentials(head.get('authorization'));
  const believed = credentials.kind === 'basic' ? credentials.user : DEFAULT_USER;
  const name = trusted.kind === 'user' ? trusted.name : believed;
  return name !== '' && Buffer.byteLength(name) <= 63 && admits(policy, name) ? { kind: 'name', name } : denied;
}

export function createIdentify(ask: Credentials, memory: IdentityMemory): Identify {
  const known = async (key: string, question: () => Promise<Verdict>): Promise<Verdict> => {
    const principal = memory.recall(key);
    return principal === undefined ? memory.learn(key, question) : { kind: 'principal', principal };
  };

  const fromBasic = async (user: string, password: string, client: string): Promise<Verdict> => {
    if (isApiKey(password)) {
      const verdict = await fromApiKey(password);
      const isOwner = verdict.kind === 'principal' && (user === '' || user === verdict.principal.name);
      return verdict.kind !== 'principal' || isOwner ? verdict : { kind: 'refused' };
    }
    if (user === '' || user.length > 256 || password.length > 1_024) return { kind: 'refused' };
    return known(tupleKey('password', user, password), () => ask.checkPassword({ name: user, password, client }));
  };
  const fromApiKey = (key: string): Promise<Verdict> => known(tupleKey('apiKey', key), () => ask.checkApiKey(key));

  const fromToken = (token: string, verifier: TokenVerifier | undefined): Promise<Verdict> | Verdict => {
    if (verifier === undefined) return { kind: 'refused', reason: OIDC_REASONS.unconfigured };
    return known(tupleKey('token', ...verifier.rules, token), async () => {
      const checked = await verifier.verify(token);
      return checked.kind === 'refused' ? checked : ask.admitExternal(checked.identity);
    });
  };

  const fromCookie = async (claim: Claim): Promise<Identity> => {
    const cookie = claim.cookie ? readSessionCookie(claim.head, claim.cookieName) : { kind: 'none' as const };
    if (cookie.kind === 'repeated') return { kind: 'repeatedCookie' };
    if (cookie.kind === 'none') return MISSING;
    const verdict = await known(tupleKey('session', cookie.token), () => ask.resolveSession(cookie.token));
    // A cookie of a session that was ended is as good as none; one that expired is told so.
    return verdict.kind === 'unknown' ? MISSING : conclude(verdict, 'cookie', claim.policy);
  };

  return async (claim) => {
    if (claim.kind === 'None') {
      const believed = believe(claim);
      if (believed.kind === 'denied') return believed;
      const verdict = await known(tupleKey('trusted', believed.name), () => ask.trust(believed.name));
      return conclude(verdict, 'header', claim.policy);
    }
    const credentials = readCredentials(claim.head.get('authorization'));
    switch (credentials.kind) {
      case 'none':
        return fromCookie(claim);
      case 'basic':
        return conclude(await fromBasic(credentials.user, credentials.password, claim.client), 'header', claim.policy);
      case 'bearer':
        if (isApiKey(credentials.token)) return conclude(await fromApiKey(credentials.token), 'header', claim.policy);
        if (claim.kind === 'Password') return MISSING;
        return conclude(await fromToken(credentials.token, claim.verifier), 'header', claim.policy);
    }
  };
}

/** Every kind of credential ends here, and passes the same policy (imm-057). */
function conclude(verdict: Verdict, by: 'header' | 'cookie', policy: RolePolicy | undefined): Identity {
  switch (verdict.kind) {
    case 'principal':
      return admits(policy, verdict.principal.name) ? { kind: 'principal', principal: verdict.principal, by } : DENIED;
    case 'refused':
      return verdict.reason === undefined ? DENIED : { kind: 'denied', reason: verdict.reason };
    case 'expired':
    case 'unknown':
      return DENIED;
    case 'locked':
      return verdict;
  }
}
