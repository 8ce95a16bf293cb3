/** Tells a request as messages of the WebSocket, as it happens. */
import type { Notice, ReportedSetting, SqlError } from '../../domain/entries.ts';
import type { Output } from '../../domain/output.ts';
import type { RowForm, RowShape, Script } from '../../domain/script.ts';
import { jsonRows } from '../../domain/script.ts';
import { invalidText } from '../../domain/statements.ts';
import type { Frames } from './frames.ts';
import type { ServerMessage } from './messages.ts';

export const tell = (frames: Frames, message: ServerMessage): void => frames.text(JSON.stringify(message));

export const errorMessage = ({ message, code, detail, hint, position }: SqlError): ServerMessage => ({
  type: 'Error',
  payload: { message, code, detail, hint, position },
});

const ROWS = Buffer.from('{"type":"Rows","payload":');
const ROW = Buffer.from('{"type":"Row","payload":[');
const END = Buffer.from(']}');

export class SocketScript implements Script {
  readonly #frames: Frames;
  /** A result had bytes that are no text: nothing more of the request is told. */
  #fault: SqlError | undefined;
  #isFaultTold = false;
  /** Where the row begins that is being written and not told. */
  #mutedFrom: number | undefined;

  constructor(frames: Frames) {
    this.#frames = frames;
    frames.invalid = () => {
      this.#fault = { ...invalidText('in the result'), detail: 'Statements may have been completed.' };
      tell(frames, errorMessage(this.#fault));
    };
  }

  get out(): Output {
    return this.#frames.out;
  }

  starting(hasRows: boolean, isStreaming: boolean): void {
    if (this.#fault !== undefined) return;
    tell(this.#frames, { type: 'CommandStarting', payload: { has_rows: hasRows, is_streaming: isStreaming } });
  }

  columns(shape: RowShape): RowForm {
    if (this.#fault === undefined) {
      this.#frames.open();
      this.out.bytes(ROWS, 0, ROWS.length);
      this.out.bytes(shape.description, 0, shape.description.length);
      this.out.byte(0x7d);
      this.#frames.close();
    }
    return jsonRows(shape);
  }

  openRow(): void {
    if (this.#fault !== undefined) {
      this.#mutedFrom = this.out.offset;
      return;
    }
    this.#frames.open();
    this.out.bytes(ROW, 0, ROW.length);
  }

  closeRow(): void {
    if (this.#fault !== undefined) return this.#forgetRow();
    this.out.bytes(END, 0, END.length);
    this.#frames.close();
  }

  cutRow(): void {
    if (this.#fault !== undefined) return this.#forgetRow();
    this.#frames.cut();
  }

  #forgetRow(): void {
    if (this.#mutedFrom !== undefined) this.out.truncate(this.#mutedFrom);
    this.#mutedFrom = undefined;
  }

  continued(tag: string): void {
    this.complete(tag, []);
  }

  complete(tag: string, settings: readonly ReportedSetting[]): void {
    if (this.#fault !== undefined || !this.#frames.verify()) return;
    tell(this.#frames, { type: 'CommandComplete', payload: tag });
    this.settings(settings);
  }

  settings(reported: readonly ReportedSetting[]): void {
    for (const { name, value } of reported) tell(this.#frames, { type: 'ParameterStatus', payload: { name, value } });
  }

  notice({ message, code, severity, detail, hint }: Notice): void {
    tell(this.#frames, { type: 'Notice', payload: { message, code, severity, detail, hint } });
  }

  error(error: SqlError): void {
    if (this.#fault !== undefined || !this.#frames.verify()) return;
    tell(this.#frames, errorMessage(error));
  }

  flush(): Promise<SqlError | undefined> | undefined {
    const behind = this.#frames.flush();
    if (this.#fault !== undefined && !this.#isFaultTold) {
      this.#isFaultTold = true;
      return Promise.resolve(this.#fault);
    }
    return behind?.then(() => undefined);
  }

  release(): void {
    this.#frames.release();
  }
}
