import type { NatsConnection } from '@nats-io/transport-node';
import { credentialRevoked } from '@postern/contracts/auth';
import { emit } from '@postern/rpc/events';
import type { Logger } from 'pino';

import type { Revocations } from '../domain/ports.ts';

/**
 * Tells the mesh. News that gets lost on a bus that is away is made good by `mint`, which looks anew before it signs: what was
 * revoked is over when the last assertion is, 30 s later.
 */
export const createRevocations = (bus: NatsConnection, log: Logger): Revocations => ({
  announce(revoked) {
    try {
      emit(bus, credentialRevoked, revoked);
    } catch (err) {
      log.warn({ err, principalId: revoked.principalId }, 'revocation not announced');
    }
  },
});
