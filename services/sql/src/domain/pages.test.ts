import { expect, test } from 'vitest';

import { Entries } from './entries.ts';
import { Marks, pointBefore } from './marks.ts';
import { Output } from './output.ts';
import type { PageSource } from './pages.ts';
import { FIRST_PLACE, pageOf, readPlace } from './pages.ts';

/** Values with everything in them that could be taken for the end of a row. */
const tricky = (row: number): string => JSON.stringify(`]["\\ },${'x'.repeat(row % 7)}`);

function answer(
  rows: number,
  write = (out: Output, row: number): void => out.utf8(`"${row}",${tricky(row)}`),
): PageSource & { readonly text: string } {
  const out = new Output();
  const marks = new Marks();
  const entries = new Entries(out, marks);
  entries.complete('BEGIN');
  for (const count of [rows, 0, 3]) {
    entries.openRows(Buffer.from('{"columns":[]}'));
    for (let row = 0; row < count; row += 1) {
      entries.openRow();
      write(out, row);
      entries.closeRow();
    }
    entries.notice({ message: `of ${count}`, code: '00000', severity: 'notice' });
    entries.complete(`SELECT ${count}`);
  }
  // Taken back, rows and all.
  entries.openRows(Buffer.from('{"columns":[]}'));
  entries.openRow();
  entries.closeRow();
  entries.fail({ message: 'no', code: 'XX000' });
  entries.finish();
  const bytes = Buffer.concat(out.held());
  return {
    text: bytes.toString(),
    entries: marks.entries,
    async *range(from, to) {
      // Pieces of odd lengths cut everything in two sometime.
      for (let at = from; at < to; at += 13) yield bytes.subarray(at, Math.min(to, at + 13));
    },
  };
}

interface Entry {
  readonly entry: number;
  readonly row?: number;
  readonly rows?: readonly unknown[];
  readonly tag?: string;
  readonly notices?: readonly unknown[];
}
interface Page {
  readonly results: readonly Entry[];
  readonly next?: string;
}

async function pagesOf(source: PageSource, rowsMax: number): Promise<readonly Page[]> {
  const pages: Page[] = [];
  for (let place: ReturnType<typeof readPlace> = FIRST_PLACE; place !== undefined;) {
    const pieces: Buffer[] = [];
    for await (const piece of pageOf(source, place, rowsMax)) pieces.push(Buffer.from(piece));
    const page = JSON.parse(Buffer.concat(pieces).toString()) as Page;
    pages.push(page);
    place = page.next === undefined ? undefined : readPlace(page.next, source.entries);
  }
  return pages;
}

test.for([1, 2, 3, 99, 100, 101, 1_000])('all pages of %i rows together are the answer', async (rowsMax) => {
  const source = answer(100);
  const whole = JSON.parse(source.text) as { readonly results: readonly Entry[] };
  const joined: unknown[] = [];
  for (const { results } of await pagesOf(source, rowsMax)) {
    expect(results.reduce((sum, { rows = [] }) => sum + rows.length, 0)).toBeLessThanOrEqual(rowsMax);
    for (const { entry, row = 0, ...rest } of results) {
      const before = joined[entry] as Entry | undefined;
      expect(row).toBe(before?.rows?.length ?? 0);
      joined[entry] = before === undefined ? rest : { ...rest, rows: [...(before.rows ?? []), ...(rest.rows ?? [])] };
    }
  }
  expect(joined).toEqual(whole.results);
});

test('a page ends with the row that fills it; a row of any size is a page', async () => {
  const large = (out: Output, row: number): void => out.utf8(JSON.stringify('é'.repeat(row === 1 ? 2_000_000 : 200_000)));
  const pages = await pagesOf(answer(10, large), 1_000);
  expect(pages.map(({ results }) => results.map(({ rows = [] }) => rows.length))).toEqual([
    [0, 2],
    [3],
    [3],
    [2, 0, 1],
    [1],
    [1, 0],
  ]);
});

test('a row is found from the point before it', () => {
  const rows = { from: 7, to: 999, count: 500, points: [100, 1_000, 200, 2_000, 300, 3_000] };
  expect([0, 99, 100, 101, 299, 300, 499].map((row) => pointBefore(rows, row).row)).toEqual([0, 0, 100, 100, 200, 300, 300]);
  expect(pointBefore(rows, 5)).toEqual({ row: 0, offset: 7 });
});

test('only places of the answer are pages', () => {
  const { entries } = answer(10);
  for (const token of ['1-9', '0-0', '2-0', '4-0']) expect(readPlace(token, entries)).toBeDefined();
  for (const token of ['', '1-10', '0-1', '2-1', '5-0', '1', '-1-0', '1-0 ', '1-1e3', '01-0x1', `1-${'9'.repeat(20)}`]) {
    expect([token, readPlace(token, entries)]).toEqual([token, undefined]);
  }
});
