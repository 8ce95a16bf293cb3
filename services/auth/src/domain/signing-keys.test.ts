import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';

import type { SigningKeyRow, SigningKeyStore } from './ports.ts';
import { createSigningKeys, currentKey, planRotation, publishedKeys } from './signing-keys.ts';
import { createVault } from './vault.ts';

const MINUTE = 60_000;
const ROTATION = 60 * MINUTE;
const soon = { remainingMs: () => 60_000 };

function keyStore(): SigningKeyStore & { readonly rows: SigningKeyRow[] } {
  const rows: SigningKeyRow[] = [];
  const at = (kid: string): number => rows.findIndex((row) => row.kid === kid);
  return {
    rows,
    exclusively: (_deadline, work) =>
      work({
        list: async () => [...rows],
        insert: async (row) => void rows.push(row),
        async reschedule(kid, signsFrom) {
          const row = rows[at(kid)];
          if (row !== undefined) rows[at(kid)] = { ...row, signsFrom };
        },
        remove: async (kid) => void rows.splice(at(kid), 1),
      }),
  };
}

function setUp(rotationMs = ROTATION) {
  const store = keyStore();
  const clock = { ms: 1_800_000_000_000, now: () => clock.ms };
  const vault = createVault('mesh', randomBytes(32));
  return { store, clock, vault, keys: createSigningKeys({ store, vault, clock, rotationMs }) };
}

test('at the first start one key signs and the next is published', async () => {
  const { keys } = setUp();
  await keys.refresh(soon);
  const kids = keys.published().map(({ kid }) => kid);
  expect(kids).toHaveLength(2);
  expect(keys.current()?.kid).toBe(kids[0]);
});

test('a key is published before it signs, and for at least ten minutes after', async () => {
  const { keys, clock } = setUp();
  const published = new Map<string, { from: number; to: number }>();
  const signed = new Map<string, { from: number; to: number }>();
  const note = (seen: typeof published, kid: string): void =>
    void seen.set(kid, { from: seen.get(kid)?.from ?? clock.ms, to: clock.ms });
  for (let minute = 0; minute < 400; minute += 1) {
    await keys.refresh(soon);
    for (const { kid } of keys.published()) note(published, kid);
    note(signed, keys.current()?.kid ?? '');
    clock.ms += MINUTE;
  }
  expect(signed.size).toBeGreaterThanOrEqual(6);
  const [first] = signed.keys();
  const last = keys.current()?.kid;
  for (const [kid, { from, to }] of signed) {
    if (kid !== first) expect(from - (published.get(kid)?.from ?? Infinity)).toBeGreaterThanOrEqual(10 * MINUTE);
    if (kid !== last) expect((published.get(kid)?.to ?? 0) - to).toBeGreaterThanOrEqual(10 * MINUTE);
  }
});

test('a key that retired long ago is removed, private part and all', async () => {
  const { keys, clock, store } = setUp();
  await keys.refresh(soon);
  const old = keys.current()?.kid;
  clock.ms += 2 * ROTATION;
  await keys.refresh(soon);
  expect(store.rows.map(({ kid }) => kid)).not.toContain(old);
});

test('replicas that look at different times sign with one key at any one time', async () => {
  const { keys, clock, store, vault } = setUp();
  const other = createSigningKeys({ store, vault, clock, rotationMs: ROTATION });
  await keys.refresh(soon);
  await other.refresh(soon);
  for (let step = 0; step < 50; step += 1) {
    clock.ms += 7 * MINUTE;
    await (step % 2 === 0 ? keys : other).refresh(soon);
    expect(other.current()?.kid).toBe(keys.current()?.kid);
  }
});

test('after a stop longer than a rotation the waiting key signs, and another waits', async () => {
  const { keys, clock } = setUp();
  await keys.refresh(soon);
  const waiting = keys.published()[1]?.kid;
  clock.ms += 100 * ROTATION;
  await keys.refresh(soon);
  expect(keys.current()?.kid).toBe(waiting);
  expect(keys.published().at(-1)?.kid).not.toBe(waiting);
});

test('a shorter rotation counts at once, but the next key is still published two minutes before', () => {
  const keys = [
    { kid: 'a', ordinal: 1, signsFrom: 0 },
    { kid: 'b', ordinal: 2, signsFrom: 100 * ROTATION },
  ];
  expect(planRotation(keys, 5 * ROTATION, ROTATION).reschedule).toEqual([{ kid: 'b', signsFrom: 5 * ROTATION + 2 * MINUTE }]);
  expect(planRotation(keys, MINUTE, 200 * ROTATION).reschedule).toEqual([]);
});

test('a key that does not open is told and not used', async () => {
  const { keys, store } = setUp();
  await keys.refresh(soon);
  const [row] = store.rows;
  if (row !== undefined) store.rows[0] = { ...row, sealedPrivateKey: 'v1.00000000.AAAA' };
  expect(await keys.refresh(soon)).toEqual([row?.kid]);
  expect(keys.current()).toBeUndefined();
});

test('whatever the history, carrying out the plan leaves one key signing and one waiting', () => {
  const history = fc.array(fc.integer({ min: 0, max: 1_000 * MINUTE }), { maxLength: 8 });
  fc.assert(
    fc.property(history, fc.integer({ min: 0, max: 1_000 * MINUTE }), (starts, now) => {
      const keys = starts.map((signsFrom, index) => ({ kid: `k${index}`, ordinal: index + 1, signsFrom }));
      const plan = planRotation(keys, now, ROTATION);
      const after = [
        ...keys
          .filter(({ kid }) => !plan.remove.includes(kid))
          .map((key) => ({ ...key, signsFrom: plan.reschedule.find(({ kid }) => kid === key.kid)?.signsFrom ?? key.signsFrom })),
        ...plan.make.map((made) => ({ ...made, kid: `m${made.ordinal}` })),
      ];
      expect(new Set(after.map(({ ordinal }) => ordinal)).size).toBe(after.length);
      const current = currentKey(after, now);
      expect(current).toBeDefined();
      expect(publishedKeys(after, now)).toContain(current);
      expect(after.some(({ signsFrom }) => signsFrom > now)).toBe(true);
    }),
  );
});
