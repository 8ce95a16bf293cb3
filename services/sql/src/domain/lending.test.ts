import { expect, test } from 'vitest';

import type { Borrowing, Lease, Lending, LendingLimits } from './lending.ts';
import { createLending } from './lending.ts';

interface Made {
  readonly role: string;
  isClosed: boolean;
}

function create(limits: Partial<LendingLimits> = {}) {
  const made: Made[] = [];
  const clock = { at: 0, now: () => clock.at };
  const gate = { opened: Promise.resolve() };
  const lending = createLending<Made, string>({
    limits: { perRole: 2, total: 3, waiting: 4, idleMs: 1_000, ...limits },
    clock,
    open: async (role, borrower) => {
      if (borrower === 'denied') throw new RangeError('denied');
      await gate.opened;
      const connection = { role, isClosed: false };
      made.push(connection);
      return connection;
    },
    close: (connection) => {
      expect(connection.isClosed).toBe(false);
      connection.isClosed = true;
    },
  });
  return { lending, made, clock, gate, openCount: () => made.filter((connection) => !connection.isClosed).length };
}

const forEver = (): Promise<void> => new Promise(() => {});
const atOnce = (): Promise<void> => Promise.resolve();

async function borrow(lending: Lending<Made, string>, role: string): Promise<Lease<Made>> {
  return lease(await lending.borrow(role, role, forEver));
}

function lease(borrowing: Borrowing<Made>): Lease<Made> {
  if (borrowing.kind !== 'lent') throw new RangeError('not lent');
  return borrowing.lease;
}

/** Lets promises that are settled be heard. */
const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
};

const clean = Promise.resolve(true);

test('a connection that comes back clean is lent to the same role again, and to no other', async () => {
  const { lending, made } = create();
  const first = await borrow(lending, 'alice');
  first.giveBack(clean);
  await settle();
  const second = await borrow(lending, 'bob');
  const third = await borrow(lending, 'alice');
  expect(second.connection.role).toBe('bob');
  expect(third.connection).toBe(first.connection);
  expect(made).toHaveLength(2);
});

test('a connection is not lent before its reset has ended, and never after a reset that failed', async () => {
  const { lending } = create();
  const reset = Promise.withResolvers<boolean>();
  const first = await borrow(lending, 'alice');
  first.giveBack(reset.promise);
  await settle();
  const second = await borrow(lending, 'alice');
  expect(second.connection).not.toBe(first.connection);
  reset.resolve(false);
  second.giveBack(Promise.reject(new RangeError('reset failed')));
  await settle();
  expect(first.connection.isClosed).toBe(true);
  expect(second.connection.isClosed).toBe(true);
  expect(lending.counts()).toEqual({ open: 0, idle: 0, waiting: 0 });
});

test('a role gets no more than its share; the next one waits and is served in turn', async () => {
  const { lending } = create();
  const [one, two] = [await borrow(lending, 'alice'), await borrow(lending, 'alice')];
  const order: string[] = [];
  const third = borrow(lending, 'alice').then((lent) => (order.push('third'), lent));
  const fourth = borrow(lending, 'alice').then((lent) => (order.push('fourth'), lent));
  await settle();
  expect(lending.counts()).toEqual({ open: 2, idle: 0, waiting: 2 });
  one.giveBack(clean);
  two.giveBack(clean);
  expect((await third).connection).toBe(one.connection);
  expect((await fourth).connection).toBe(two.connection);
  expect(order).toEqual(['third', 'fourth']);
});

test('when all are open, the longest idle one of another role makes room', async () => {
  const { lending, openCount } = create();
  const [alice, bob, carol] = [await borrow(lending, 'alice'), await borrow(lending, 'bob'), await borrow(lending, 'carol')];
  bob.giveBack(clean);
  await settle();
  alice.giveBack(clean);
  await settle();
  const dave = await borrow(lending, 'dave');
  expect(dave.connection.role).toBe('dave');
  expect(bob.connection.isClosed).toBe(true);
  expect(alice.connection.isClosed).toBe(false);
  expect(carol.connection.isClosed).toBe(false);
  expect(openCount()).toBe(3);
});

test('a role without a connection is not starved by busy ones', async () => {
  const { lending } = create();
  const [one, two] = [await borrow(lending, 'alice'), await borrow(lending, 'alice')];
  await borrow(lending, 'bob');
  const carol = borrow(lending, 'carol');
  const alice = borrow(lending, 'alice');
  one.giveBack(clean);
  expect((await carol).connection.role).toBe('carol');
  expect(one.connection.isClosed).toBe(true);
  two.giveBack(clean);
  expect((await alice).connection).toBe(two.connection);
});

test('who has waited for too long, or finds too many waiting, hears the limit that was in the way', async () => {
  const { lending } = create({ waiting: 1 });
  await borrow(lending, 'alice');
  await borrow(lending, 'alice');
  expect(await lending.borrow('alice', 'alice', atOnce)).toEqual({ kind: 'full', limit: 2, current: 2 });
  await borrow(lending, 'bob');
  void borrow(lending, 'carol');
  expect(await lending.borrow('bob', 'bob', forEver)).toEqual({ kind: 'full', limit: 3, current: 3 });
});

test('an attempt that fails takes no place, and the next one waiting is served', async () => {
  const { lending, gate } = create({ perRole: 1, total: 1 });
  const opened = Promise.withResolvers<void>();
  gate.opened = opened.promise;
  const failing = expect(lending.borrow('alice', 'denied', forEver)).rejects.toThrow('denied');
  const waiting = borrow(lending, 'bob');
  opened.resolve();
  await failing;
  expect((await waiting).connection.role).toBe('bob');
});

test('a revoked role loses its idle connections now and its lent ones when they come back', async () => {
  const { lending } = create();
  const [lent, idle, other] = [await borrow(lending, 'alice'), await borrow(lending, 'alice'), await borrow(lending, 'bob')];
  idle.giveBack(clean);
  await settle();
  expect(lending.revoke('alice')).toEqual([lent.connection]);
  expect(idle.connection.isClosed).toBe(true);
  lent.giveBack(clean);
  await settle();
  expect(lent.connection.isClosed).toBe(true);
  other.giveBack(clean);
  await settle();
  expect(other.connection.isClosed).toBe(false);
});

/** Otherwise a login that was void while it was being used would be lent on. */
test('a connection that was being opened when its role was revoked is opened anew', async () => {
  const { lending, made, gate } = create();
  const opened = Promise.withResolvers<void>();
  gate.opened = opened.promise;
  const borrowed = borrow(lending, 'alice');
  await settle();
  lending.revoke('alice');
  opened.resolve();
  const lent = await borrowed;
  expect(made).toHaveLength(2);
  expect(made[0]?.isClosed).toBe(true);
  expect(lent.connection).toBe(made[1]);
});

test('what has been idle for too long is closed', async () => {
  const { lending, clock } = create();
  const [one, two] = [await borrow(lending, 'alice'), await borrow(lending, 'alice')];
  one.giveBack(clean);
  await settle();
  clock.at = 900;
  two.giveBack(clean);
  await settle();
  clock.at = 1_000;
  lending.sweep();
  expect(one.connection.isClosed).toBe(true);
  expect(two.connection.isClosed).toBe(false);
});

test('after the end, nothing stays open', async () => {
  const { lending, openCount } = create();
  const [one, two] = [await borrow(lending, 'alice'), await borrow(lending, 'bob')];
  one.giveBack(clean);
  await settle();
  lending.shut();
  two.giveBack(clean);
  await settle();
  expect(openCount()).toBe(0);
});

test('the census tells of each connection whose it is, what is done with it and since when', async () => {
  const { lending, clock } = create();
  const [idle, lent, returning] = [await borrow(lending, 'alice'), await borrow(lending, 'alice'), await borrow(lending, 'bob')];
  clock.at = 100;
  idle.giveBack(clean);
  returning.giveBack(new Promise(() => {}));
  await settle();
  clock.at = 150;
  expect(lending.census()).toEqual([
    { role: 'alice', connection: idle.connection, state: 'idle', forMs: 50 },
    { role: 'alice', connection: lent.connection, state: 'lent', forMs: 150 },
    { role: 'bob', connection: returning.connection, state: 'returning', forMs: 50 },
  ]);
});
