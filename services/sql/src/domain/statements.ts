/** What may be run here, judged on PostgreSQL's own parse of the text. Pure; its tests are the security tests. */
import type { SqlError } from './entries.ts';
import type { GuardPart } from './guard-parts.ts';
import { guardPart } from './guard-parts.ts';

/** A statement that changes settings, so that a reported setting can be told of with the statement that changed it. */
export interface SettingChange {
  /** Lower-cased; undefined for what may change or restore any setting: COMMIT, ROLLBACK, DISCARD, RESET ALL. */
  readonly name: string | undefined;
  readonly values: readonly string[];
}

export type Verdict =
  | {
      readonly kind: 'statements';
      readonly count: number;
      /** The first statement that is not for this API, printed again. */
      readonly forbidden: string | undefined;
      readonly changes: ReadonlyMap<number, SettingChange>;
      /** Something may be made, changed or dropped that only this session can see until it commits. */
      readonly definesObjects: boolean;
      /** It is one SELECT (or VALUES, or TABLE): no rules, no utilities. */
      readonly isOneSelect: boolean;
      /** For the cost guard: one for each statement. */
      readonly parts: readonly GuardPart[];
    }
  /** The grammar does not know the text. The server's own words for it are better, if it agrees. */
  | { readonly kind: 'rejected'; readonly error: SqlError }
  /** Too long or too deep to be judged. */
  | { readonly kind: 'unjudged'; readonly error: SqlError };

/** One statement of a parse: the name of its node, and the node's fields when asked. */
export interface ParsedStatement {
  readonly node: string;
  readonly fields: () => unknown;
  readonly print: () => string;
  /** Bytes of the text. */
  readonly place: () => { readonly from: number; readonly to: number };
  /** Whether the parse, as it is printed, has these characters in it. */
  readonly mentions: (words: string) => boolean;
  /** Of an EXPLAIN: where the statement that it explains begins, in bytes of the text. */
  readonly explainedFrom: () => number | undefined;
}

/** Bytes of SQL in one string. */
export const TEXT_MAX_BYTES = 1_000_000;

export const batchTooLarge: SqlError = {
  message: 'statement batch size cannot exceed 1.0 MB',
  code: '54000',
};

export const tooComplex: SqlError = {
  message: 'stack depth limit exceeded',
  code: '54001',
  detail: 'The statement is nested too deeply to be examined.',
};

export const tooSlow: SqlError = {
  message: 'the statement takes too long to be examined',
  code: '54001',
};

export function invalidText(what: string): SqlError {
  return { message: `invalid byte sequence for encoding "UTF8": ${what}`, code: '22021' };
}

/** PostgreSQL's text holds neither NUL nor half a surrogate pair. */
export function textFault(text: string): SqlError | undefined {
  if (text.includes('\0')) return invalidText('0x00');
  return text.isWellFormed() ? undefined : invalidText('0xed');
}

export function judge(statements: Iterable<ParsedStatement>): Verdict {
  let count = 0;
  let forbidden: string | undefined;
  const changes = new Map<number, SettingChange>();
  const parts: GuardPart[] = [];
  let definesObjects = false;
  let selects = 0;
  for (const statement of statements) {
    if (forbidden === undefined && isForbidden(statement)) forbidden = statement.print();
    const change = settingChange(statement);
    if (change !== undefined) changes.set(count, change);
    parts.push(guardPart(statement, change));
    definesObjects ||= !DEFINES_NOTHING.has(statement.node);
    if (statement.node === 'SelectStmt') selects += 1;
    count += 1;
  }
  return { kind: 'statements', count, forbidden, changes, definesObjects, isOneSelect: count === 1 && selects === 1, parts };
}

/** Statements that leave every object as it was, but for what functions and triggers do. */
const DEFINES_NOTHING = new Set(
  (
    'SelectStmt InsertStmt UpdateStmt DeleteStmt MergeStmt TruncateStmt CopyStmt PrepareStmt ExecuteStmt DeallocateStmt ExplainStmt ' +
    'VariableSetStmt VariableShowStmt TransactionStmt ConstraintsSetStmt LockStmt NotifyStmt ListenStmt UnlistenStmt'
  ).split(' '),
);

/** Cursors outlive their statement, and COPY speaks another protocol; neither has a place in one request and its answer. */
function isForbidden(statement: ParsedStatement): boolean {
  switch (statement.node) {
    case 'FetchStmt':
    case 'DeclareCursorStmt':
    case 'ClosePortalStmt':
      return true;
    case 'CopyStmt':
      // Without a file or program it is to or from the client.
      return field(statement.fields(), 'filename') === undefined;
    case 'VariableSetStmt':
      return breaksReading(settingChange(statement));
    default:
      return false;
  }
}

/**
 * Answers are UTF-8, and texts are judged with standard strings: a session of another kind would be misread.
 * (`set_config` gets past this; the runner looks at what the server reports as well.)
 */
function breaksReading(change: SettingChange | undefined): boolean {
  const value = change?.values[0]?.toLowerCase();
  if (value === undefined) return false;
  return (
    (change?.name === 'client_encoding' && !isUtf8Name(value)) ||
    (change?.name === 'standard_conforming_strings' && !isTrueWord(value))
  );
}

export const isUtf8Name = (encoding: string): boolean =>
  ['utf8', 'unicode'].includes(encoding.toLowerCase().replaceAll(/[^a-z0-9]/g, ''));
const isTrueWord = (value: string): boolean =>
  ['on', 'true', 'yes', '1'].some((word) => word === value || (value.length > 1 && word.startsWith(value)));

function settingChange({ node, fields }: ParsedStatement): SettingChange | undefined {
  if (node === 'TransactionStmt' || node === 'DiscardStmt') return { name: undefined, values: [] };
  if (node !== 'VariableSetStmt') return undefined;
  const read = fields();
  const name = field(read, 'name');
  const kind = field(read, 'kind');
  if (typeof name !== 'string' || kind === 'VAR_SET_MULTI' || kind === 'VAR_RESET_ALL') return { name: undefined, values: [] };
  const args = field(read, 'args');
  return {
    name: name.toLowerCase(),
    values: Array.isArray(args) ? args.map(constant).filter((value) => value !== undefined) : [],
  };
}

/** The text of a constant: `A_Const` with a string, integer or boolean in it. */
function constant(argument: unknown): string | undefined {
  const held = field(argument, 'A_Const');
  const value =
    field(field(held, 'sval'), 'sval') ?? field(field(held, 'fval'), 'fval') ?? field(field(held, 'ival'), 'ival') ?? undefined;
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  // Zero and false are left out of a printed tree.
  if (field(held, 'ival') !== undefined) return '0';
  const flag = field(held, 'boolval');
  return flag === undefined ? undefined : String(field(flag, 'boolval') === true);
}

function field(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  return Object.entries(value).find(([key]) => key === name)?.[1];
}

/** What is to be done for a string in simple mode. */
export type SimplePlan =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'refuse'; readonly error: SqlError }
  /** Ask the server for its own error, without running anything; if it has none, refuse with ours. */
  | { readonly kind: 'probe'; readonly error: SqlError }
  | ({ readonly kind: 'run' } & Pick<
      Extract<Verdict, { kind: 'statements' }>,
      'changes' | 'definesObjects' | 'isOneSelect' | 'parts'
    >);

export function planSimple(verdict: Verdict): SimplePlan {
  if (verdict.kind === 'unjudged') return { kind: 'refuse', error: verdict.error };
  if (verdict.kind === 'rejected') return { kind: 'probe', error: verdict.error };
  if (verdict.forbidden !== undefined) return { kind: 'refuse', error: unsupported(verdict.forbidden) };
  const { count, changes, definesObjects, isOneSelect, parts } = verdict;
  return count === 0 ? { kind: 'nothing' } : { kind: 'run', changes, definesObjects, isOneSelect, parts };
}

export type Step = Exclude<SimplePlan, { readonly kind: 'nothing' }>;

export type ExtendedPlan =
  | { readonly kind: 'steps'; readonly steps: readonly Step[] }
  /** A query that holds another number of statements than one: the whole request is turned away. */
  | { readonly kind: 'notOne'; readonly index: number; readonly count: number };

/** The whole request is looked at before any of it runs; a parse error only stops its own turn. */
export function planExtended(verdicts: readonly Verdict[]): ExtendedPlan {
  const index = verdicts.findIndex((verdict) => verdict.kind === 'statements' && verdict.count !== 1);
  const odd = verdicts[index];
  if (odd?.kind === 'statements') return { kind: 'notOne', index, count: odd.count };
  const steps: Step[] = [];
  for (const verdict of verdicts) {
    const step = planSimple(verdict);
    if (step.kind !== 'nothing') steps.push(step);
  }
  return { kind: 'steps', steps };
}

/**
 * Whether a type may have another shape in the session than the catalog shows to others. A query in extended mode commits
 * before the next one begins, unless a transaction was begun.
 */
export function mayHideTypes(steps: readonly Step[], isSimple: boolean): boolean {
  const runs = steps.filter((step) => step.kind === 'run');
  const inTransaction = isSimple || runs.some(({ changes }) => changes.values().some(({ name }) => name === undefined));
  return inTransaction && runs.some(({ definesObjects }) => definesObjects);
}

export const unsupported = (statement: string): SqlError => ({
  message: `unsupported via this API: ${statement}`,
  code: 'XX000',
});
