import type { Pause } from './ports.ts';

export interface Revocations {
  /** Ends all sessions of a principal, as soon as the store lets it. */
  revoke(principalId: string): void;
}

export interface RevocationsOptions {
  readonly endAll: (principalId: string) => Promise<unknown>;
  readonly pause: Pause;
  readonly signal: AbortSignal;
  readonly onDelay: (error: unknown) => void;
}

const RETRY_MS = 250;
const RETRY_MS_MAX = 2_000;

/**
 * News that a credential was taken back is not lost while the store is away: it is carried out when it is there again. At
 * most one round per principal is under way.
 */
export function createRevocations({ endAll, pause, signal, onDelay }: RevocationsOptions): Revocations {
  /** Principals under way, and whether they were revoked again since their round began. */
  const underWay = new Map<string, { again: boolean }>();

  const carryOut = async (principalId: string, round: { again: boolean }): Promise<void> => {
    let retryMs = RETRY_MS;
    try {
      do {
        round.again = false;
        try {
          await endAll(principalId);
        } catch (error) {
          onDelay(error);
          round.again = true;
          await pause(retryMs, signal);
          retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
        }
      } while (round.again);
    } finally {
      underWay.delete(principalId);
    }
  };

  return {
    revoke(principalId) {
      const known = underWay.get(principalId);
      if (known !== undefined) {
        known.again = true;
        return;
      }
      const round = { again: false };
      underWay.set(principalId, round);
      // Only a stop breaks it off; the other replicas have heard the same news.
      carryOut(principalId, round).catch(() => {});
    },
  };
}
