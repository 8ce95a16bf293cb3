/** Which replicas there are, as they announce themselves, and which of them takes the next request. */
import type { ReplicaAnnounced, ServiceName } from '@postern/contracts/mesh';

import type { Clock } from './ports.ts';

export interface Replica {
  readonly replicaId: string;
  /** Origin of the inner door; absent for a service that has none. */
  readonly url: string | undefined;
}

/** A replica that a request is under way to. */
export interface Taken extends Replica {
  readonly url: string;
  /** `host:port` of the URL. */
  readonly host: string;
  /** The request has ended. */
  release(): void;
  /** The replica's door could not be reached: others are preferred until it announces itself again. */
  suspect(): void;
}

export interface Replicas {
  hear(announced: ReplicaAnnounced): void;
  hasReady(service: ServiceName): boolean;
  /**
   * Of the ready replicas with a door that are not in `except`: the preferred one, or else the one with the fewest requests
   * under way.
   */
  take(service: ServiceName, except?: ReadonlySet<string>, preferred?: string): Taken | undefined;
  /** Nothing is known any more. */
  clear(): void;
}

interface Known {
  readonly url: string | undefined;
  readonly host: string;
  state: ReplicaAnnounced['state'];
  heardAtMs: number;
  inFlight: number;
  takenAt: number;
}

/** The mesh speaks plain HTTP inside; a door of another kind is no door. */
function originOf(url: string): string | undefined {
  const { protocol, origin } = new URL(url);
  return protocol === 'http:' ? origin : undefined;
}

/** Of one service; far more than anybody runs. */
const REPLICAS_MAX = 1_000;

export function createReplicas(clock: Clock, expiryMs: number): Replicas {
  const services = new Map<ServiceName, Map<string, Known>>();
  let turn = 0;

  const isReady = (known: Known): boolean => known.state === 'ready' && clock.nowMs() - known.heardAtMs <= expiryMs;

  const forgetExpired = (replicas: Map<string, Known>): void => {
    for (const [id, known] of replicas) if (clock.nowMs() - known.heardAtMs > expiryMs) replicas.delete(id);
  };

  return {
    hear({ service, replicaId, url: announcedUrl, state }) {
      const url = announcedUrl === undefined ? undefined : originOf(announcedUrl);
      const replicas = services.get(service) ?? new Map<string, Known>();
      services.set(service, replicas);
      const known = replicas.get(replicaId);
      if (known !== undefined && known.url === url) {
        known.state = state;
        known.heardAtMs = clock.nowMs();
        return;
      }
      forgetExpired(replicas);
      if (replicas.size >= REPLICAS_MAX) return;
      const host = url === undefined ? '' : new URL(url).host;
      replicas.set(replicaId, { url, host, state, heardAtMs: clock.nowMs(), inFlight: 0, takenAt: 0 });
    },
    hasReady: (service) => [...(services.get(service)?.values() ?? [])].some(isReady),
    take(service, except, preferred) {
      let best: [string, Known, string] | undefined;
      for (const [id, known] of services.get(service) ?? []) {
        if (known.url === undefined || except?.has(id) === true || !isReady(known)) continue;
        if (id === preferred) {
          best = [id, known, known.url];
          break;
        }
        const chosen = best?.[1];
        if (
          chosen === undefined ||
          known.inFlight < chosen.inFlight ||
          (known.inFlight === chosen.inFlight && known.takenAt < chosen.takenAt)
        ) {
          best = [id, known, known.url];
        }
      }
      if (best === undefined) return undefined;
      const [replicaId, known, url] = best;
      turn += 1;
      known.takenAt = turn;
      known.inFlight += 1;
      let released = false;
      return {
        replicaId,
        url,
        host: known.host,
        release() {
          if (released) return;
          released = true;
          known.inFlight -= 1;
        },
        suspect() {
          if (known.state === 'ready') known.state = 'unready';
        },
      };
    },
    clear: () => services.clear(),
  };
}
