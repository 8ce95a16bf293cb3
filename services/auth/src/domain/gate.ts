/** A bound on costly work: some at once, some waiting, the rest turned away at once. */
import type { Deadline } from './ports.ts';

export interface GateLimits {
  readonly atOnce: number;
  readonly waiting: number;
}

export type Passage<T> = { readonly kind: 'done'; readonly value: T } | { readonly kind: 'busy' } | { readonly kind: 'late' };

export interface Gate {
  /** `busy` if the queue is full; `late` if the turn came after the deadline: work nobody waits for is not done. */
  pass<T>(deadline: Deadline, work: () => Promise<T>): Promise<Passage<T>>;
  readonly waiting: number;
}

export function createGate(limits: GateLimits): Gate {
  const queue: (() => void)[] = [];
  let underWay = 0;
  const leave = (): void => {
    const next = queue.shift();
    if (next === undefined) underWay -= 1;
    else next();
  };
  const enter = async (): Promise<void> => {
    if (underWay < limits.atOnce) {
      underWay += 1;
      return;
    }
    const turn = Promise.withResolvers<void>();
    queue.push(turn.resolve);
    await turn.promise;
  };
  return {
    async pass(deadline, work) {
      if (underWay >= limits.atOnce && queue.length >= limits.waiting) return { kind: 'busy' };
      await enter();
      try {
        if (deadline.remainingMs() <= 0) return { kind: 'late' };
        return { kind: 'done', value: await work() };
      } finally {
        leave();
      }
    },
    get waiting() {
      return queue.length;
    },
  };
}
