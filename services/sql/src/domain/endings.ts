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
