/** What a subscription has told so far, so that what it tells next is the difference, and what goes is what was shown. */

/** A row of the query, as the inside of a JSON array, comes or goes. */
export interface Difference {
  readonly lsn: bigint;
  readonly diff: 1 | -1;
  readonly row: Buffer;
}

/** Memory that an entry takes beside its bytes. */
const ENTRY_BYTES = 128;

/** Rows by the key of their table's row. */
export class KeyedRows {
  readonly #rows = new Map<string, Buffer>();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  has(key: string): boolean {
    return this.#rows.has(key);
  }

  /** The row is now this, or nothing that the query shows; answers what changes by that. */
  put(lsn: bigint, key: string, row: Buffer | undefined): Difference[] {
    const before = this.#rows.get(key);
    if (before !== undefined && row !== undefined && before.equals(row)) return [];
    const told: Difference[] = [];
    if (before !== undefined) {
      told.push({ lsn, diff: -1, row: before });
      this.#rows.delete(key);
      this.#bytes -= entryBytes(key, before);
    }
    if (row !== undefined) {
      told.push({ lsn, diff: 1, row });
      this.#rows.set(key, row);
      this.#bytes += entryBytes(key, row);
    }
    return told;
  }

  clear(lsn: bigint): Difference[] {
    const told = this.#rows.values().map((row) => ({ lsn, diff: -1 as const, row }));
    const all = [...told];
    this.#rows.clear();
    this.#bytes = 0;
    return all;
  }
}

const entryBytes = (key: string, row: Buffer): number => key.length + row.length + ENTRY_BYTES;

/** Rows without keys: how often each is there. */
export class CountedRows {
  readonly #counts = new Map<string, number>();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  add(row: Buffer): void {
    const text = row.toString('latin1');
    const before = this.#counts.get(text) ?? 0;
    if (before === 0) this.#bytes += text.length + ENTRY_BYTES;
    this.#counts.set(text, before + 1);
  }

  /** What has to be told so that these rows become those of `next`; what goes comes first. */
  differenceTo(next: CountedRows, lsn: bigint): Difference[] {
    const told: Difference[] = [];
    const tell = (text: string, count: number, diff: 1 | -1): void => {
      for (let left = count; left > 0; left -= 1) told.push({ lsn, diff, row: Buffer.from(text, 'latin1') });
    };
    for (const [text, count] of this.#counts) tell(text, count - (next.#counts.get(text) ?? 0), -1);
    for (const [text, count] of next.#counts) tell(text, count - (this.#counts.get(text) ?? 0), 1);
    return told;
  }
}

/** Which transactions a snapshot sees: PostgreSQL's `xmin:xmax:xip_list`. */
export interface Snapshot {
  readonly xmin: bigint;
  readonly xmax: bigint;
  readonly underWay: ReadonlySet<bigint>;
}

export function readSnapshot(text: string): Snapshot {
  const [xmin = '0', xmax = '0', list = ''] = text.split(':');
  return { xmin: BigInt(xmin), xmax: BigInt(xmax), underWay: new Set(list === '' ? [] : list.split(',').map(BigInt)) };
}

const EPOCH = 2n ** 32n;

/** The log counts transactions in 32 bits; the one that is meant is the nearest to the snapshot. */
export function isVisible({ xmin, xmax, underWay }: Snapshot, xid32: number): boolean {
  let xid = (xmax / EPOCH) * EPOCH + BigInt(xid32);
  if (xid > xmax + EPOCH / 2n) xid -= EPOCH;
  else if (xid + EPOCH / 2n < xmax) xid += EPOCH;
  return xid < xmin || (xid < xmax && !underWay.has(xid));
}
