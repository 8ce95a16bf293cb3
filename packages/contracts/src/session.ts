/** Sessions: what a browser's cookie stands for, who holds it, and until when. Owned by services/session. */
import { z } from 'zod';

import { Principal } from './common.ts';
import { defineErrors, defineEvent, defineService, procedure } from './define.ts';

/** The secret value of the cookie. */
export const SessionToken = z.string().min(20).max(256);
/** The public name of a session, safe to show and log. */
export const SessionId = z.string().min(10).max(64);

const LoginAttempt = z.object({
  name: z.string().max(256),
  password: z.string().max(1_024),
  /** The client's address as the edge sees it; attempts are counted by it. */
  client: z.string().max(64),
});

export const Session = z.object({
  id: SessionId,
  createdAt: z.number().int(),
  lastActivityAt: z.number().int(),
  /** Unix seconds of the idle or the absolute end, whichever is first. */
  expiresAt: z.number().int(),
  client: z.string(),
});

export const sessionErrors = defineErrors({
  SESSION_NOT_FOUND: { status: 404, title: 'No such session' },
  SESSION_UNKNOWN: { status: 401, title: 'The cookie stands for no session' },
  SESSION_EXPIRED: { status: 401, title: 'The session has expired' },
  LOGIN_REFUSED: { status: 401, title: 'Wrong name or password' },
  TOO_MANY_ATTEMPTS: { status: 429, title: 'Too many failed logins' },
});

export const sessionService = defineService({
  name: 'session',
  version: 1,
  summary: 'Browser sessions: log in, resolve a cookie, list, revoke; and the limit on failed logins.',
  errors: sessionErrors,
  procedures: {
    login: procedure({
      summary: 'Checks a name and password and opens a session; an earlier session of the same cookie ends.',
      request: LoginAttempt.extend({ replaces: SessionToken.exactOptional() }),
      response: z.object({ token: SessionToken, session: Session, principal: Principal }),
      errors: ['LOGIN_REFUSED', 'TOO_MANY_ATTEMPTS'],
      timeoutMs: 5_000,
      idempotent: false,
    }),
    authenticate: procedure({
      summary: 'Checks a name and password under the limit on failed logins, without opening a session.',
      request: LoginAttempt,
      response: Principal,
      errors: ['LOGIN_REFUSED', 'TOO_MANY_ATTEMPTS'],
      timeoutMs: 5_000,
      idempotent: true,
    }),
    resolve: procedure({
      summary: 'Answers who a cookie stands for and renews its idle time.',
      request: z.object({ token: SessionToken }),
      response: z.object({ principal: Principal, session: Session }),
      errors: ['SESSION_UNKNOWN', 'SESSION_EXPIRED'],
      timeoutMs: 1_000,
      idempotent: true,
    }),
    logout: procedure({
      summary: 'Ends the session of a cookie; no session is no error.',
      request: z.object({ token: SessionToken }),
      response: z.object({ ended: z.boolean() }),
      errors: [],
      timeoutMs: 2_000,
      idempotent: true,
    }),
    list: procedure({
      summary: "Lists a principal's own live sessions, newest activity first.",
      request: z.object({ principalId: z.string() }),
      response: z.object({ sessions: z.array(Session) }),
      errors: [],
      timeoutMs: 2_000,
      idempotent: true,
    }),
    revoke: procedure({
      summary: "Ends one of a principal's own sessions.",
      request: z.object({ principalId: z.string(), id: SessionId }),
      response: z.object({}),
      errors: ['SESSION_NOT_FOUND'],
      timeoutMs: 2_000,
      idempotent: true,
    }),
    revokeAll: procedure({
      summary: "Ends all of a principal's sessions, on every device.",
      request: z.object({ principalId: z.string() }),
      response: z.object({ ended: z.number().int() }),
      errors: [],
      timeoutMs: 3_000,
      idempotent: true,
    }),
  },
});

export const sessionRevoked = defineEvent({
  service: 'session',
  version: 1,
  name: 'revoked',
  summary: 'One session (`sessionId`) or all sessions of a principal ended before their time.',
  payload: z.object({ principalId: z.string(), sessionId: SessionId.exactOptional() }),
});

export type Session = z.output<typeof Session>;
