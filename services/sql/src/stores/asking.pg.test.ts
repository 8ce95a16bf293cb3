import { expect, test } from 'vitest';

import { QueryFailure, readRow, wholeRows } from './asking.pg.ts';

/** A row of one value. */
function row(value: string): Buffer {
  const head = Buffer.alloc(6);
  head.writeInt16BE(1, 0);
  head.writeInt32BE(Buffer.byteLength(value), 2);
  return Buffer.concat([head, Buffer.from(value)]);
}

test('a row that comes in pieces is heard once, as a whole, between those that do not', () => {
  const heard: (string | null)[][] = [];
  const listener = wholeRows({ row: (bytes, from, to) => void heard.push(readRow(bytes, from, to)) });
  const large = row('in three pieces');
  const reused = Buffer.alloc(large.length);
  void listener.row(row('before'), 0, row('before').length, 0);
  for (const [from, to] of [
    [0, 3],
    [3, 10],
    [10, large.length],
  ] as const) {
    // The reader of the socket has but one buffer.
    reused.fill(0);
    large.copy(reused, 0, from, to);
    void listener.row(reused, 0, to - from, large.length - to);
  }
  void listener.row(row('behind'), 0, row('behind').length, 0);
  expect(heard).toEqual([['before'], ['in three pieces'], ['behind']]);
});

test('a row that is too large to be held is refused with its first piece', () => {
  const tooLarge = { message: 'too large', code: '54000' };
  const listener = wholeRows({ row: () => undefined }, tooLarge);
  expect(() => listener.row(row('a'), 0, 7, 67_108_864)).toThrow(new QueryFailure(tooLarge));
});
