/** Makes the entries of an answer that is sent only when it is final: in memory at first, in a file if it grows. */
import type { Notice, ReportedSetting, SqlError } from '../domain/entries.ts';
import { Entries } from '../domain/entries.ts';
import type { KeptAnswer } from '../domain/keeping.ts';
import { Marks } from '../domain/marks.ts';
import { Output } from '../domain/output.ts';
import type { Answer } from '../domain/ports.ts';
import type { RowForm, RowShape, Script } from '../domain/script.ts';
import { jsonRows } from '../domain/script.ts';
import type { SettingChange } from '../domain/statements.ts';
import { invalidText } from '../domain/statements.ts';
import { createAnswer } from './answer.fs.ts';
import type { SpoolLimits } from './spooled-output.fs.ts';
import { SpooledOutput } from './spooled-output.fs.ts';

/** A file is open as long as an answer is kept. */
const HELD_MAX_BYTES = 4_096;

const NO_CHANGES: ReadonlyMap<number, SettingChange> = new Map();

export class AnswerScript implements Script {
  readonly out: Output;
  readonly #output: SpooledOutput;
  readonly #marks: Marks | undefined;
  readonly #entries: Entries;
  #changes: ReadonlyMap<number, SettingChange> = NO_CHANGES;
  #completed = 0;
  /** Where the settings of the statements in `#changes` may be put in. */
  readonly #changeOffsets = new Map<number, number>();

  /** With `marks`, the answer can be read in parts: see {@link AnswerScript.keep}. */
  constructor(limits: SpoolLimits, marks?: Marks) {
    this.#output = new SpooledOutput(limits);
    this.out = this.#output.out;
    this.#marks = marks;
    this.#entries = new Entries(this.out, marks);
  }

  begin(changes: ReadonlyMap<number, SettingChange>): void {
    this.#changes = changes;
  }

  starting(): void {}

  columns(shape: RowShape): RowForm {
    this.#entries.openRows(shape.description);
    return jsonRows(shape);
  }

  openRow(): void {
    this.#entries.openRow();
  }

  closeRow(): void {
    this.#entries.closeRow();
  }

  /** Its statement fails, and all rows of that are taken back. */
  cutRow(): void {}

  continued(): void {}

  complete(tag: string, settings: readonly ReportedSetting[]): void {
    const at = this.#entries.complete(tag, settings);
    if (this.#changes.has(this.#completed)) this.#changeOffsets.set(this.#completed, at);
    this.#completed += 1;
  }

  /** In simple mode the server tells of all settings at the end; each goes to the last statement that may have changed it. */
  settings(reported: readonly ReportedSetting[]): void {
    if (this.#changeOffsets.size === 0) return;
    const byOffset = new Map<number, ReportedSetting[]>();
    for (const setting of reported) {
      const at = this.#offsetOf(setting.name.toLowerCase());
      if (at === undefined) continue;
      const placed = byOffset.get(at);
      if (placed === undefined) byOffset.set(at, [setting]);
      else placed.push(setting);
    }
    for (const [at, placed] of byOffset) this.#entries.insertSettings(at, placed);
    this.#changeOffsets.clear();
  }

  #offsetOf(name: string): number | undefined {
    let own: number | undefined;
    let any: number | undefined;
    for (const [index, at] of this.#changeOffsets) {
      const change = this.#changes.get(index);
      if (change?.name === name) own = at;
      else any = change?.name === undefined ? at : (any ?? at);
    }
    return own ?? any;
  }

  notice(notice: Notice): void {
    this.#entries.notice(notice);
  }

  error(error: SqlError): void {
    this.#entries.fail(error);
    this.#output.restartText();
  }

  /** Keeps at most what may be kept in memory; the rest goes to a file, and the server waits while the disk is behind. */
  flush(): Promise<SqlError | undefined> | undefined {
    return this.#output.isFull ? this.#output.write() : undefined;
  }

  /** The transaction that the request has left open is undone. */
  rolledBack(): void {
    this.#entries.rolledBack();
  }

  async finish(): Promise<Answer> {
    this.#entries.finish();
    const answer = this.#output.finish(this.#entries.insertions);
    if (answer !== undefined) return answer;
    await this.dispose();
    return errorAnswer(unreadable);
  }

  /** Like {@link finish}, but what is kept for long is not kept in memory, unless it is very small. */
  async keep(): Promise<KeptAnswer> {
    this.#entries.finish();
    const output = this.#output;
    const failed = this.out.heldBytes > HELD_MAX_BYTES || output.isSpooled ? await output.write() : undefined;
    const kept = failed === undefined ? output.finish(this.#entries.insertions, true) : undefined;
    const marks = this.#marks ?? new Marks();
    if (kept !== undefined) return { ...kept, entries: marks.entries, failure: marks.failure };
    await this.dispose();
    const other = new Marks();
    const answer = errorAnswer({ ...(failed ?? unreadable), detail: 'Statements may have been completed.' }, other);
    return { ...answer, entries: other.entries, failure: other.failure };
  }

  dispose(): Promise<void> {
    return this.#output.dispose();
  }
}

/** Bytes that are no UTF-8 come from a database without an encoding, or a session that was switched to another. */
const unreadable: SqlError = { ...invalidText('in the result'), detail: 'Statements may have been completed.' };

function errorAnswer(error: SqlError, marks?: Marks): Answer & Pick<KeptAnswer, 'range'> {
  const out = new Output();
  const entries = new Entries(out, marks);
  entries.fail(error);
  entries.finish();
  return createAnswer({ held: out.held(), heldFrom: 0, insertions: [], spool: undefined });
}
