import type { Clock } from '../src/domain/ports.ts';

export interface TestClock extends Clock {
  advance(ms: number): void;
}

/** Stands still unless told. It begins at a real time, as a session's credential may end at one. */
export function createTestClock(startMs = Date.UTC(2030, 0, 1)): TestClock {
  let nowMs = startMs;
  return {
    now: () => nowMs,
    advance(ms) {
      nowMs += ms;
    },
  };
}
