import type { Principal } from '@postern/contracts/common';
import { principalOf } from '@postern/testkit/principals';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import type { Lifetimes, LiveSocket } from './lifetime.ts';
import { createLifetimes, SOCKETS_MAX } from './lifetime.ts';

beforeEach(() => void vi.useFakeTimers({ now: 1_000_000 }));
afterEach(() => void vi.useRealTimers());

interface Watched {
  readonly told: (readonly [number, string] | 'drain')[];
  readonly closed: () => void;
}

const start = (): Lifetimes => createLifetimes({ drainMs: 5_000, now: () => Date.now() });

function watch(lifetimes: Lifetimes, principal: Partial<Principal> = {}): Watched {
  const told: Watched['told'] = [];
  const socket: LiveSocket = {
    principal: principalOf('alice', principal),
    end: (code, reason) => void told.push([code, reason]),
    drain: () => void told.push('drain'),
  };
  return { told, closed: lifetimes.add(socket) };
}

test('one person has so many sockets, and room again when one of them has closed', () => {
  const lifetimes = start();
  const [alice, bob] = [principalOf('alice'), principalOf('bob')];
  const opened = Array.from({ length: SOCKETS_MAX }, () => {
    lifetimes.requireRoom(alice);
    return watch(lifetimes);
  });
  const full = expect.objectContaining({ code: 'SQL_SOCKETS_LIMIT' }) as Error;
  expect(() => lifetimes.requireRoom(alice)).toThrow(full);
  lifetimes.requireRoom(bob);
  opened[0]?.closed();
  opened[0]?.closed();
  lifetimes.requireRoom(alice);
  watch(lifetimes);
  expect(() => lifetimes.requireRoom(alice)).toThrow(full);
});

test('a revoked person loses all sockets, a revoked token its own', () => {
  const lifetimes = start();
  const [password, one, two, bob] = [{}, { tokenId: '1' }, { tokenId: '2' }, { id: 'id-bob' }].map((principal) =>
    watch(lifetimes, principal),
  );
  lifetimes.credentialRevoked({ principalId: 'id-alice', tokenId: '1' });
  expect([password, one, two, bob].map((socket) => socket?.told.length)).toEqual([0, 1, 0, 0]);
  lifetimes.credentialRevoked({ principalId: 'id-alice' });
  expect([password, one, two, bob].map((socket) => socket?.told.length)).toEqual([1, 2, 1, 0]);
  expect(one?.told[0]).toEqual([4401, 'the credential was revoked']);
});

test('a session that ended takes its sockets, and not those of who came without one', () => {
  const lifetimes = start();
  const [none, one, two] = [{}, { sessionId: '1' }, { sessionId: '2' }].map((principal) => watch(lifetimes, principal));
  lifetimes.sessionRevoked({ principalId: 'id-alice', sessionId: '1' });
  expect([none, one, two].map((socket) => socket?.told)).toEqual([[], [[4401, 'the session has ended']], []]);
  lifetimes.sessionRevoked({ principalId: 'id-alice' });
  expect([none, one, two].map((socket) => socket?.told.length)).toEqual([0, 2, 1]);
});

test('news that may have been missed end all, and they may come again', () => {
  const lifetimes = start();
  const socket = watch(lifetimes);
  lifetimes.missed();
  expect(socket.told).toEqual([[1012, 'a revocation may have been missed']]);
});

test('a credential ends when it says, not a millisecond before, however far that is', () => {
  const lifetimes = start();
  const days = 60 * 86_400;
  const far = watch(lifetimes, { expiresAt: 1_000 + days });
  const past = watch(lifetimes, { expiresAt: 1 });
  const never = watch(lifetimes);
  vi.advanceTimersByTime(days * 1_000 - 1);
  expect([far.told, past.told, never.told]).toEqual([[], [[4401, 'the credential has expired']], []]);
  vi.advanceTimersByTime(1);
  expect(far.told).toEqual([[4401, 'the credential has expired']]);
  expect(never.told).toEqual([]);
});

test('a socket that has closed is told nothing more', () => {
  const lifetimes = start();
  const socket = watch(lifetimes, { expiresAt: 1_001 });
  socket.closed();
  lifetimes.missed();
  vi.advanceTimersByTime(10_000);
  expect(socket.told).toEqual([]);
});

test('a stop waits for what runs, but not for longer than it may', async () => {
  const lifetimes = start();
  const [quick, slow] = [watch(lifetimes), watch(lifetimes)];
  const stopped = lifetimes[Symbol.asyncDispose]();
  const late = watch(lifetimes);
  expect([quick.told, slow.told, late.told]).toEqual([['drain'], ['drain'], ['drain']]);
  quick.closed();
  late.closed();
  await vi.advanceTimersByTimeAsync(4_999);
  expect(slow.told).toEqual(['drain']);
  await vi.advanceTimersByTimeAsync(1);
  expect(slow.told).toEqual(['drain', [1001, 'the service is going away']]);
  slow.closed();
  await stopped;
});

test('a stop without sockets is over at once', async () => {
  await start()[Symbol.asyncDispose]();
});
