import type { AttemptKeys, AttemptLimits, AttemptStore, Reservation } from '../src/domain/ports.ts';
import { randomUUID } from 'node:crypto';

interface Counter {
  failures: number[];
  underWay: Set<string>;
  lockedUntilMs: number;
  locks: number;
}

/** The counters of one process: passes the same suite as the ones in Redis. */
export function createMemoryAttemptStore({ max, windowMs, lockStepsMs }: AttemptLimits): AttemptStore {
  const counters = new Map<string, Counter>();
  const known = new Set<string>();
  const pair = ({ client, name }: AttemptKeys): string => JSON.stringify([client, name]);

  const countersOf = ({ client, name, ...rest }: AttemptKeys & { readonly known: boolean }): Counter[] =>
    [`c:${client}`, ...(rest.known ? [] : [`n:${name}`])].map((key) => {
      const counter = counters.get(key) ?? { failures: [], underWay: new Set(), lockedUntilMs: 0, locks: 0 };
      counters.set(key, counter);
      return counter;
    });
  const release = (reservation: Reservation): void => {
    for (const counter of countersOf(reservation)) counter.underWay.delete(reservation.ticket);
  };

  return {
    async reserve(keys, nowMs) {
      const reservation = { ...keys, ticket: randomUUID(), known: known.has(pair(keys)) };
      const counted = countersOf(reservation);
      const untilMs = Math.max(...counted.map((counter) => counter.lockedUntilMs));
      if (untilMs > nowMs) return { kind: 'locked', untilMs };
      for (const counter of counted) {
        counter.failures = counter.failures.filter((atMs) => atMs > nowMs - windowMs);
        if (counter.failures.length + counter.underWay.size >= max) return { kind: 'busy' };
      }
      for (const counter of counted) counter.underWay.add(reservation.ticket);
      return { kind: 'reserved', reservation };
    },

    async fail(reservation, nowMs) {
      release(reservation);
      for (const counter of countersOf(reservation)) {
        counter.failures = [...counter.failures.filter((atMs) => atMs > nowMs - windowMs), nowMs];
        if (counter.failures.length < max) continue;
        counter.lockedUntilMs = nowMs + (lockStepsMs[counter.locks] ?? lockStepsMs.at(-1) ?? windowMs);
        counter.locks += 1;
        counter.failures = [];
      }
    },

    async succeed(reservation) {
      release(reservation);
      known.add(pair(reservation));
    },

    release: async (reservation) => release(reservation),
  };
}
