/** Ends of statements that are not of their own making, as PostgreSQL says them. */
import type { SqlError } from './entries.ts';

export const userCanceled: SqlError = { message: 'canceling statement due to user request', code: '57014' };
export const timedOut: SqlError = { message: 'canceling statement due to statement timeout', code: '57014' };
export const revoked: SqlError = { message: 'canceling statement because the credential was revoked', code: '57014' };
export const maybeRevoked: SqlError = {
  message: 'canceling statement because a revocation of the credential may have been missed',
  code: '57014',
};
export const connectionLost: SqlError = { message: 'the connection to the server was lost', code: '08006' };
export const typesUnknown: SqlError = { message: 'could not look up the types of the result', code: '58000' };

/** Detail of a cancel that came too late. */
export const EFFECTS_KEPT = 'The statement had ended before it could be canceled; its effects are kept.';

/** The SQLSTATE of a server that was asked to cancel a statement, or to end a session. */
export const isEndedByUs = (code: string | undefined): boolean => code === userCanceled.code || code === '57P01';

/** Why what somebody listens to ends, before they leave; `what` is what it is called. */
export const endingsOf = (what: string): Record<'revoked' | 'maybeRevoked' | 'expired' | 'draining', SqlError> => ({
  revoked: { message: `the ${what} was ended because the credential was revoked`, code: '57014' },
  maybeRevoked: { message: `the ${what} was ended because a revocation of the credential may have been missed`, code: '57014' },
  expired: { message: `the ${what} was ended because the credential has expired`, code: '57014' },
  draining: { message: `the ${what} was ended because the service is stopping`, code: '57P01' },
});

/** Auth or the database does not answer. */
export const loginsAway: SqlError = { message: 'the database or its logins cannot be reached', code: '08006' };
