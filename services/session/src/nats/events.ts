import type { NatsConnection } from '@nats-io/transport-node';
import { credentialRevoked } from '@postern/contracts/auth';
import { sessionRevoked } from '@postern/contracts/session';
import { emit, listen } from '@postern/rpc/events';
import type { Logger } from 'pino';

import type { TellEnded } from '../domain/ports.ts';
import type { Revocations } from '../domain/revocations.ts';

export const createTellEnded =
  (bus: NatsConnection): TellEnded =>
  (ended) =>
    emit(bus, sessionRevoked, ended);

/** Every replica hears it, and whoever is first ends the sessions. An API key opens none, so its end ends none. */
export const hearRevocations = (bus: NatsConnection, revocations: Revocations, log: Logger): Disposable =>
  listen(bus, credentialRevoked, log, ({ principalId, tokenId }) => {
    if (tokenId === undefined) revocations.revoke(principalId);
  });
