/** Counts failures per person, so that a stolen session cannot be used to guess the password behind it. Per replica. */
import type { Clock } from './ports.ts';

const FAILURES_MAX = 10;
const WINDOW_MS = 60_000;
/** Beyond this many people at once the one counted first is forgotten. */
const REMEMBERED_MAX = 10_000;

export type Attempt =
  /** It counts as a failure until it is given back. */
  { readonly kind: 'reserved'; giveBack(): void } | { readonly kind: 'limited'; readonly waitSeconds: number };

export interface Attempts {
  /** Counted before it is made: of attempts at once, no more are made than of attempts in turn. */
  reserve(personId: string): Attempt;
}

export function createAttempts(clock: Clock): Attempts {
  const windows = new Map<string, { readonly endsAt: number; failures: number }>();
  const windowOf = (personId: string) => {
    const known = windows.get(personId);
    if (known !== undefined && known.endsAt > clock.now()) return known;
    windows.delete(personId);
    if (windows.size >= REMEMBERED_MAX) windows.delete(windows.keys().next().value ?? '');
    const opened = { endsAt: clock.now() + WINDOW_MS, failures: 0 };
    windows.set(personId, opened);
    return opened;
  };
  return {
    reserve(personId) {
      const window = windowOf(personId);
      if (window.failures >= FAILURES_MAX) {
        return { kind: 'limited', waitSeconds: Math.ceil((window.endsAt - clock.now()) / 1_000) };
      }
      window.failures += 1;
      return {
        kind: 'reserved',
        giveBack: () => {
          window.failures -= 1;
        },
      };
    },
  };
}
