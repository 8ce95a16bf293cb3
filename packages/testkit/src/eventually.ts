import { setTimeout as delay } from 'node:timers/promises';

export interface EventuallyOptions {
  readonly timeoutMs?: number | undefined;
  readonly intervalMs?: number | undefined;
}

/**
 * Asks until `check` neither throws nor answers `false`, and passes its answer on; at the end of the time it fails as the
 * last attempt did. The time is what a machine may take that is busy with other things: whoever states a limit names it.
 */
export async function eventually<T>(check: () => T | Promise<T>, options: EventuallyOptions = {}): Promise<T> {
  const { timeoutMs = 30_000, intervalMs = 20 } = options;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      const answer = await check();
      if (answer !== false || performance.now() > deadline) {
        if (answer === false) throw new Error(`still not so after ${timeoutMs} ms`);
        return answer;
      }
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    await delay(intervalMs);
  }
}
