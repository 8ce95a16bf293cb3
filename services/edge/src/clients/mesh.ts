/** What the edge hears on the bus: replicas that announce themselves, and credentials that end. */
import { credentialRevoked } from '@postern/contracts/auth';
import type { ReplicaAnnounced } from '@postern/contracts/mesh';
import { replicaAnnounced } from '@postern/contracts/mesh';
import { sessionRevoked } from '@postern/contracts/session';
import type { NatsConnection } from '@nats-io/transport-node';
import { listen } from '@postern/rpc/events';
import type { Logger } from 'pino';

import type { Revocation } from '../domain/ports.ts';

export interface MeshEars {
  readonly replicas: { hear(announced: ReplicaAnnounced): void };
  forget(revocation: Revocation): void;
  /** News may have been missed: what is remembered may have ended. */
  forgetAll(): void;
}

export function hearMesh(bus: NatsConnection, log: Logger, ears: MeshEars): Disposable {
  const scope = new DisposableStack();
  scope.use(listen(bus, replicaAnnounced, log, (payload) => ears.replicas.hear(payload)));
  scope.use(listen(bus, credentialRevoked, log, (payload) => ears.forget(payload)));
  scope.use(listen(bus, sessionRevoked, log, (payload) => ears.forget(payload)));
  void watchForGaps(bus, ears);
  return scope;
}

async function watchForGaps(bus: NatsConnection, ears: MeshEars): Promise<void> {
  for await (const { type } of bus.status()) {
    if (type === 'disconnect' || type === 'staleConnection' || type === 'reconnect' || type === 'slowConsumer') ears.forgetAll();
  }
}
