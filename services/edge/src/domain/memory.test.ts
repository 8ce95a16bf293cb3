import type { Principal } from '@postern/contracts/common';
import { principalOf } from '@postern/testkit/principals';
import fc from 'fast-check';
import { expect, test } from 'vitest';

import { createAssertionMemory, createIdentityMemory, createRevocationWatches, tupleKey } from './memory.ts';
import type { Verdict } from './ports.ts';

const call = { requestId: 'r1', remainingMs: 1_000 };

const principal = (changes: Partial<Principal> = {}): Principal => principalOf('alice', { id: 'p1', ...changes });

const verdict = (changes: Partial<Principal> = {}): Verdict => ({ kind: 'principal', principal: principal(changes) });

const setUp = () => {
  const clock = { now: 1_000_000, nowMs: () => clock.now };
  return { clock, memory: createIdentityMemory({ clock, ttlMs: 5_000, max: 3 }) };
};

/** imm-027, imm-051 */
test('two different tuples never share a key', () => {
  const tuple = fc.array(fc.string(), { maxLength: 4 });
  fc.assert(
    fc.property(tuple, tuple, (one, other) => {
      expect(tupleKey(...one) === tupleKey(...other)).toBe(JSON.stringify(one) === JSON.stringify(other));
    }),
  );
  expect(tupleKey('a', 'bc')).not.toBe(tupleKey('ab', 'c'));
});

test('a principal is remembered for five seconds and not a millisecond longer', async () => {
  const { clock, memory } = setUp();
  await memory.learn('k', async () => verdict());
  clock.now += 4_999;
  expect(memory.recall('k')?.name).toBe('alice');
  clock.now += 1;
  expect(memory.recall('k')).toBeUndefined();
});

test('a credential that ends sooner is forgotten when it ends', async () => {
  const { clock, memory } = setUp();
  await memory.learn('k', async () => verdict({ expiresAt: 1_002 }));
  clock.now = 1_001_999;
  expect(memory.recall('k')).toBeDefined();
  clock.now = 1_002_000;
  expect(memory.recall('k')).toBeUndefined();
});

test('a denial, and a server that is away, are never remembered', async () => {
  const { memory } = setUp();
  let asked = 0;
  const deny = async (): Promise<Verdict> => {
    asked += 1;
    return { kind: 'refused' };
  };
  await memory.learn('k', deny);
  await memory.learn('k', deny);
  expect(asked).toBe(2);
  await expect(memory.learn('k', () => Promise.reject(new TypeError('away')))).rejects.toThrow('away');
  expect((await memory.learn('k', async () => verdict())).kind).toBe('principal');
});

test('all who ask the same at once share one question', async () => {
  const { memory } = setUp();
  let asked = 0;
  const { promise, resolve } = Promise.withResolvers<Verdict>();
  const ask = (): Promise<Verdict> => {
    asked += 1;
    return promise;
  };
  const answers = [memory.learn('k', ask), memory.learn('k', ask), memory.learn('other', ask)];
  resolve(verdict());
  await Promise.all(answers);
  expect(asked).toBe(2);
});

test.each([
  ['the principal', { principalId: 'p1' }, true],
  ['its key', { principalId: 'p1', tokenId: 't1' }, true],
  ['its session', { principalId: 'p1', sessionId: 's1' }, true],
  ['another key of it', { principalId: 'p1', tokenId: 't2' }, false],
  ['another session of it', { principalId: 'p1', sessionId: 's2' }, false],
  ['somebody else', { principalId: 'p2' }, false],
])('news about %s forgets it: %s', async (_what, revocation, forgets) => {
  const { memory } = setUp();
  await memory.learn('k', async () => verdict({ tokenId: 't1', sessionId: 's1' }));
  memory.forget(revocation);
  expect(memory.recall('k') === undefined).toBe(forgets);
});

/** An answer that auth gave before it revoked must not outlive the news that overtook it. */
test('an answer that was under way while its credential was revoked is asked for again', async () => {
  const { memory } = setUp();
  const first = Promise.withResolvers<Verdict>();
  const answers = [first.promise, Promise.resolve<Verdict>({ kind: 'refused' })];
  const learnt = memory.learn('k', () => answers.shift() ?? Promise.reject(new TypeError('asked too often')));
  memory.forget({ principalId: 'p1' });
  first.resolve(verdict());
  expect((await learnt).kind).toBe('refused');
  expect(memory.recall('k')).toBeUndefined();
});

test('what was under way when everything was forgotten is not remembered', async () => {
  const { memory } = setUp();
  const learnt = memory.learn('k', async () => {
    memory.clear();
    return verdict();
  });
  await learnt;
  expect(memory.recall('k')).toBeUndefined();
});

test('the memory is bounded: the oldest goes', async () => {
  const { memory } = setUp();
  for (const key of ['a', 'b', 'c', 'd']) await memory.learn(key, async () => verdict());
  expect(['a', 'b', 'c', 'd'].map((key) => memory.recall(key) !== undefined)).toEqual([false, true, true, true]);
});

const mintCounted = (clock: { nowMs(): number }) => {
  const state = { minted: 0 };
  const memory = createAssertionMemory(
    async (_principal, audience) => {
      state.minted += 1;
      return { assertion: `${audience}.${state.minted}`, expiresAt: Math.floor(clock.nowMs() / 1_000) + 30 };
    },
    { clock, max: 2 },
  );
  return { state, memory };
};

test('an assertion serves one principal at one service, until eight seconds before its end', async () => {
  const { clock } = setUp();
  const { memory, state } = mintCounted(clock);
  expect(await memory.assertionFor(principal(), 'sql', call)).toBe('sql.1');
  expect(await memory.assertionFor(principal(), 'sql', call)).toBe('sql.1');
  expect(await memory.assertionFor(principal(), 'auth', call)).toBe('auth.2');
  expect(await memory.assertionFor(principal({ scopes: [] }), 'sql', call)).toBe('sql.3');
  clock.now += 21_999;
  expect(await memory.assertionFor(principal({ scopes: [] }), 'sql', call)).toBe('sql.3');
  clock.now += 1;
  expect(await memory.assertionFor(principal({ scopes: [] }), 'sql', call)).toBe('sql.4');
  memory.forget({ principalId: 'p1' });
  expect(await memory.assertionFor(principal({ scopes: [] }), 'sql', call)).toBe('sql.5');
  expect(state.minted).toBe(5);
});

test('a watch hears what ends while it is open, and nothing of others or of before', () => {
  const watches = createRevocationWatches();
  watches.hear({ principalId: 'p' });
  const watch = watches.begin();
  const alice = principal({ id: 'p', tokenId: 't' });
  expect(watch.concerns(alice)).toBe(false);
  watches.hear({ principalId: 'q' });
  watches.hear({ principalId: 'p', tokenId: 'another' });
  expect(watch.concerns(alice)).toBe(false);
  watches.hear({ principalId: 'p', tokenId: 't' });
  expect(watch.concerns(alice)).toBe(true);
  watch.forget();
  expect(watch.concerns(alice)).toBe(false);
  let told = 0;
  watch.onceConcerned(alice, () => (told += 1));
  watches.hear({ principalId: 'q' });
  expect(told).toBe(0);
  watches.missed();
  watches.missed();
  expect([told, watch.concerns(principal({ id: 'q' }))]).toEqual([1, true]);
});

test('a watch that heard too much takes everybody for ended, and one that is closed hears nothing', () => {
  const watches = createRevocationWatches();
  const watch = watches.begin();
  for (let count = 0; count < 1_001; count += 1) watches.hear({ principalId: `other-${count}` });
  expect(watch.concerns(principal({ id: 'p' }))).toBe(true);
  watch.forget();
  watch[Symbol.dispose]();
  watches.hear({ principalId: 'p' });
  expect(watch.concerns(principal({ id: 'p' }))).toBe(false);
});
