import type { ReplicaAnnounced } from '@postern/contracts/mesh';
import fc from 'fast-check';
import { expect, test } from 'vitest';

import { createReplicas } from './replicas.ts';

const setUp = () => {
  const clock = { now: 0, nowMs: () => clock.now };
  const replicas = createReplicas(clock, 3_500);
  const hear = (
    replicaId: string,
    state: ReplicaAnnounced['state'] = 'ready',
    service: ReplicaAnnounced['service'] = 'sql',
  ): void => replicas.hear({ service, replicaId, state, url: `http://127.0.0.1/${replicaId}` });
  return { clock, replicas, hear };
};

test('a replica serves while it says so, and not after 3.5 s of silence', () => {
  const { clock, replicas, hear } = setUp();
  expect(replicas.hasReady('sql')).toBe(false);
  hear('a');
  expect(replicas.hasReady('sql')).toBe(true);
  expect(replicas.hasReady('auth')).toBe(false);
  clock.now = 3_500;
  expect(replicas.take('sql')?.replicaId).toBe('a');
  clock.now = 3_501;
  expect(replicas.hasReady('sql')).toBe(false);
  expect(replicas.take('sql')).toBeUndefined();
});

test.each(['unready', 'draining'] as const)('a replica that is %s takes nothing new', (state) => {
  const { replicas, hear } = setUp();
  hear('a');
  hear('a', state);
  expect(replicas.take('sql')).toBeUndefined();
  hear('a');
  expect(replicas.take('sql')).toBeDefined();
});

test('a service without a door is ready, and takes no requests', () => {
  const { replicas } = setUp();
  replicas.hear({ service: 'session', replicaId: 's', state: 'ready' });
  expect(replicas.hasReady('session')).toBe(true);
  expect(replicas.take('session')).toBeUndefined();
});

test('a request goes to the replica with the fewest under way, and equals take turns', () => {
  const { replicas, hear } = setUp();
  hear('a');
  hear('b');
  hear('c');
  const taken = Array.from({ length: 6 }, () => replicas.take('sql'));
  expect(taken.map((replica) => replica?.replicaId ?? '').toSorted()).toEqual(['a', 'a', 'b', 'b', 'c', 'c']);
  const freed = taken.find((replica) => replica?.replicaId === 'b');
  freed?.release();
  freed?.release();
  expect(replicas.take('sql')?.replicaId).toBe('b');
  expect(new Set([1, 2, 3].map(() => replicas.take('sql')?.replicaId)).size).toBe(3);
});

test('one that could not be reached is left alone until it is heard again, and one that was tried is not tried twice', () => {
  const { replicas, hear } = setUp();
  hear('a');
  const taken = replicas.take('sql');
  taken?.suspect();
  taken?.release();
  expect(replicas.take('sql')).toBeUndefined();
  hear('a');
  expect(replicas.take('sql', new Set(['a']))).toBeUndefined();
  expect(replicas.take('sql', new Set(['b']))?.replicaId).toBe('a');
});

test('whatever is announced, only what was last said to be ready within the time is ever taken', () => {
  const step = fc.record({
    id: fc.constantFrom('a', 'b', 'c'),
    state: fc.constantFrom('ready' as const, 'unready' as const, 'draining' as const),
    afterMs: fc.integer({ min: 0, max: 2_000 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const { clock, replicas, hear } = setUp();
      const said = new Map<string, { state: string; at: number }>();
      for (const { id, state, afterMs } of steps) {
        clock.now += afterMs;
        hear(id, state);
        said.set(id, { state, at: clock.now });
        const able = [...said]
          .filter(([, known]) => known.state === 'ready' && clock.now - known.at <= 3_500)
          .map(([name]) => name);
        const taken = replicas.take('sql');
        expect(able.length === 0 ? taken === undefined : able.includes(taken?.replicaId ?? '')).toBe(true);
      }
    }),
  );
});

test('the preferred replica is taken while it can be, however busy it is, and another when it cannot', () => {
  const { replicas, hear } = setUp();
  hear('a');
  hear('b');
  for (let count = 0; count < 3; count += 1) expect(replicas.take('sql', undefined, 'b')?.replicaId).toBe('b');
  expect(replicas.take('sql', new Set(['b']), 'b')?.replicaId).toBe('a');
  hear('b', 'draining');
  expect(replicas.take('sql', undefined, 'b')?.replicaId).toBe('a');
  expect(replicas.take('sql', undefined, 'never heard of')?.replicaId).toBe('a');
});
