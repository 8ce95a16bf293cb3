/** The rows of one statement as CSV (RFC 4180): values as PostgreSQL prints them, NULL empty, an empty string quoted. */
import type { Encoder, Pieces } from './encoder.ts';
import type { SqlError } from './entries.ts';
import type { Flow } from './outlet.ts';
import type { Output } from './output.ts';
import type { RowForm, RowShape, StreamScript } from './script.ts';

const QUOTE = 0x22;
const COMMA = 0x2c;
const CR = 0x0d;
const LF = 0x0a;

const NOTHING = Buffer.alloc(0);

/** Bytes for which a value has to stand in quotes. */
const SPECIAL = new Uint8Array(256);
for (const code of [QUOTE, COMMA, CR, LF]) SPECIAL[code] = 1;

function writeQuoted(out: Output, bytes: Buffer, from: number, to: number): void {
  let start = from;
  for (;;) {
    const found = bytes.indexOf(QUOTE, start);
    if (found === -1 || found >= to) break;
    out.bytes(bytes, start, found + 1);
    out.byte(QUOTE);
    start = found + 1;
  }
  if (start < to) out.bytes(bytes, start, to);
}

const pieces = (out: Output): Pieces => ({
  begin: () => out.byte(QUOTE),
  write: (bytes, from, to) => writeQuoted(out, bytes, from, to),
  end: () => out.byte(QUOTE),
});

const csvValue: Encoder = {
  value(out, bytes, from, to) {
    let at = from;
    while (at < to && SPECIAL[bytes[at] ?? 0] === 0) at += 1;
    if (at === to && to > from) return out.bytes(bytes, from, to);
    out.byte(QUOTE);
    writeQuoted(out, bytes, from, to);
    out.byte(QUOTE);
  },
  pieces,
};

const noRows: SqlError = { message: 'there is no statement whose rows could be shown as text/csv', code: '0A000' };

export class CsvScript implements StreamScript {
  readonly #flow: Flow;
  #error: SqlError | undefined;
  #hasColumns = false;

  constructor(flow: Flow) {
    this.#flow = flow;
  }

  get out(): Output {
    return this.#flow.out;
  }

  starting(): void {}

  columns({ columns }: RowShape): RowForm {
    this.#hasColumns = true;
    for (const [index, { name }] of columns.entries()) {
      if (index > 0) this.out.byte(COMMA);
      const bytes = Buffer.from(name);
      csvValue.value(this.out, bytes, 0, bytes.length);
    }
    this.#endLine();
    return { encoders: columns.map(() => csvValue), nothing: NOTHING };
  }

  openRow(): void {
    this.#flow.openRow();
  }

  closeRow(): void {
    this.#endLine();
  }

  cutRow(): void {
    this.#flow.takeRowBack();
  }

  /** There is no place for more results than one: the first is all that is shown. */
  continued(): void {
    this.#error ??= { message: 'text/csv cannot show the several results of a rule', code: '0A000' };
  }

  complete(): void {}

  settings(): void {}

  notice(): void {}

  /** There is no place for it either: unless it is all there is, the transfer is broken off. */
  error(error: SqlError): void {
    this.#error ??= error;
  }

  flush(): Promise<SqlError | undefined> | undefined {
    return this.#flow.flush();
  }

  release(): void {
    this.#flow.release();
  }

  finished(): void {
    const error = this.#error ?? (this.#hasColumns ? undefined : noRows);
    if (error === undefined) this.#flow.end();
    else if (!this.#flow.refuse(error)) this.#flow.abort();
  }

  #endLine(): void {
    this.out.byte(CR);
    this.out.byte(LF);
  }
}
