import { principalOf } from '@postern/testkit/principals';
import { expect, test } from 'vitest';

import type { KeepOptions, Keeping, Kept, KeptAnswer } from './keeping.ts';
import type { SqlError } from './entries.ts';
import type { RunOptions } from './ports.ts';
import { createDesk } from './statements-desk.ts';

interface Work {
  readonly options: KeepOptions;
  readonly stopped: SqlError[];
  isAbandoned: boolean;
  begin(): void;
  end(kept: Kept): void;
  fail(error: unknown): void;
}

function world() {
  const works: Work[] = [];
  const failures: unknown[] = [];
  const clock = { time: 0, now: () => clock.time };
  const desk = createDesk({
    keeper: {
      keep(options): Keeping {
        const begun = Promise.withResolvers<void>();
        const outcome = Promise.withResolvers<Kept>();
        const work: Work = {
          options,
          stopped: [],
          isAbandoned: false,
          begin: begun.resolve,
          end: outcome.resolve,
          fail: outcome.reject,
        };
        works.push(work);
        return {
          begun: begun.promise,
          outcome: outcome.promise,
          stop: (error) => void work.stopped.push(error),
          abandon: () => {
            work.isAbandoned = true;
            outcome.resolve({ kind: 'abandoned' });
          },
        };
      },
    },
    limits: { perPrincipal: 2, total: 3, keptMs: 1_000, runMs: 500 },
    clock,
    wall: () => 1_000_000 + clock.time,
    newId: () => `r.${works.length}`,
    newRoom: () => ({ take: () => {}, giveBack: () => {} }),
    failed: (error) => void failures.push(error),
  });
  const begin = async (principalId: string, tokenId?: string) => {
    const beginning = desk.begin(asked(principalId, tokenId));
    works.at(-1)?.begin();
    const begun = await beginning;
    if (begun.kind !== 'begun') throw new TypeError(begun.kind);
    return begun.statement;
  };
  const work = (at: number): Work => works.at(at) ?? expect.fail('no such work');
  return { desk, works, work, failures, clock, begin };
}

const asked = (principalId: string, tokenId?: string): RunOptions => {
  const principal = principalOf(principalId, { id: principalId, method: 'apiKey', ...(tokenId !== undefined && { tokenId }) });
  return { caller: { principal, assertion: '' }, request: { kind: 'simple', query: 'select 1' }, settings: new Map() };
};

function answer(failure?: SqlError): KeptAnswer & { readonly disposals: { count: number } } {
  const disposals = { count: 0 };
  async function* nothing(): AsyncGenerator<Buffer> {}
  return {
    length: 14,
    whole: undefined,
    pieces: nothing,
    range: nothing,
    entries: [],
    failure,
    disposals,
    dispose: async () => {
      disposals.count += 1;
    },
  };
}

test('what runs is told to run for as long as it may, and expires that much later than its end', async () => {
  const { work, clock, begin } = world();
  const statement = await begin('a');
  expect(work(0).options.limitMs).toBe(500);
  expect(statement.state).toMatchObject({ status: 'running', createdAt: 1_000_000, endedAt: undefined, expiresAt: 1_001_500 });
  clock.time = 100;
  work(0).end({ kind: 'kept', answer: answer() });
  await statement.ended;
  expect(statement.state).toMatchObject({ status: 'succeeded', endedAt: 1_000_100, expiresAt: 1_001_100 });
});

test('it is gone one millisecond after it has expired at the latest, whoever looks first', async () => {
  const { desk, work, clock, begin } = world();
  const [one, two] = [await begin('a'), await begin('a')];
  const answers = [answer(), answer()];
  for (const [at, kept] of answers.entries()) work(at).end({ kind: 'kept', answer: kept });
  await Promise.all([one.ended, two.ended]);
  clock.time = 999;
  desk.sweep();
  expect(desk.find('a', one.state.id)).toBe(one);
  clock.time = 1_000;
  expect(desk.list('a')).toEqual([]);
  expect(desk.find('a', one.state.id)).toBeUndefined();
  desk.sweep();
  expect(answers.map(({ disposals }) => disposals.count)).toEqual([1, 1]);
  expect(desk.counts()).toEqual({ running: 0, kept: 0 });
});

test('results that are being read stay until they have been', async () => {
  const { desk, work, begin } = world();
  const statement = await begin('a');
  const kept = answer();
  work(0).end({ kind: 'kept', answer: kept });
  await statement.ended;
  const [first, second] = [statement.open(), statement.open()];
  desk.forget('a', statement.state.id);
  expect(statement.open()).toBeUndefined();
  first?.done();
  first?.done();
  expect(kept.disposals.count).toBe(0);
  second?.done();
  expect(kept.disposals.count).toBe(1);
});

test('what was forgotten while it ran leaves nothing, even if it ends well', async () => {
  const { desk, work, begin } = world();
  const statement = await begin('a');
  const kept = answer();
  work(0).end({ kind: 'kept', answer: kept });
  desk.forget('a', statement.state.id);
  await statement.ended;
  expect(work(0).isAbandoned).toBe(true);
  expect(kept.disposals.count).toBe(1);
});

test('canceled is what was canceled and failed; what had ended before is what it was', async () => {
  const { work, begin } = world();
  const [one, two] = [await begin('a'), await begin('b')];
  one.cancel();
  two.cancel();
  const failure = { message: 'canceling statement due to user request', code: '57014' };
  expect(work(0).stopped).toEqual([failure]);
  work(0).end({ kind: 'kept', answer: answer(failure) });
  work(1).end({ kind: 'kept', answer: answer() });
  await Promise.all([one.ended, two.ended]);
  expect([one.state.status, two.state.status]).toEqual(['canceled', 'succeeded']);
});

test('one that is turned away before it runs takes no place; a service that is away is not its end', async () => {
  const { desk, works, work, failures, begin } = world();
  const notOne = { kind: 'notOneStatement', query: 'a;b', count: 2 } as const;
  const turned = desk.begin(asked('a'));
  work(0).end(notOne);
  expect(await turned).toEqual(notOne);
  const thrown = desk.begin(asked('a'));
  work(1).fail('busy');
  await expect(thrown).rejects.toBe('busy');
  expect([desk.counts().kept, failures]).toEqual([0, []]);
  const later = await begin('a');
  work(2).fail('away');
  await later.ended;
  expect([later.state.status, later.state.error?.code, failures]).toEqual(['failed', '08006', ['away']]);
  await begin('a');
  expect((await desk.begin(asked('a'))).kind).toBe('full');
  expect(works).toHaveLength(4);
});

test('a break in which revocations may have been missed ends what runs, and what came with keys', async () => {
  const { desk, work, begin } = world();
  const [byKey, own, runs] = [await begin('a', 'k'), await begin('a'), await begin('b')];
  for (const at of [0, 1]) work(at).end({ kind: 'kept', answer: answer() });
  await Promise.all([byKey.ended, own.ended]);
  desk.revokeAll();
  expect(work(2).isAbandoned).toBe(true);
  expect([desk.find('a', byKey.state.id), desk.find('a', own.state.id), desk.find('b', runs.state.id)]).toEqual([
    undefined,
    own,
    undefined,
  ]);
});

test('at the end nothing begins, what runs may end until the deadline, and is canceled then', async () => {
  const { desk, work, begin } = world();
  const [quick, slow] = [await begin('a'), await begin('b')];
  const expired = Promise.withResolvers<void>();
  const drained = desk.drain(expired.promise);
  expect((await desk.begin(asked('c'))).kind).toBe('draining');
  work(0).end({ kind: 'kept', answer: answer() });
  await quick.ended;
  expect(work(1).stopped).toEqual([]);
  expired.resolve();
  await expired.promise;
  await Promise.resolve();
  expect(work(1).stopped).toMatchObject([{ code: '57P01' }]);
  work(1).end({ kind: 'kept', answer: answer(work(1).stopped[0]) });
  await drained;
  expect(slow.state.status).toBe('failed');
  expect(desk.counts()).toEqual({ running: 0, kept: 0 });
});
