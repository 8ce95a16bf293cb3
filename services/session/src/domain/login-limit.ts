import { attemptKeys } from './attempt-keys.ts';
import type { AttemptStore, Clock, Patience, Pause, Reservation } from './ports.ts';

export type Admission =
  | { readonly kind: 'admitted'; readonly reservation: Reservation }
  | { readonly kind: 'locked'; readonly retryAfterSeconds: number };

export interface LoginLimit {
  /** Asks for one attempt before the password is looked at. Settle what is admitted, whatever comes of it. */
  admit(attempt: { readonly client: string; readonly name: string }, patience: Patience): Promise<Admission>;
  settle(reservation: Reservation, outcome: 'proved' | 'refused' | 'unanswered'): Promise<void>;
}

/** Left for checking the password once an attempt is admitted. */
const VERIFY_MS = 1_000;
const POLL_MS = 25;

export interface LoginLimitOptions {
  readonly store: AttemptStore;
  readonly clock: Clock;
  readonly pause: Pause;
}

export function createLoginLimit({ store, clock, pause }: LoginLimitOptions): LoginLimit {
  return {
    async admit(attempt, patience) {
      const keys = attemptKeys(attempt);
      for (;;) {
        const nowMs = clock.now();
        const outcome = await store.reserve(keys, nowMs);
        switch (outcome.kind) {
          case 'reserved':
            return { kind: 'admitted', reservation: outcome.reservation };
          case 'locked':
            return { kind: 'locked', retryAfterSeconds: Math.ceil((outcome.untilMs - nowMs) / 1_000) };
          case 'busy':
            // Right passwords that arrive together are no attack: each waits for its turn.
            if (patience.remainingMs <= VERIFY_MS) return { kind: 'locked', retryAfterSeconds: 1 };
            await pause(POLL_MS, patience.signal);
        }
      }
    },

    async settle(reservation, outcome) {
      switch (outcome) {
        case 'proved':
          return store.succeed(reservation, clock.now());
        case 'refused':
          return store.fail(reservation, clock.now());
        case 'unanswered':
          return store.release(reservation);
      }
    },
  };
}

/** Each lock is twice the one before, up to the longest. */
export function lockStepsMs(firstMs: number, longestMs: number): number[] {
  const steps = [Math.min(firstMs, longestMs)];
  for (let stepMs = firstMs * 2; (steps.at(-1) ?? longestMs) < longestMs; stepMs *= 2) steps.push(Math.min(stepMs, longestMs));
  return steps;
}
