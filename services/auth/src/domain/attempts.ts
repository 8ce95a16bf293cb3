/** Counts failures per person, so that a stolen session cannot be used to guess the password behind it. Per replica. */
import type { Clock } from './ports.ts';

const FAILURES_MAX = 10;
const WINDOW_MS = 60_000;
/** Beyond this many people at once the one counted first is forgotten. */
const REMEMBERED_MAX = 10_000;

export interface Attempts {
  /** Seconds until the next attempt may be made; 0 if it may be made now. */
  waitSeconds(personId: string): number;
  failed(personId: string): void;
}

export function createAttempts(clock: Clock): Attempts {
  const windows = new Map<string, { readonly endsAt: number; failures: number }>();
  return {
    waitSeconds(personId) {
      const window = windows.get(personId);
      if (window === undefined || window.failures < FAILURES_MAX) return 0;
      return Math.max(0, Math.ceil((window.endsAt - clock.now()) / 1_000));
    },
    failed(personId) {
      const window = windows.get(personId);
      if (window !== undefined && window.endsAt > clock.now()) {
        window.failures += 1;
        return;
      }
      windows.delete(personId);
      if (windows.size >= REMEMBERED_MAX) windows.delete(windows.keys().next().value ?? '');
      windows.set(personId, { endsAt: clock.now() + WINDOW_MS, failures: 1 });
    },
  };
}
