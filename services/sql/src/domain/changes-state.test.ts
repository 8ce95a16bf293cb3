import fc from 'fast-check';
import { expect, test } from 'vitest';

import { CountedRows, isVisible, KeyedRows, readSnapshot } from './changes-state.ts';

test('what is told adds up to the rows that are there, and only what was shown goes', () => {
  const step = fc.record({ key: fc.constantFrom('a', 'b', 'c'), row: fc.option(fc.constantFrom('1', '2'), { nil: undefined }) });
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const rows = new KeyedRows();
      const shown = new Map<string, number>();
      const model = new Map<string, string>();
      for (const { key, row } of steps) {
        const value = row === undefined ? undefined : `${key}${row}`;
        for (const { diff, row: told } of rows.put(1n, key, value === undefined ? undefined : Buffer.from(value))) {
          const count = (shown.get(told.toString()) ?? 0) + diff;
          expect(count).toBeGreaterThanOrEqual(0);
          shown.set(told.toString(), count);
        }
        if (value === undefined) model.delete(key);
        else model.set(key, value);
      }
      expect(
        [...shown]
          .filter(([, count]) => count > 0)
          .map(([row]) => row)
          .toSorted(),
      ).toEqual([...model.values()].toSorted());
      expect(
        rows
          .clear(2n)
          .map(({ row }) => row.toString())
          .toSorted(),
      ).toEqual([...model.values()].toSorted());
      expect(rows.bytes).toBe(0);
    }),
  );
});

test('rows without keys differ by how often they are there', () => {
  const [before, after] = [new CountedRows(), new CountedRows()];
  for (const row of ['a', 'a', 'b']) before.add(Buffer.from(row));
  for (const row of ['a', 'c', 'c']) after.add(Buffer.from(row));
  expect(before.differenceTo(after, 7n).map(({ diff, row }) => [diff, row.toString()])).toEqual([
    [-1, 'a'],
    [-1, 'b'],
    [1, 'c'],
    [1, 'c'],
  ]);
});

test('a snapshot sees what was committed before it, whatever the epoch', () => {
  const snapshot = readSnapshot('100:110:101,105');
  expect([99, 100, 101, 105, 109, 110, 111].map((xid) => isVisible(snapshot, xid))).toEqual([
    true,
    true,
    false,
    false,
    true,
    false,
    false,
  ]);
  const wrapped = readSnapshot(`${2n ** 32n - 5n}:${2n ** 32n + 5n}:${2n ** 32n + 1n}`);
  expect([4_294_967_290, 4_294_967_295, 0, 1, 4, 5, 100].map((xid) => isVisible(wrapped, xid))).toEqual([
    true,
    true,
    true,
    false,
    true,
    false,
    false,
  ]);
  expect(isVisible(readSnapshot(`${2n ** 33n - 10n}:${2n ** 33n - 10n}:`), 3)).toBe(false);
});
