import type { Session, sessionService } from '@postern/contracts/session';
import type { Handlers } from '@postern/rpc/serve';

import type { Logins } from '../domain/logins.ts';
import type { LiveSession, Sessions } from '../domain/sessions.ts';

export interface HandlersOptions {
  readonly logins: Logins;
  readonly sessions: Sessions;
}

export function createHandlers({ logins, sessions }: HandlersOptions): Handlers<typeof sessionService> {
  return {
    async login(request, call) {
      const login = await logins.logIn(request, call);
      switch (login.kind) {
        case 'opened':
          return { token: login.token, session: presentSession(login.session), principal: login.session.principal };
        case 'refused':
          throw call.fail('LOGIN_REFUSED');
        case 'locked':
          throw call.fail('TOO_MANY_ATTEMPTS', { retryAfterSeconds: login.retryAfterSeconds });
        case 'unsettled':
          throw call.fail('UNAVAILABLE', { retryAfterSeconds: 1 });
      }
    },

    async authenticate(request, call) {
      const proof = await logins.prove(request, call);
      switch (proof.kind) {
        case 'proved':
          return proof.principal;
        case 'refused':
          throw call.fail('LOGIN_REFUSED');
        case 'locked':
          throw call.fail('TOO_MANY_ATTEMPTS', { retryAfterSeconds: proof.retryAfterSeconds });
      }
    },

    async resolve({ token }, call) {
      const found = await sessions.resolve(token);
      switch (found.kind) {
        case 'live':
          return { principal: found.session.principal, session: presentSession(found.session) };
        case 'expired':
          throw call.fail('SESSION_EXPIRED');
        case 'unknown':
          throw call.fail('SESSION_UNKNOWN');
      }
    },

    logout: async ({ token }) => ({ ended: await sessions.close(token) }),

    list: async ({ principalId }) => ({ sessions: (await sessions.list(principalId)).map(presentSession) }),

    async revoke({ principalId, id }, call) {
      if (!(await sessions.end(principalId, id))) throw call.fail('SESSION_NOT_FOUND');
      return {};
    },

    revokeAll: async ({ principalId }) => ({ ended: await sessions.endAll(principalId) }),
  };
}

/** The contract tells times in whole seconds. */
const presentSession = ({ id, createdAtMs, lastActivityAtMs, endsAtMs, client }: LiveSession): Session => ({
  id,
  createdAt: Math.floor(createdAtMs / 1_000),
  lastActivityAt: Math.floor(lastActivityAtMs / 1_000),
  expiresAt: Math.floor(endsAtMs / 1_000),
  client,
});
