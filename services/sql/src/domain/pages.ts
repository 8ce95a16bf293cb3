/** Pages of an answer: its entries, those of many rows in parts, cut from its bytes as they were written. */
import type { EntryMark, RowsMark } from './marks.ts';
import { pointBefore } from './marks.ts';

export interface PageSource {
  readonly entries: readonly EntryMark[];
  /** Each piece is good until the next one is asked for. */
  range(from: number, to: number): AsyncIterable<Buffer>;
}

/** Where a page begins. */
export interface PagePlace {
  readonly entry: number;
  readonly row: number;
}

/** A page ends with the entry or row that reaches this. */
const PAGE_BYTES = 1_048_576;

export const FIRST_PLACE: PagePlace = { entry: 0, row: 0 };

const placeToken = ({ entry, row }: PagePlace): string => `${entry}-${row}`;

/** Undefined if it is no place of this answer. */
export function readPlace(token: string, entries: readonly EntryMark[]): PagePlace | undefined {
  const match = /^(\d{1,9})-(\d{1,15})$/.exec(token);
  if (match === null) return undefined;
  const place = { entry: Number(match[1]), row: Number(match[2]) };
  if (place.entry >= entries.length) return undefined;
  return place.row < Math.max(1, entries[place.entry]?.rows?.count ?? 0) ? place : undefined;
}

/** `{"results":[…],"next":"…"}`, without `next` if it is the last page. At least one row or entry is in it. */
export async function* pageOf(source: PageSource, from: PagePlace, rowsMax: number): AsyncGenerator<Buffer> {
  yield Buffer.from('{"results":[');
  const room = { rows: rowsMax, bytes: PAGE_BYTES };
  let place: PagePlace | undefined = from.entry < source.entries.length ? from : undefined;
  let isFirst = true;
  while (place !== undefined && (isFirst || (room.rows > 0 && room.bytes > 0))) {
    const mark: EntryMark | undefined = source.entries[place.entry];
    if (mark === undefined) break;
    if (!isFirst) yield Buffer.from(',');
    isFirst = false;
    const { entry, row } = place;
    const { rows } = mark;
    const reached =
      rows === undefined ? yield* plain(source, mark, { entry, room }) : yield* part(source, { mark, rows, entry, row, room });
    place = reached ?? (entry + 1 < source.entries.length ? { entry: entry + 1, row: 0 } : undefined);
  }
  yield Buffer.from(place === undefined ? ']}' : `],"next":"${placeToken(place)}"}`);
}

interface Room {
  rows: number;
  bytes: number;
}

async function* plain(
  source: PageSource,
  { start, end }: EntryMark,
  { entry, room }: { readonly entry: number; readonly room: Room },
): AsyncGenerator<Buffer, undefined> {
  yield Buffer.from(`{"entry":${entry},`);
  room.bytes -= end - start;
  // Behind the brace that opens it.
  yield* source.range(start + 1, end);
  return undefined;
}

interface Part {
  readonly mark: EntryMark;
  readonly rows: RowsMark;
  readonly entry: number;
  readonly row: number;
  readonly room: Room;
}

/** Answers where the next page goes on in this entry, if it does. */
async function* part(source: PageSource, { mark, rows, entry, row, room }: Part): AsyncGenerator<Buffer, PagePlace | undefined> {
  yield Buffer.from(`{"entry":${entry},"row":${row},`);
  yield* source.range(mark.start + 1, rows.from);
  const point = pointBefore(rows, row);
  const cutter = new RowCutter(row - point.row, room);
  for await (const piece of source.range(point.offset, rows.to)) {
    const cut = cutter.cut(piece);
    if (cut.length > 0) yield cut;
    if (cutter.isFull) break;
  }
  const reached = row + cutter.taken;
  if (reached >= rows.count) {
    yield* source.range(rows.to, mark.end);
    return undefined;
  }
  yield Buffer.from(`],"tag":"SELECT ${rows.count}","notices":[]}`);
  return { entry, row: reached };
}

/** Tells the rows of a JSON array apart as its bytes go by. Rows are arrays; a comma is between them. */
class RowCutter {
  readonly #room: Room;
  #skip: number;
  #isCommaDue = false;
  #taken = 0;
  #isFull = false;
  #depth = 0;
  #isInString = false;
  #isEscaped = false;

  constructor(skip: number, room: Room) {
    this.#skip = skip;
    this.#room = room;
  }

  /** Rows that are in what was cut out. */
  get taken(): number {
    return this.#taken;
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  /** What of the bytes is wanted. */
  cut(bytes: Buffer): Buffer {
    let from = this.#skip > 0 || this.#isCommaDue ? bytes.length : 0;
    let counted = from;
    for (let at = 0; at < bytes.length; at += 1) {
      if (this.#isCommaDue) {
        this.#isCommaDue = false;
        from = at + 1;
        counted = from;
        continue;
      }
      if (!this.#endsRow(bytes[at] ?? 0)) continue;
      if (this.#skip > 0) {
        this.#skip -= 1;
        this.#isCommaDue = this.#skip === 0;
        continue;
      }
      this.#taken += 1;
      this.#room.rows -= 1;
      this.#room.bytes -= at + 1 - counted;
      counted = at + 1;
      this.#isFull = this.#room.rows <= 0 || this.#room.bytes <= 0;
      if (this.#isFull) return bytes.subarray(from, counted);
    }
    this.#room.bytes -= bytes.length - counted;
    return bytes.subarray(from);
  }

  #endsRow(code: number): boolean {
    if (this.#isInString) {
      if (this.#isEscaped) this.#isEscaped = false;
      else if (code === 0x5c) this.#isEscaped = true;
      else if (code === 0x22) this.#isInString = false;
      return false;
    }
    if (code === 0x22) this.#isInString = true;
    else if (code === 0x5b || code === 0x7b) this.#depth += 1;
    else if (code === 0x5d || code === 0x7d) {
      this.#depth -= 1;
      return this.#depth === 0;
    }
    return false;
  }
}
