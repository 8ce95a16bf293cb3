import type { Readiness } from './routes/probes.ts';

export interface ReadinessSource extends Readiness {
  /** Something that readiness depends on may have changed. */
  changed(): void;
  drain(): void;
}

/** Whether the edge can serve, and those who wait until it can. */
export function createReadiness(check: () => boolean): ReadinessSource {
  const waiting = new Set<() => void>();
  let draining = false;
  const isReady = (): boolean => !draining && check();
  const release = (): void => {
    for (const go of waiting) go();
    waiting.clear();
  };
  return {
    isReady,
    whenReady(signal) {
      if (draining || signal.aborted || isReady()) return Promise.resolve();
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.add(resolve);
      signal.addEventListener('abort', () => {
        waiting.delete(resolve);
        resolve();
      });
      return promise;
    },
    changed() {
      if (waiting.size > 0 && isReady()) release();
    },
    drain() {
      draining = true;
      release();
    },
  };
}
