/** The questions the edge asks auth and session, with their declared failures as verdicts. */
import type { authService } from '@postern/contracts/auth';
import type { Principal } from '@postern/contracts/common';
import { Failure, isFailure } from '@postern/contracts/failure';
import type { sessionService } from '@postern/contracts/session';
import type { Client } from '@postern/rpc/client';

import type { SessionLives } from '../domain/attendance.ts';
import { OIDC_REASONS } from '../domain/oidc.ts';
import type { Call, Credentials, Logins, Mint, Verdict } from '../domain/ports.ts';

export type AuthClient = Client<typeof authService>;
export type SessionClient = Client<typeof sessionService>;

const SHOWN: ReadonlySet<string> = new Set<string>(Object.values(OIDC_REASONS));

/** Any other failure (a server that is away) is not a verdict: it is thrown on. */
async function verdict(asked: Promise<Principal>): Promise<Verdict> {
  try {
    return { kind: 'principal', principal: await asked };
  } catch (error) {
    if (!isFailure(error)) throw error;
    switch (error.code) {
      case 'CREDENTIAL_INVALID':
      case 'LOGIN_REFUSED':
      case 'NAME_RESERVED':
      case 'LOGIN_DENIED':
      // What does not fit the schema (a name, a password, a token) stands for nobody.
      case 'INVALID_REQUEST':
        return { kind: 'refused' };
      case 'SESSION_UNKNOWN':
        return { kind: 'unknown' };
      case 'SESSION_EXPIRED':
        return { kind: 'expired' };
      case 'TOO_MANY_ATTEMPTS':
        return { kind: 'locked', retryAfterSeconds: error.retryAfterSeconds ?? 60 };
      default:
        throw error;
    }
  }
}

export function createCredentials(auth: AuthClient, session: SessionClient): Credentials {
  return {
    checkPassword: (attempt, call) => verdict(session.authenticate(attempt, call)),
    checkApiKey: (key, call) => verdict(auth.verifyApiKey({ key }, call)),
    resolveSession: (token, call) => verdict(session.resolve({ token }, call).then(({ principal }) => principal)),
    trust: (name, call) => verdict(auth.trust({ name }, call)),
    async admitExternal({ issuer, subject, name, groups, expiresAt }, call) {
      const claims = { issuer, subject, name, expiresAt, ...(groups !== undefined && { groups: [...groups] }) };
      let reason: string | undefined;
      const asked = auth.admitExternal(claims, call).catch((error: unknown) => {
        if (isFailure(error, 'LOGIN_DENIED')) {
          reason = error.detail !== undefined && SHOWN.has(error.detail) ? error.detail : OIDC_REASONS.wrongUser;
        }
        throw error;
      });
      const answer = await verdict(asked);
      return answer.kind === 'refused' && reason !== undefined ? { kind: 'refused', reason } : answer;
    },
  };
}

export function createLogins(session: SessionClient): Logins {
  return {
    async login({ name, password, client, replaces }, call) {
      try {
        const { token } = await session.login({ name, password, client, ...(replaces !== undefined && { replaces }) }, call);
        return { kind: 'opened', token };
      } catch (error) {
        if (isFailure(error, 'LOGIN_REFUSED') || isFailure(error, 'INVALID_REQUEST')) return { kind: 'refused' };
        if (isFailure(error, 'TOO_MANY_ATTEMPTS')) return { kind: 'locked', retryAfterSeconds: error.retryAfterSeconds ?? 60 };
        throw error;
      }
    },
    logout: async (token, call) => void (await session.logout({ token }, call)),
    list: async (principalId, call) => (await session.list({ principalId }, call)).sessions,
    async revoke(principalId, id, call) {
      try {
        await session.revoke({ principalId, id }, call);
        return true;
      } catch (error) {
        if (isFailure(error, 'SESSION_NOT_FOUND') || isFailure(error, 'INVALID_REQUEST')) return false;
        throw error;
      }
    },
    revokeAll: async (principalId, call) => void (await session.revokeAll({ principalId }, call)),
  };
}

/** A socket's own question of its session has this long. */
const LOOK_MS = 2_000;

export function createSessionLives(session: SessionClient): SessionLives {
  const call = (): Call => ({ requestId: crypto.randomUUID(), remainingMs: LOOK_MS });
  return {
    async use(token) {
      try {
        const found = await session.resolve({ token }, call());
        return { kind: 'until', untilMs: found.session.expiresAt * 1_000 };
      } catch (error) {
        if (isFailure(error, 'SESSION_UNKNOWN') || isFailure(error, 'SESSION_EXPIRED')) return { kind: 'over' };
        throw error;
      }
    },
    async look(principalId, sessionId) {
      const { sessions } = await session.list({ principalId }, call());
      const found = sessions.find(({ id }) => id === sessionId);
      return found === undefined ? { kind: 'over' } : { kind: 'until', untilMs: found.expiresAt * 1_000 };
    },
  };
}

/** The alphabet of a compact JWS: nothing of it can break out of a header line. */
const COMPACT_JWS = /^[\w-]+\.[\w-]+\.[\w-]+$/;

export const createMint =
  (auth: AuthClient): Mint =>
  async (principal, audience, call) => {
    const minted = await auth.mint({ principal, audience }, call);
    if (!COMPACT_JWS.test(minted.assertion)) throw new Failure('INTERNAL', { cause: 'the assertion is not a compact JWS' });
    return minted;
  };
