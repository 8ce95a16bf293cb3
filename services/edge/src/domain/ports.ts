/** What the edge needs from the world. */
import type { Audience, Principal } from '@postern/contracts/common';
import type { Session } from '@postern/contracts/session';

import type { ExternalIdentity, TokenVerdict } from './oidc.ts';

export interface Clock {
  /** Milliseconds since the epoch. */
  nowMs(): number;
}

/** What a question is part of. */
export interface Call {
  readonly requestId: string;
  /** Milliseconds that the request itself has. */
  readonly remainingMs: number;
}

export type Verdict =
  | { readonly kind: 'principal'; readonly principal: Principal }
  /** The credential is wrong; `reason` if it may be shown. */
  | { readonly kind: 'refused'; readonly reason?: string }
  | { readonly kind: 'expired' }
  /** The cookie stands for no session. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'locked'; readonly retryAfterSeconds: number };

export interface PasswordAttempt {
  readonly name: string;
  readonly password: string;
  /** The client's address. */
  readonly client: string;
}

/** Who a credential stands for. A server that is away is a `Failure` that is thrown. */
export interface Credentials {
  checkPassword(attempt: PasswordAttempt, call: Call): Promise<Verdict>;
  checkApiKey(key: string, call: Call): Promise<Verdict>;
  resolveSession(token: string, call: Call): Promise<Verdict>;
  /** Believes a name that a listener or a proxy vouches for. */
  trust(name: string, call: Call): Promise<Verdict>;
  admitExternal(identity: ExternalIdentity, call: Call): Promise<Verdict>;
}

/** Checks tokens of one external issuer. */
export interface TokenVerifier {
  /** What a verdict depends on beside the token; part of the key under which it is remembered. */
  readonly rules: readonly string[];
  verify(token: string): Promise<TokenVerdict>;
}

export interface Minted {
  readonly assertion: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** Has a principal signed for one service. */
export type Mint = (principal: Principal, audience: Audience, call: Call) => Promise<Minted>;

/** One thing that ended before its time: all of a principal, one of its API keys, or one of its sessions. */
export interface Revocation {
  readonly principalId: string;
  readonly tokenId?: string | undefined;
  readonly sessionId?: string | undefined;
}

/** A request to a replica's inner door, ready to be written. */
export interface UpstreamRequest {
  /** `http://host:port`. */
  readonly origin: string;
  readonly method: string;
  /** Path and query, byte for byte as they came. */
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer | undefined;
}

export interface AnswerHead {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Bytes of the body, if the answer says so itself. */
  readonly contentLength: number | undefined;
}

/** What happened to a request that has no answer, or no whole one. */
export interface Broken {
  /**
   * `busy`: too many requests wait for the replica already. `unreached`: its door is shut. `reached`: it may have seen any byte
   * of the request.
   */
  readonly kind: 'busy' | 'unreached' | 'reached';
  readonly cause: unknown;
}

/** Hears the answer: one head, data, then the end; or `broken` at any point. */
export interface AnswerSink {
  head(head: AnswerHead): void;
  /** `last` if the answer is known to end with this chunk; `end` follows all the same. */
  data(chunk: Buffer, last: boolean): void;
  end(): void;
  /** Never before `send` has returned. */
  broken(what: Broken): void;
}

export interface Sending {
  /** Gives up; the sink hears nothing more. */
  abort(): void;
  pause(): void;
  resume(): void;
  /** The answer has no end in sight: its connection no longer counts among those that requests wait for. */
  keep(): void;
}

/** Keep-alive connections to inner doors. */
export interface Upstream {
  send(request: UpstreamRequest, sink: AnswerSink): Sending;
}

export type LoginOutcome =
  | { readonly kind: 'opened'; readonly token: string }
  | { readonly kind: 'refused' }
  | { readonly kind: 'locked'; readonly retryAfterSeconds: number };

/** Browser sessions. */
export interface Logins {
  login(attempt: PasswordAttempt & { readonly replaces: string | undefined }, call: Call): Promise<LoginOutcome>;
  logout(token: string, call: Call): Promise<void>;
  list(principalId: string, call: Call): Promise<readonly Session[]>;
  /** False if the principal has no such session. */
  revoke(principalId: string, id: string, call: Call): Promise<boolean>;
  revokeAll(principalId: string, call: Call): Promise<void>;
}

/** Certificate chain and private key of a TLS listener, as PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** An upgrade to ask a replica's inner door for. */
export interface TunnelRequest {
  /** `http://host:port`. */
  readonly origin: string;
  /** Path and query. */
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
}

export type TunnelOutcome<Stream> =
  /** `head` came behind the handshake. */
  | { readonly kind: 'open'; readonly stream: Stream; readonly head: Buffer }
  | { readonly kind: 'refused'; readonly status: number; readonly body: string }
  /** There was no answer; `isReached` if the replica may have seen the request. */
  | { readonly kind: 'broken'; readonly isReached: boolean };

/** Upgraded connections to inner doors: one for each socket, never shared. */
export interface Tunnels<Stream> {
  open(wanted: TunnelRequest): Promise<TunnelOutcome<Stream>>;
}
