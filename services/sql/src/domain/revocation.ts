/** What was proved of a person is taken back: which of what they have under way ends with it. Pure. */
import type { Principal } from '@postern/contracts/common';

export type IsRevoked = (principal: Principal) => boolean;

/** A person was changed or removed, or one token of theirs was revoked. */
export interface RevokedCredential {
  readonly principalId: string;
  readonly tokenId?: string | undefined;
}

/** One browser session, or all of a principal, ended before their time. */
export interface RevokedSession {
  readonly principalId: string;
  readonly sessionId?: string | undefined;
}

/** Has things of people, under way or kept. */
export interface Revocable {
  /** Ends and forgets those of such principals. */
  revokeWhere(isRevoked: IsRevoked): void;
  /** Revocations may have been missed: ends and forgets all. */
  revokeAll(): void;
}

export const ofCredential =
  ({ principalId, tokenId }: RevokedCredential): IsRevoked =>
  (principal) =>
    principal.id === principalId && (tokenId === undefined || tokenId === principal.tokenId);

export const ofSession =
  ({ principalId, sessionId }: RevokedSession): IsRevoked =>
  (principal) =>
    principal.id === principalId &&
    principal.sessionId !== undefined &&
    (sessionId === undefined || sessionId === principal.sessionId);
