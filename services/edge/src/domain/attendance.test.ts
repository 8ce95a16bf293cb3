import { expect, test } from 'vitest';

import type { SessionLife } from './attendance.ts';
import { createAttendance } from './attendance.ts';

const HOUR = 3_600_000;

/** A session with an idle time, and a clock that is moved by hand. */
function createWorld(idleMs: number) {
  const state = { nowMs: 0, usedAtMs: 0, heard: 0, isAway: false, ended: false };
  const uses: number[] = [];
  let next: { atMs: number; turn: () => void } | undefined;
  const life = (): SessionLife =>
    state.nowMs > state.usedAtMs + idleMs ? { kind: 'over' } : { kind: 'until', untilMs: state.usedAtMs + idleMs };
  const asked = async (): Promise<SessionLife> => {
    if (state.isAway) throw new Error('away');
    return life();
  };
  const attend = createAttendance({
    clock: { nowMs: () => state.nowMs },
    wait: (ms, turn) => {
      next = { atMs: state.nowMs + ms, turn };
      return { cancel: () => (next = undefined) };
    },
    lives: {
      async use() {
        const found = await asked();
        if (found.kind === 'over') return found;
        uses.push(state.nowMs);
        state.usedAtMs = state.nowMs;
        return life();
      },
      look: asked,
    },
  });
  const leave = attend({
    token: 'token',
    principalId: 'id-alice',
    sessionId: 'session-1',
    heard: () => state.heard,
    ended: () => (state.ended = true),
  });
  const pass = async (ms: number): Promise<void> => {
    const target = state.nowMs + ms;
    await new Promise(setImmediate);
    while (next !== undefined && next.atMs <= target) {
      const { atMs, turn } = next;
      state.nowMs = atMs;
      next = undefined;
      turn();
      await new Promise(setImmediate);
    }
    state.nowMs = target;
  };
  return { state, uses, pass, leave, isWaiting: () => next !== undefined };
}

test('a socket on which nothing is said ends when its session has been idle for too long, and not before', async () => {
  const { state, pass } = createWorld(8 * HOUR);
  await pass(7.9 * HOUR);
  expect(state.ended).toBe(false);
  await pass(0.2 * HOUR);
  expect(state.ended).toBe(true);
});

test('what is said on a socket is use of its session, which lives on', async () => {
  const { state, uses, pass } = createWorld(HOUR);
  for (let hours = 0; hours < 5; hours += 0.5) {
    state.heard += 10;
    await pass(HOUR / 2);
  }
  expect(state.ended).toBe(false);
  expect(uses.length).toBeGreaterThan(5);
  await pass(1.1 * HOUR);
  expect(state.ended).toBe(true);
});

test('use of the session elsewhere keeps its sockets, also the quiet ones', async () => {
  const { state, uses, pass } = createWorld(HOUR);
  for (let hours = 0; hours < 5; hours += 0.5) {
    state.usedAtMs = state.nowMs;
    await pass(HOUR / 2);
  }
  expect(state.ended).toBe(false);
  expect(uses).toEqual([]);
});

test('while the session cannot be asked about its sockets stay, and it is asked again', async () => {
  const { state, pass } = createWorld(HOUR);
  await pass(1_000);
  state.isAway = true;
  await pass(2 * HOUR);
  expect(state.ended).toBe(false);
  state.isAway = false;
  await pass(60_000);
  expect(state.ended).toBe(true);
});

test('a socket that has closed is watched no more', async () => {
  const { state, pass, leave, isWaiting } = createWorld(HOUR);
  await pass(1_000);
  leave();
  await pass(2 * HOUR);
  expect(state.ended).toBe(false);
  expect(isWaiting()).toBe(false);
});
