import { expect, test } from 'vitest';

import type { Asking } from './asking.pg.ts';
import { noChangeLog } from './changes-log.pg.ts';
import { ImageSource } from './changes-source.pg.ts';

test('what stays in doubt is looked at ever more rarely, as often as rights at least', async () => {
  const images = {
    tables: new Set<string>(),
    columns: [],
    bytes: 0,
    isInDoubt: true,
    start: async () => {},
    check: async () => {},
    evaluate: async () => () => [],
    settle: () => {},
  };
  const source = new ImageSource(images, noChangeLog, { now: () => 0 }, { wake: () => {}, grown: () => true, fail: () => {} });
  // Nothing is asked of it.
  const asking = {} as Asking;
  const waits: number[] = [];
  for (let look = 0; look < 10; look += 1) {
    await source.step(asking);
    waits.push(source.wait());
  }
  expect(waits).toEqual([50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
});
