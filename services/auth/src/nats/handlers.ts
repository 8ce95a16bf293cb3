import type { authService } from '@postern/contracts/auth';
import type { Principal } from '@postern/contracts/common';
import type { Failure, FailureOptions } from '@postern/contracts/failure';
import { ASSERTION_ISSUER, type VerifyAssertion } from '@postern/service-kit/assertion';
import type { Handlers } from '@postern/rpc/serve';

import { mintAssertion } from '../domain/assertions.ts';
import { createDeadlines } from '../domain/deadline.ts';
import type { Admission, Identities } from '../domain/identities.ts';
import type { Clock } from '../domain/ports.ts';
import type { SigningKeys } from '../domain/signing-keys.ts';
import { sealFor } from './seal.ts';

const deadlineIn = createDeadlines(() => performance.now());

export interface HandlersOptions {
  readonly identities: Identities;
  readonly signingKeys: SigningKeys;
  readonly clock: Clock;
  /** Of assertions that sql was sent. */
  readonly verifySqlAssertion: VerifyAssertion;
}

export function createHandlers({
  identities,
  signingKeys,
  clock,
  verifySqlAssertion,
}: HandlersOptions): Handlers<typeof authService> {
  return {
    async verifyPassword({ name, password }, call) {
      const found = await identities.verifyPassword(deadlineIn(call.remainingMs), name, password);
      switch (found.kind) {
        case 'known':
          return found.principal;
        case 'refused':
          throw call.fail('CREDENTIAL_INVALID');
        case 'busy':
          throw call.fail('UNAVAILABLE', { retryAfterSeconds: 1 });
        case 'late':
          throw call.fail('TIMEOUT');
      }
    },

    async verifyApiKey({ key }, call) {
      const found = await identities.verifyApiKey(deadlineIn(call.remainingMs), key);
      if (found.kind === 'refused') throw call.fail('CREDENTIAL_INVALID');
      return found.principal;
    },

    trust: async ({ name }, call) => admitted(await identities.trust(deadlineIn(call.remainingMs), name), call),

    admitExternal: async (token, call) => admitted(await identities.admitExternal(deadlineIn(call.remainingMs), token), call),

    async mint({ principal, audience }, call) {
      if (!(await identities.isStanding(deadlineIn(call.remainingMs), principal))) throw call.fail('ASSERTION_INVALID');
      const key = signingKeys.current();
      if (key === undefined) throw call.fail('UNAVAILABLE', { retryAfterSeconds: 1 });
      return mintAssertion(key, { principal, audience, issuer: ASSERTION_ISSUER }, clock);
    },

    publishKeys: async () => ({ keys: [...signingKeys.published()] }),

    async lendDatabaseLogin({ assertion, sealTo, refused = false }, call) {
      const loan = await identities.lendLogin(deadlineIn(call.remainingMs), await verifySqlAssertion(assertion), { refused });
      switch (loan.kind) {
        case 'gone':
          throw call.fail('CREDENTIAL_INVALID');
        case 'denied':
          throw call.fail('LOGIN_DENIED');
        case 'lent': {
          const sealedPassword = await sealFor(sealTo, loan.password);
          if (sealedPassword === undefined) {
            throw call.fail('INVALID_REQUEST', { issues: [{ pointer: '/sealTo/x', message: 'is no X25519 key' }] });
          }
          return { dbRole: loan.dbRole, sealedPassword };
        }
      }
    },
  };
}

interface Refuser {
  fail(code: 'NAME_RESERVED' | 'LOGIN_DENIED', options?: FailureOptions): Failure;
}

function admitted(admission: Admission, call: Refuser): Principal {
  switch (admission.kind) {
    case 'known':
      return admission.principal;
    case 'reserved':
      throw call.fail('NAME_RESERVED');
    case 'denied':
      throw call.fail('LOGIN_DENIED');
  }
}
