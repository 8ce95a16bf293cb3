/** Who waits for whom while texts are judged. */
import { expect, test, vi } from 'vitest';

import type { Asker } from '../src/domain/ports.ts';
import { openGrammar } from '../src/stores/grammar.libpg.ts';

const asker = (principalId: string, isGone = (): boolean => false): Asker => ({ principalId, spentMs: 0, isGone });

/** A text of about so many characters, each another one. */
const text = (characters: number, label: string): string => `select '${label}' ${', 1'.repeat(characters / 3)}`;

/** Otherwise a request of many short texts has the event loop to itself for as long as it likes. */
test('a request of many short texts is soon judged in another thread', async () => {
  await using grammar = await openGrammar();
  const alice = asker('alice');
  const judge = (from: string, count: number): unknown[] =>
    Array.from({ length: count }, (_, at) => grammar.judge(text(300, `${from} ${at}`), alice));
  const judged = judge('first', 2_000);
  const firstElsewhere = judged.findIndex((verdict) => verdict instanceof Promise);
  expect(firstElsewhere).toBeGreaterThan(0);
  // The next request has time of its own.
  expect(grammar.judge('select 1', asker('alice'))).toMatchObject({ kind: 'statements' });
  await Promise.allSettled(judged);
});

test('people take turns, so that one who asks much delays nobody else for long', async () => {
  await using grammar = await openGrammar();
  const order: string[] = [];
  const judge = async (who: Asker, label: string): Promise<void> => {
    await grammar.judge(text(70_000, label), who);
    order.push(label);
  };
  const alice = asker('alice');
  const labels = ['a1', 'a2', 'a3', 'a4', 'a5'];
  await Promise.all([...labels.map((label) => judge(alice, label)), judge(asker('bob'), 'b1')]);
  expect(order).toEqual(['a1', 'a2', 'b1', 'a3', 'a4', 'a5']);
});

test('texts of a request that was left are not judged', async () => {
  await using grammar = await openGrammar();
  let isGone = false;
  const alice = asker('alice', () => isGone);
  const first = grammar.judge(text(70_000, 'a1'), alice);
  const second = grammar.judge(text(70_000, 'a2'), alice);
  isGone = true;
  expect(await first).toMatchObject({ kind: 'statements' });
  expect(await second).toMatchObject({ kind: 'unjudged' });
});

/** On a busy machine a thread takes seconds to start: texts that are not to blame for it would be refused, one after the other. */
test('the time of a text begins when its thread has started', async () => {
  await using grammar = await openGrammar();
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const judged = grammar.judge(text(3_000, 'first'), asker('alice'));
    vi.advanceTimersByTime(6_000);
    expect(await judged).toMatchObject({ kind: 'statements' });
    const late = grammar.judge(text(3_000, 'second'), asker('alice'));
    vi.advanceTimersByTime(6_000);
    expect(await late).toMatchObject({ kind: 'unjudged' });
  } finally {
    vi.useRealTimers();
  }
});

/** Refused before anything of the request runs: an answer of 503, not an error in the middle of it. */
test('a principal with too many texts in line is turned away, and no other', async () => {
  await using grammar = await openGrammar();
  let isGone = false;
  const alice = asker('alice', () => isGone);
  const waiting = Array.from({ length: 201 }, async (_, at) => grammar.judge(text(70_000, String(at)), alice));
  await expect(grammar.judge(text(70_000, 'more'), alice)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  const other = grammar.judge(text(70_000, 'other'), asker('bob'));
  isGone = true;
  expect(await other).toMatchObject({ kind: 'statements' });
  await Promise.all(waiting);
});

test('what is judged, what waits and what comes when it closes is told so, and nothing is left behind', async () => {
  const grammar = await openGrammar();
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const judge = async (label: string): Promise<unknown> => grammar.judge(text(70_000, label), asker('alice'));
    const judged = Promise.all([judge('under way'), judge('waits'), judge('waits too')]);
    await grammar[Symbol.asyncDispose]();
    expect(vi.getTimerCount()).toBe(0);
    const ended = { kind: 'unjudged', error: { code: '57P01' } };
    expect(await judged).toMatchObject([ended, ended, ended]);
    expect(await judge('comes later')).toMatchObject(ended);
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});
