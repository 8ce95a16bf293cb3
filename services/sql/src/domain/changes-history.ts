/** The rows that a subscription has told lately, so that it can be continued behind any of them. */
import type { Difference } from './changes-state.ts';

export interface ToldRow {
  readonly number: number;
  readonly lsn: bigint;
  readonly isProgress: boolean;
  /** JSON of the whole row. */
  readonly bytes: Buffer;
}

const ENTRY_BYTES = 96;

export class History {
  readonly #keptBytes: number;
  readonly #isWithProgress: boolean;
  readonly #nulls: string;
  #rows: ToldRow[] = [];
  /** Of the first row that is kept, and its place in the list. */
  #first = 0;
  #from = 0;
  #next = 0;
  #bytes = 0;
  #lsn = 0n;

  /** `columns`: how many the query has. */
  constructor(columns: number, isWithProgress: boolean, keptBytes: number) {
    this.#keptBytes = keptBytes;
    this.#isWithProgress = isWithProgress;
    this.#nulls = ',null'.repeat(columns);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The number of the next row that is told. */
  get next(): number {
    return this.#next;
  }

  /** The latest moment that was told of. */
  get lsn(): bigint {
    return this.#lsn;
  }

  add({ lsn, diff, row }: Difference): void {
    this.#advance(lsn);
    const head = `["${this.#lsn}","${diff}"${this.#isWithProgress ? ',false' : ''}`;
    const body = row.length === 0 ? [row] : [Buffer.from(','), row];
    this.#push(false, Buffer.concat([Buffer.from(head), ...body, Buffer.from(']')]));
  }

  /** All rows up to this moment have been told. */
  progress(lsn: bigint): void {
    this.#advance(lsn);
    this.#push(true, Buffer.from(`["${this.#lsn}",null,true${this.#nulls}]`));
  }

  /** Moments never go back, even where one was read before a row of an earlier one came. */
  #advance(lsn: bigint): void {
    if (lsn > this.#lsn) this.#lsn = lsn;
  }

  #push(isProgress: boolean, bytes: Buffer): void {
    this.#rows.push({ number: this.#next, lsn: this.#lsn, isProgress, bytes });
    this.#next += 1;
    this.#bytes += bytes.length + ENTRY_BYTES;
  }

  at(number: number): ToldRow | undefined {
    return this.#rows[number - this.#first + this.#from];
  }

  /** Whether every row from this number on is there or still to come. */
  reaches(number: number): boolean {
    return number >= this.#first && number <= this.#next;
  }

  /** Rows before `number` were taken; of those no more are kept than may be. */
  trim(number: number): void {
    while (this.#bytes > this.#keptBytes && this.#first < number) {
      this.#bytes -= (this.#rows[this.#from]?.bytes.length ?? 0) + ENTRY_BYTES;
      this.#first += 1;
      this.#from += 1;
    }
    if (this.#from > 1_024 && this.#from * 2 > this.#rows.length) {
      this.#rows = this.#rows.slice(this.#from);
      this.#from = 0;
    }
  }
}
