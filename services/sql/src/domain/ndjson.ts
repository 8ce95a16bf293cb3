/** Results as lines of JSON, sent while they come. The last line says how it ended; without one, something is missing. */
import type { Notice, ReportedSetting, SqlError } from './entries.ts';
import type { Flow } from './outlet.ts';
import type { Output } from './output.ts';
import type { RowForm, RowShape, StreamScript, TransactionStatus } from './script.ts';
import { jsonRows } from './script.ts';

const NEWLINE = 0x0a;

export class NdjsonScript implements StreamScript {
  readonly #flow: Flow;
  #hasColumns = false;
  #error: SqlError | undefined;
  #isCut = false;

  constructor(flow: Flow) {
    this.#flow = flow;
  }

  get out(): Output {
    return this.#flow.out;
  }

  starting(): void {}

  columns(shape: RowShape): RowForm {
    this.#hasColumns = true;
    const { out } = this;
    out.bytes(shape.description, 0, shape.description.length);
    out.byte(NEWLINE);
    return jsonRows(shape);
  }

  openRow(): void {
    this.#flow.openRow();
    this.out.byte(0x5b);
  }

  closeRow(): void {
    const { out } = this;
    out.byte(0x5d);
    out.byte(NEWLINE);
  }

  /** Half a line is not to be mistaken for one. */
  cutRow(): void {
    if (!this.#flow.takeRowBack()) this.#isCut = true;
  }

  continued(tag: string): void {
    this.#line({ tag });
    this.#hasColumns = false;
  }

  complete(tag: string, settings: readonly ReportedSetting[]): void {
    if (this.#hasColumns) this.#line({ tag });
    else this.#line({ ok: tag, ...(settings.length > 0 && { parameters: settings }) });
    this.#hasColumns = false;
  }

  settings(reported: readonly ReportedSetting[]): void {
    this.#line({ parameters: reported });
  }

  notice(notice: Notice): void {
    this.#line({ notice });
  }

  /** Told when nothing more can come. */
  error(error: SqlError): void {
    this.#error = error;
  }

  flush(): Promise<SqlError | undefined> | undefined {
    return this.#flow.flush();
  }

  release(): void {
    this.#flow.release();
  }

  finished(status: TransactionStatus): void {
    if (this.#isCut) return this.#flow.abort();
    // A transaction that the request has left open is rolled back with the session.
    const end = { status: status === 'I' ? 'ok' : 'rolled back' };
    this.#line(this.#error === undefined ? end : { error: this.#error });
    this.#flow.end();
  }

  #line(value: object): void {
    this.out.utf8(JSON.stringify(value));
    this.out.byte(NEWLINE);
  }
}
