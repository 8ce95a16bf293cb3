/** Who a request is by: the one order of decisions for every route, kind and credential. */
import type { Principal } from '@postern/contracts/common';

import type { Credentials as ShownCredentials, SessionCookie, TrustedUser } from './credentials.ts';
import { isApiKey, looksLikeToken, readCredentials, readSessionCookie, readTrustedUser } from './credentials.ts';
import type { Head } from './head.ts';
import type { AuthenticatorKind } from './listeners.ts';
import type { IdentityMemory } from './memory.ts';
import { tupleKey } from './memory.ts';
import { OIDC_REASONS } from './oidc.ts';
import type { Call, Credentials, TokenVerifier, Verdict } from './ports.ts';
import type { RolePolicy } from './role-policy.ts';
import { admits } from './role-policy.ts';

const DEFAULT_USER = 'anonymous_http_user';

/** A request, as far as identity depends on it. */
export interface Claim {
  readonly call: Call;
  readonly kind: AuthenticatorKind;
  readonly shown: Shown;
  readonly client: string;
  readonly policy: RolePolicy | undefined;
  /** Of the listener, if it is of kind Oidc and has an issuer. */
  readonly verifier: TokenVerifier | undefined;
}

/** What somebody shows of themselves, in the head of a request or in the first words of a socket. */
export interface Shown {
  readonly credentials: ShownCredentials;
  readonly cookie: SessionCookie;
  readonly trusted: TrustedUser;
}

interface Layers {
  readonly kind: AuthenticatorKind;
  readonly cookieName: string;
  /** Whether the route has the layer. */
  readonly trustedHeader: boolean;
  readonly cookie: boolean;
}

/** What the head shows, by the layers that the route has; a cookie counts where there are logins, a trusted header where not. */
export function readShown(head: Head, { kind, cookieName, trustedHeader, cookie }: Layers): Shown {
  return {
    credentials: readCredentials(head.get('authorization')),
    cookie: cookie && kind !== 'None' ? readSessionCookie(head, cookieName) : { kind: 'none' },
    trusted: trustedHeader && kind === 'None' ? readTrustedUser(head) : { kind: 'none' },
  };
}

export type Identity =
  | { readonly kind: 'principal'; readonly principal: Principal; readonly by: 'header' | 'cookie' }
  /** There was nothing to check: the one denial that may be answered with a challenge. */
  | { readonly kind: 'missing' }
  | { readonly kind: 'denied'; readonly reason: string }
  /** The cookie's session is over: denied, whatever else. */
  | { readonly kind: 'expired' }
  | { readonly kind: 'locked'; readonly retryAfterSeconds: number }
  | { readonly kind: 'repeatedCookie' };

/** At once, where the answer is remembered or needs no question. */
export type Identify = (claim: Claim) => Identity | Promise<Identity>;

const DENIED: Identity = { kind: 'denied', reason: 'unauthorized' };
const MISSING: Identity = { kind: 'missing' };

/** The name a None listener believes; no question is needed to know it, nor to judge it by the policy. */
export type Believed = { readonly kind: 'name'; readonly name: string } | { readonly kind: 'denied'; readonly reason: string };

export function believe({ shown: { credentials, trusted }, policy }: Pick<Claim, 'shown' | 'policy'>): Believed {
  const denied = { kind: 'denied', reason: 'unauthorized' } as const;
  if (trusted.kind === 'refused') return denied;
  const believed = credentials.kind === 'basic' ? credentials.user : DEFAULT_USER;
  const name = trusted.kind === 'user' ? trusted.name : believed;
  return name !== '' && Buffer.byteLength(name) <= 63 && admits(policy, name) ? { kind: 'name', name } : denied;
}

/** What has to be asked to know who a request is by, and under which key the answer is remembered. */
interface Question {
  readonly key: string;
  readonly by: 'header' | 'cookie';
  ask(call: Call): Promise<Verdict>;
  /** The owner that is named beside an API key or a token; empty if none is. */
  readonly owner?: string;
}

export function createIdentify(ask: Credentials, memory: IdentityMemory): Identify {
  const askApiKey = (key: string, owner: string): Question => ({
    key: tupleKey('apiKey', key),
    by: 'header',
    owner,
    ask: (call) => ask.checkApiKey(key, call),
  });

  const askBasic = (user: string, password: string, client: string): Question | Identity => {
    if (isApiKey(password)) return askApiKey(password, user);
    if (user === '' || user.length > 256 || password.length > 1_024) return DENIED;
    return {
      key: tupleKey('password', user, password),
      by: 'header',
      ask: (call) => ask.checkPassword({ name: user, password, client }, call),
    };
  };

  const askToken = (token: string, verifier: TokenVerifier | undefined, owner = ''): Question | Identity => {
    if (verifier === undefined) return { kind: 'denied', reason: OIDC_REASONS.unconfigured };
    return {
      key: tupleKey('token', ...verifier.rules, token),
      by: 'header',
      owner,
      async ask(call) {
        const checked = await verifier.verify(token);
        return checked.kind === 'refused' ? checked : ask.admitExternal(checked.identity, call);
      },
    };
  };

  const askCookie = (found: SessionCookie): Question | Identity => {
    if (found.kind === 'repeated') return { kind: 'repeatedCookie' };
    if (found.kind === 'none') return MISSING;
    const { token } = found;
    return { key: tupleKey('session', token), by: 'cookie', ask: (call) => ask.resolveSession(token, call) };
  };

  const read = (claim: Claim): Question | Identity => {
    if (claim.kind === 'None') {
      const believed = believe(claim);
      if (believed.kind === 'denied') return believed;
      return { key: tupleKey('trusted', believed.name), by: 'header', ask: (call) => ask.trust(believed.name, call) };
    }
    const { credentials, cookie } = claim.shown;
    switch (credentials.kind) {
      case 'none':
        return askCookie(cookie);
      case 'basic':
        if (credentials.mayBeToken === true && claim.verifier !== undefined && looksLikeToken(credentials.password))
          return credentials.user === '' ? DENIED : askToken(credentials.password, claim.verifier, credentials.user);
        return askBasic(credentials.user, credentials.password, claim.client);
      case 'bearer':
        if (isApiKey(credentials.token)) return askApiKey(credentials.token, '');
        return claim.kind === 'Password' ? MISSING : askToken(credentials.token, claim.verifier);
    }
  };

  return (claim) => {
    const question = read(claim);
    if ('kind' in question) return question;
    const principal = memory.recall(question.key);
    if (principal !== undefined) return conclude({ kind: 'principal', principal }, question, claim.policy);
    return memory
      .learn(question.key, () => question.ask(claim.call))
      .then((verdict) => conclude(verdict, question, claim.policy));
  };
}

/** Every kind of credential ends here, and passes the same policy (imm-057). */
function conclude(verdict: Verdict, { by, owner = '' }: Question, policy: RolePolicy | undefined): Identity {
  switch (verdict.kind) {
    case 'principal': {
      const { principal } = verdict;
      if (owner !== '' && owner !== principal.name) return DENIED;
      return admits(policy, principal.name) ? { kind: 'principal', principal, by } : DENIED;
    }
    case 'refused':
      return verdict.reason === undefined ? DENIED : { kind: 'denied', reason: verdict.reason };
    case 'expired':
      return verdict;
    case 'unknown':
      // A cookie of a session that was ended is as good as none; one that expired is told so.
      return MISSING;
    case 'locked':
      return verdict;
  }
}
