import type { NatsConnection } from '@nats-io/transport-node';
import { authService } from '@postern/contracts/auth';
import { isFailure } from '@postern/contracts/failure';
import { createClient } from '@postern/rpc/client';
import type { Registry } from 'prom-client';

import type { Passwords } from '../domain/ports.ts';

export function createAuthPasswords(bus: NatsConnection, metrics: Registry): Passwords {
  const auth = createClient(bus, authService, { metrics });
  return {
    async verify(credential, { signal, remainingMs, requestId }) {
      try {
        return { kind: 'proved', principal: await auth.verifyPassword(credential, { signal, remainingMs, requestId }) };
      } catch (error) {
        if (isFailure(error, 'CREDENTIAL_INVALID')) return { kind: 'refused' };
        throw error;
      }
    },
  };
}
