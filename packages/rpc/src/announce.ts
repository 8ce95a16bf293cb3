import type { ReplicaAnnounced, ServiceName } from '@postern/contracts/mesh';
import { ANNOUNCE_INTERVAL_MS, replicaAnnounced } from '@postern/contracts/mesh';
import type { NatsConnection } from '@nats-io/transport-node';
import { setTimeout as delay } from 'node:timers/promises';

import { emit } from './events.ts';

export interface AnnounceOptions {
  readonly replicaId: string;
  /** Origin at which the edge reaches this replica's inner door. */
  readonly url?: string | undefined;
  /** Whether this replica can work now; asked each second, and more often while it cannot. */
  readonly isReady: () => Promise<boolean>;
}

/** Long enough for every edge to hear that a replica drains before its door shuts. */
const DRAIN_NOTICE_MS = 250;

/** How soon a replica that cannot work yet is asked again: nobody is to wait a second for what took a moment. */
const UNREADY_INTERVAL_MS = 100;

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
  let told: ReplicaAnnounced['state'] | undefined;
  let toldAtMs = -Infinity;
  const beat = async (): Promise<void> => {
    const ready = await options.isReady().catch(() => false);
    const state = ready ? 'ready' : 'unready';
    const due = performance.now() - toldAtMs >= ANNOUNCE_INTERVAL_MS - UNREADY_INTERVAL_MS;
    if (stopped.signal.aborted || (state === told && !due)) return;
    tell(state);
    told = state;
    toldAtMs = performance.now();
  };
  const keepTelling = async (): Promise<void> => {
    while (!stopped.signal.aborted) {
      await beat();
      const pauseMs = told === 'ready' ? ANNOUNCE_INTERVAL_MS : UNREADY_INTERVAL_MS;
      await delay(pauseMs, undefined, { signal: stopped.signal }).catch(() => {});
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
