import type { Deadline } from './ports.ts';

/** Makes deadlines on a clock that never jumps, in milliseconds. */
export const createDeadlines =
  (elapsedMs: () => number) =>
  (ms: number): Deadline => {
    const end = elapsedMs() + ms;
    return { remainingMs: () => end - elapsedMs() };
  };
