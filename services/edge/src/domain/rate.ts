/** How often something may be done, by whom: a bucket each that fills again with time. */
import type { Clock } from './ports.ts';

export interface RateOptions {
  readonly clock: Clock;
  readonly burst: number;
  readonly perSecond: number;
  /** Buckets that are remembered; beyond it the oldest is forgotten. */
  readonly max: number;
}

interface Bucket {
  level: number;
  atMs: number;
}

export interface Rate {
  /** Answers whether it may be done now; if so, that counts. */
  may(who: string): boolean;
  /** What was done last is not to count. */
  giveBack(who: string): void;
}

export function createRate({ clock, burst, perSecond, max }: RateOptions): Rate {
  const buckets = new Map<string, Bucket>();
  return {
    may(who) {
      const nowMs = clock.nowMs();
      const bucket = buckets.get(who) ?? { level: burst, atMs: nowMs };
      buckets.delete(who);
      if (buckets.size >= max) buckets.delete(buckets.keys().next().value ?? '');
      buckets.set(who, bucket);
      bucket.level = Math.min(burst, bucket.level + (Math.max(0, nowMs - bucket.atMs) / 1_000) * perSecond);
      bucket.atMs = nowMs;
      if (bucket.level < 1) return false;
      bucket.level -= 1;
      return true;
    },
    giveBack(who) {
      const bucket = buckets.get(who);
      if (bucket !== undefined) bucket.level = Math.min(burst, bucket.level + 1);
    },
  };
}
