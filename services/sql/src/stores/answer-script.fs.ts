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
import { Utf8Check } from '../domain/utf8.ts';
import { createAnswer } from './answer.fs.ts';
import type { Spool, SpoolSpace } from './spool.fs.ts';
import { openSpool, SpoolFull } from './spool.fs.ts';

export interface AnswerLimits {
  readonly spoolBytes: number;
  readonly spoolFolder: string;
  readonly spoolSpace: SpoolSpace;
}

/** Once an answer is in a file, it goes there in pieces of this size. */
const SPOOL_STEP_BYTES = 262_144;

/** A file is open as long as an answer is kept. */
const HELD_MAX_BYTES = 4_096;

const NO_CHANGES: ReadonlyMap<number, SettingChange> = new Map();

export class AnswerScript implements Script {
  readonly out = new Output();
  readonly #limits: AnswerLimits;
  readonly #marks: Marks | undefined;
  readonly #entries: Entries;
  readonly #utf8 = new Utf8Check();
  #spool: Spool | undefined;
  #hasSpoolFailed = false;
  #changes: ReadonlyMap<number, SettingChange> = NO_CHANGES;
  #completed = 0;
  /** Where the settings of the statements in `#changes` may be put in. */
  readonly #changeOffsets = new Map<number, number>();

  /** With `marks`, the answer can be read in parts: see {@link AnswerScript.keep}. */
  constructor(limits: AnswerLimits, marks?: Marks) {
    this.#limits = limits;
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
    this.#utf8.restart();
  }

  /** Keeps at most what may be kept in memory; the rest goes to a file, and the server waits while the disk is behind. */
  flush(): Promise<SqlError | undefined> | undefined {
    if (this.#hasSpoolFailed) return undefined;
    const limit = this.#spool === undefined ? this.#limits.spoolBytes : SPOOL_STEP_BYTES;
    return this.out.heldBytes > limit ? this.#writeToSpool() : undefined;
  }

  async #writeToSpool(): Promise<SqlError | undefined> {
    const at = this.out.takenBytes;
    const chunks = this.out.take();
    this.#utf8.add(chunks);
    try {
      this.#spool ??= await openSpool(this.#limits.spoolFolder, this.#limits.spoolSpace);
      await this.#spool.write(at, chunks);
      this.out.recycle(chunks);
      return undefined;
    } catch (error) {
      // Entries before the one that fails may be among them.
      this.out.putBack(chunks);
      this.#hasSpoolFailed = true;
      return spoolError(error);
    }
  }

  /** The transaction that the request has left open is undone. */
  rolledBack(): void {
    this.#entries.rolledBack();
  }

  async finish(): Promise<Answer> {
    this.#entries.finish();
    const held = this.out.held();
    this.#utf8.add(held);
    const spool = this.#spool;
    if (this.#utf8.isValid) {
      return createAnswer({ held, heldFrom: this.out.takenBytes, insertions: this.#entries.insertions, spool });
    }
    await this.dispose();
    return errorAnswer(unreadable);
  }

  /** Like {@link finish}, but what is kept for long is not kept in memory, unless it is very small. */
  async keep(): Promise<KeptAnswer> {
    this.#entries.finish();
    let failed: SqlError | undefined;
    if (this.out.heldBytes > HELD_MAX_BYTES || this.#spool !== undefined) failed = await this.#writeToSpool();
    const held = this.out.held().map((chunk) => Buffer.from(chunk));
    this.#utf8.add(held);
    if (failed === undefined && !this.#utf8.isValid) failed = unreadable;
    const marks = this.#marks ?? new Marks();
    if (failed === undefined) {
      const { insertions } = this.#entries;
      const answer = createAnswer({ held, heldFrom: this.out.takenBytes, insertions, spool: this.#spool });
      return { ...answer, entries: marks.entries, failure: marks.failure };
    }
    await this.dispose();
    const other = new Marks();
    const answer = errorAnswer({ ...failed, detail: 'Statements may have been completed.' }, other);
    return { ...answer, entries: other.entries, failure: other.failure };
  }

  async dispose(): Promise<void> {
    await this.#spool?.[Symbol.asyncDispose]();
    this.#spool = undefined;
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

export function spoolError(error: unknown): SqlError {
  if (error instanceof SpoolFull) {
    return { message: 'could not keep the result: large results of others take all the room there is for them', code: '53400' };
  }
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ENOSPC' || code === 'EDQUOT'
    ? { message: 'could not keep the result: no space left on the disk of the service', code: '53100' }
    : { message: 'could not keep the result: the disk of the service failed', code: '58030' };
}
