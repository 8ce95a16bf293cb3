/** The entries of an answer: one for each statement that ran, written as they come. */
import type { Marks } from './marks.ts';
import type { Output } from './output.ts';

export interface SqlError {
  readonly message: string;
  /** SQLSTATE. */
  readonly code: string;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
  /** PostgreSQL's own: characters, from 1. */
  readonly position?: number | undefined;
}

export interface Notice {
  readonly message: string;
  readonly code: string;
  readonly severity: string;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
}

export interface ReportedSetting {
  readonly name: string;
  readonly value: string;
}

/** Those who read only tags would take what was undone for done. */
const rolledBack: Notice = {
  message: 'a transaction was left open and has been rolled back',
  code: '40000',
  severity: 'warning',
};

const NOTICES_MAX = 1_000;
const NOTICE_CHARACTERS_MAX = 1_048_576;

/** Text that belongs at an offset that has long been written. */
export interface Insertion {
  readonly at: number;
  readonly text: string;
}

export class Entries {
  readonly #out: Output;
  readonly #marks: Marks | undefined;
  #count = 0;
  /** Where the statement's first entry begins, and how many entries were before it. */
  #open: { readonly start: number; readonly count: number; rows: number } | undefined;
  #notices: string[] = [];
  #noticesTotal = 0;
  #noticeCharacters = 0;
  #noticesLeftOut = 0;
  readonly #insertions: Insertion[] = [];
  /** Where notices of the last statement may be put in later, and whether there are others before them. */
  #lastNotices: { readonly at: number; readonly areFirst: boolean } | undefined;

  /** With `marks`, the places of entries and rows are noted there. */
  constructor(out: Output, marks?: Marks) {
    this.#out = out;
    this.#marks = marks;
    out.ascii('{"results":[');
  }

  get insertions(): readonly Insertion[] {
    return this.#insertions;
  }

  /** Begins a rows entry; `description` is the JSON of `desc`. */
  openRows(description: Buffer): void {
    const before = this.#open;
    // A rule can give one statement several results, each described, and only the last one complete.
    if (before !== undefined) this.#closeRows(before.rows);
    const { start, count } = before ?? { start: this.#out.offset, count: this.#count };
    this.#comma();
    this.#marks?.begin(this.#out.offset);
    this.#out.ascii('{"desc":');
    this.#out.bytes(description, 0, description.length);
    this.#out.ascii(',"rows":[');
    this.#marks?.rowsFrom(this.#out.offset);
    this.#open = { start, count, rows: 0 };
  }

  #closeRows(rows: number): void {
    this.#marks?.rowsTo(this.#out.offset);
    this.#out.ascii(`],"tag":"SELECT ${rows}","notices":[]}`);
    this.#marks?.end(this.#out.offset);
    this.#count += 1;
  }

  /** To be called before the values of each row. */
  openRow(): void {
    if (this.#open === undefined) return;
    if (this.#open.rows > 0) this.#out.byte(0x2c);
    this.#open.rows += 1;
    this.#marks?.row(this.#out.offset);
    this.#out.byte(0x5b);
  }

  closeRow(): void {
    this.#out.byte(0x5d);
  }

  notice(notice: Notice): void {
    const text = JSON.stringify(notice);
    if (this.#noticesTotal >= NOTICES_MAX || this.#noticeCharacters + text.length > NOTICE_CHARACTERS_MAX) {
      this.#noticesLeftOut += 1;
      return;
    }
    this.#noticesTotal += 1;
    this.#noticeCharacters += text.length;
    this.#notices.push(text);
  }

  /** The statement succeeded. Answers the offset at which its settings may be put in later. */
  complete(tag: string, settings: readonly ReportedSetting[] = []): number {
    const rows = this.#open;
    this.#open = undefined;
    if (rows === undefined) {
      this.#comma();
      this.#marks?.begin(this.#out.offset);
      this.#out.ascii('{"ok":');
      this.#out.utf8(JSON.stringify(tag));
    } else {
      this.#marks?.rowsTo(this.#out.offset);
      this.#out.ascii(`],"tag":"SELECT ${rows.rows}"`);
    }
    this.#writeNotices();
    if (rows === undefined && settings.length > 0) this.#out.utf8(settingsText(settings));
    this.#out.byte(0x7d);
    this.#marks?.end(this.#out.offset);
    this.#count += 1;
    return this.#out.offset - 1;
  }

  /** Settings that the server told of only after later statements. */
  insertSettings(at: number, settings: readonly ReportedSetting[]): void {
    this.#insert(at, settingsText(settings));
  }

  /** The request has left a transaction open. What has failed says more than that already. */
  rolledBack(): void {
    if (this.#lastNotices === undefined) return;
    const { at, areFirst } = this.#lastNotices;
    this.#insert(at, `${areFirst ? '' : ','}${JSON.stringify(rolledBack)}`);
  }

  #insert(at: number, text: string): void {
    this.#insertions.push({ at, text });
    this.#insertions.sort((one, other) => one.at - other.at);
  }

  /** Takes the rows of the open entry back, and the entry with them, and others of the same statement. */
  dropRows(): void {
    if (this.#open === undefined) return;
    this.#out.truncate(this.#open.start);
    this.#count = this.#open.count;
    this.#marks?.truncate(this.#count);
    this.#open = undefined;
  }

  /** The statement failed: rows of it that were written are taken back. */
  fail(error: SqlError): void {
    this.dropRows();
    this.#comma();
    this.#marks?.begin(this.#out.offset);
    this.#out.ascii('{"error":');
    this.#out.utf8(JSON.stringify(error));
    this.#writeNotices();
    this.#lastNotices = undefined;
    this.#out.byte(0x7d);
    this.#marks?.end(this.#out.offset);
    this.#marks?.fail(error);
    this.#count += 1;
  }

  finish(): void {
    this.#out.ascii(']}');
  }

  #comma(): void {
    if (this.#count > 0) this.#out.byte(0x2c);
  }

  #writeNotices(): void {
    this.#out.ascii(',"notices":[');
    if (this.#noticesLeftOut > 0) {
      const message = `${this.#noticesLeftOut} more notices were left out`;
      this.#notices.push(JSON.stringify({ message, code: '01000', severity: 'warning' }));
      this.#noticesLeftOut = 0;
    }
    const areFirst = this.#notices.length === 0;
    if (!areFirst) {
      this.#out.utf8(this.#notices.join(','));
      this.#notices = [];
    }
    this.#lastNotices = { at: this.#out.offset, areFirst };
    this.#out.byte(0x5d);
  }
}

const settingsText = (settings: readonly ReportedSetting[]): string =>
  `,"parameters":${JSON.stringify(settings.map(({ name, value }) => ({ name, value })))}`;

/** What a column is, as in PostgreSQL's row description. */
export interface Column {
  readonly name: string;
  readonly oid: number;
  readonly length: number;
  readonly modifier: number;
  /** Its values come in binary form, not as text. */
  readonly isBinary?: boolean;
}

export function describeColumns(columns: readonly Column[]): Buffer {
  const described = columns.map(
    ({ name, oid, length, modifier }) =>
      `{"name":${JSON.stringify(name)},"type_oid":${oid},"type_len":${length},"type_mod":${modifier}}`,
  );
  return Buffer.from(`{"columns":[${described.join(',')}]}`);
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export function humanSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1_024 && unit < UNITS.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return unit === 0 ? `${value} B` : `${value.toFixed(1)} ${UNITS[unit] ?? ''}`;
}

export const resultTooLarge = (maxBytes: number): SqlError => ({
  message: `result exceeds max size of ${humanSize(maxBytes)}`,
  code: '53200',
});
