/** What was proved of a person is taken back: which of what they have under way ends with it. Pure. */
import type { Principal } from '@postern/contracts/common';

export type IsRevoked = (principal: Principal) => boolean;

/** A person was changed or removed, or one token of theirs was revoked. */
export const ofCredential =
  ({ principalId, tokenId }: { readonly principalId: string; readonly tokenId?: string | undefined }): IsRevoked =>
  (principal) =>
    principal.id === principalId && (tokenId === undefined || tokenId === principal.tokenId);

/** One browser session, or all of a principal, ended before their time. */
export const ofSession =
  ({ principalId, sessionId }: { readonly principalId: string; readonly sessionId?: string | undefined }): IsRevoked =>
  (principal) =>
    principal.id === principalId &&
    principal.sessionId !== undefined &&
    (sessionId === undefined || sessionId === principal.sessionId);
