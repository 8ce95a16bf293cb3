import type { Deadline } from './ports.ts';

/** A deadline `ms` from now, on the clock that never jumps. */
export function deadlineIn(ms: number): Deadline {
  const end = performance.now() + ms;
  return { remainingMs: () => end - performance.now() };
}
