import type { ReplicaAnnounced, ServiceName } from '@postern/contracts/mesh';
import { ANNOUNCE_INTERVAL_MS, replicaAnnounced } from '@postern/contracts/mesh';
import type { NatsConnection } from '@nats-io/transport-node';
import { setTimeout as delay } from 'node:timers/promises';

import { emit } from './events.ts';

export interface AnnounceOptions {
  readonly replicaId: string;
  /** Origin at which the edge reaches this replica's inner door. */
  readonly url?: string | undefined;
  /** Whether this replica can work now; asked each second. */
  readonly isReady: () => Promise<boolean>;
}

/** Long enough for every edge to hear that a replica drains before its door shuts. */
const DRAIN_NOTICE_MS = 250;

/** Makes a replica known to the mesh until disposed; disposing says `draining` first and waits for it to be heard. */
export async function announce(bus: NatsConnection, service: ServiceName, options: AnnounceOptions): Promise<AsyncDisposable> {
  const tell = (state: ReplicaAnnounced['state']): void => {
    if (bus.isClosed()) return;
    emit(bus, replicaAnnounced, {
      service,
      replicaId: options.replicaId,
      state,
      ...(options.url !== undefined && { url: options.url }),
    });
  };
  const stopped = new AbortController();
  const beat = async (): Promise<void> => {
    const ready = await options.isReady().catch(() => false);
    if (!stopped.signal.aborted) tell(ready ? 'ready' : 'unready');
  };
  const keepTelling = async (): Promise<void> => {
    while (!stopped.signal.aborted) {
      await beat();
      await delay(ANNOUNCE_INTERVAL_MS, undefined, { signal: stopped.signal }).catch(() => {});
    }
  };
  await beat();
  const telling = keepTelling();
  return {
    async [Symbol.asyncDispose]() {
      stopped.abort();
      await telling;
      tell('draining');
      if (bus.isClosed()) return;
      await Promise.race([bus.flush().catch(() => {}), delay(DRAIN_NOTICE_MS)]);
      await delay(DRAIN_NOTICE_MS);
    },
  };
}
