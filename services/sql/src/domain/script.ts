/** What a request does, told as it happens: the port of everything that shows results. */
import type { Encoder } from './encoder.ts';
import type { Column, Notice, ReportedSetting, SqlError } from './entries.ts';
import { Output } from './output.ts';
import type { SettingChange } from './statements.ts';

/** What the rows of a result look like. */
export interface RowShape {
  readonly columns: readonly Column[];
  /** JSON of `{"columns":[…]}`. */
  readonly description: Buffer;
  /** How each column becomes JSON. */
  readonly encoders: readonly Encoder[];
}

/** How rows are written. */
export interface RowForm {
  readonly encoders: readonly Encoder[];
  /** What comes before each value; without it, there is a comma between two. */
  readonly prefixes?: readonly Buffer[];
  /** What is written for NULL. */
  readonly nothing: Buffer;
}

/** Idle, in a transaction, in a transaction that has failed. */
export type TransactionStatus = 'I' | 'T' | 'E';

const NULL = Buffer.from('null');

export const jsonRows = ({ encoders }: RowShape): RowForm => ({ encoders, nothing: NULL });

/**
 * Hears one request. Of each statement: notices as they occur; `starting`; then `columns`, rows and `complete`, or
 * `complete` alone, or `error`. After an error nothing more of the request runs. Rows may come before an error, and in
 * extended mode `complete` is told only when the statement has been committed.
 */
export interface Script {
  /** Where the values of rows are written, between `openRow` and `closeRow`. */
  readonly out: Output;
  /** A string in simple mode runs: which of its statements change settings. */
  begin?(changes: ReadonlyMap<number, SettingChange>): void;
  starting(hasRows: boolean, isStreaming: boolean): void;
  /** Told with the first row, or at the end of a result that has none; not if the statement fails before. */
  columns(shape: RowShape): RowForm;
  openRow(): void;
  closeRow(): void;
  /** The row that is open cannot be finished: `error` follows. Nothing of it is to be shown. */
  cutRow(): void;
  /** A rule has given the statement one more result: the one before is complete, the statement is not. */
  continued(tag: string): void;
  /** `settings` are those that the server told of with this statement, as far as it told statement by statement. */
  complete(tag: string, settings: readonly ReportedSetting[]): void;
  /** Settings that the server told of at the end, whatever became of the statements. */
  settings(reported: readonly ReportedSetting[]): void;
  notice(notice: Notice): void;
  error(error: SqlError): void;
  /**
   * Asked after whatever was written: while the promise is open nothing is read from the server. If it resolves to an
   * error, the statement is canceled and ends with that error.
   */
  flush(): Promise<SqlError | undefined> | undefined;
  /** What runs is being canceled: a promise of `flush` that waits for a reader resolves now. Without it, they are waited for. */
  release?(): void;
}

/** Of a request that answers no rows, when only some of what happens matters. */
export const scriptWithoutRows = (heard: Partial<Pick<Script, 'notice' | 'error'>>): Script => ({
  out: new Output(),
  starting: () => {},
  columns: jsonRows,
  openRow: () => {},
  closeRow: () => {},
  cutRow: () => {},
  continued: () => {},
  complete: () => {},
  settings: () => {},
  notice: () => {},
  error: () => {},
  flush: () => undefined,
  ...heard,
});

/** A script of a request whose answer is sent while it runs. */
export interface StreamScript extends Script {
  /** Nothing more is told. A transaction that is still open is rolled back. */
  finished(status: TransactionStatus): void;
}
