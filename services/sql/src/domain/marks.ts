/** Where the entries and rows of an answer are in its bytes, so that a page of it can be found without reading it all. */
import type { SqlError } from './entries.ts';

export interface RowsMark {
  /** Behind the bracket that opens the rows. */
  readonly from: number;
  /** Before the bracket that closes them. */
  readonly to: number;
  readonly count: number;
  /** A row and its offset, one behind the other; from each it is at most {@link POINT_BYTES} and one row to the next. */
  readonly points: readonly number[];
}

export interface EntryMark {
  readonly start: number;
  readonly end: number;
  readonly rows: RowsMark | undefined;
}

const POINT_BYTES = 65_536;

interface OpenMark {
  readonly start: number;
  end: number;
  rows: { readonly from: number; to: number; count: number; readonly points: number[] } | undefined;
}

export class Marks {
  readonly #entries: OpenMark[] = [];
  #failure: SqlError | undefined;

  get entries(): readonly EntryMark[] {
    return this.#entries;
  }

  /** The error of the last entry, if it is one. */
  get failure(): SqlError | undefined {
    return this.#failure;
  }

  begin(offset: number): void {
    this.#entries.push({ start: offset, end: offset, rows: undefined });
  }

  rowsFrom(offset: number): void {
    const last = this.#entries.at(-1);
    if (last !== undefined) last.rows = { from: offset, to: offset, count: 0, points: [] };
  }

  /** A row begins. */
  row(offset: number): void {
    const rows = this.#entries.at(-1)?.rows;
    if (rows === undefined) return;
    const before = rows.points.at(-1) ?? rows.from;
    if (offset - before >= POINT_BYTES) rows.points.push(rows.count, offset);
    rows.count += 1;
  }

  rowsTo(offset: number): void {
    const rows = this.#entries.at(-1)?.rows;
    if (rows !== undefined) rows.to = offset;
  }

  end(offset: number): void {
    const last = this.#entries.at(-1);
    if (last !== undefined) last.end = offset;
  }

  fail(error: SqlError): void {
    this.#failure = error;
  }

  /** Only the first `count` entries stay. */
  truncate(count: number): void {
    this.#entries.length = Math.min(this.#entries.length, count);
  }
}

/** The last point that is not behind the row. */
export function pointBefore({ from, points }: RowsMark, row: number): { readonly row: number; readonly offset: number } {
  let [low, high] = [0, points.length / 2];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((points[middle * 2] ?? 0) <= row) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? { row: 0, offset: from } : { row: points[low * 2 - 2] ?? 0, offset: points[low * 2 - 1] ?? from };
}
