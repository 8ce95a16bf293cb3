import type { Measured } from './wrk.ts';

/** A line of the table in docs/benchmarks.md. */
export interface Row {
  readonly path: string;
  readonly what: string;
  readonly measured: string;
  readonly ratio?: string;
  readonly bar?: string;
}

/** Measures one path and notes what it finds. */
export type Part = (note: (row: Row) => void, seconds: number) => Promise<void>;

export const shown = ({ requestsPerSecond, p50Ms, p99Ms, failures }: Measured): string =>
  `${Math.round(requestsPerSecond)}/s, p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms${failures > 0 ? `, ${failures} failed` : ''}`;
