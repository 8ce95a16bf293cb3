/**
 * What the cost guard makes of each statement of a text: which are estimated, which need not be, and which could run
 * anything without being estimated. Pure; judged on PostgreSQL's own parse.
 */
import type { ParsedStatement, SettingChange } from './statements.ts';

export interface GuardPart {
  /**
   * plan: EXPLAIN tells what it costs. pass: it reads and writes nothing by a query. opaque: a query, or a program, runs
   * that EXPLAIN does not show.
   */
  readonly kind: 'plan' | 'pass' | 'opaque';
  /** Bytes of the text: what is put behind EXPLAIN. */
  readonly from: number;
  readonly to: number;
  /** What is opaque. */
  readonly name: string;
  /** What follows in the same string may mean something else than it does before this has run. */
  readonly isUnsettling: boolean;
  /** What an open transaction has set or made may be gone behind it. */
  readonly endsTransaction: boolean;
}

/** What EXPLAIN takes, as far as it tells a plan. */
const PLANNED = new Set(
  'SelectStmt InsertStmt UpdateStmt DeleteStmt MergeStmt DeclareCursorStmt CreateTableAsStmt ExecuteStmt'.split(' '),
);

const OPAQUE: ReadonlyMap<string, string> = new Map([
  ['DoStmt', 'DO'],
  ['CallStmt', 'CALL'],
  ['CopyStmt', 'COPY'],
  ['RefreshMatViewStmt', 'REFRESH MATERIALIZED VIEW'],
]);

/**
 * Statements behind which everything means what it meant before. Rows may have changed: see {@link GuardPart}. Neither
 * EXECUTE nor FETCH is one: what they run was said elsewhere.
 */
const SETTLED = new Set(
  (
    'SelectStmt InsertStmt UpdateStmt DeleteStmt MergeStmt TransactionStmt VariableShowStmt ExplainStmt LockStmt NotifyStmt ' +
    'ListenStmt UnlistenStmt DeclareCursorStmt ClosePortalStmt ConstraintsSetStmt'
  ).split(' '),
);

/** Settings that say nothing of what a name means, who asks, or what is seen. */
const HARMLESS_SETTINGS = new Set(
  (
    'statement_timeout lock_timeout transaction_timeout idle_in_transaction_session_timeout application_name datestyle timezone ' +
    'intervalstyle bytea_output extra_float_digits client_min_messages'
  ).split(' '),
);

/** They end a transaction, or undo a part of it. */
const ENDINGS = ['"TRANS_STMT_COMMIT"', '"TRANS_STMT_ROLLBACK"', '"TRANS_STMT_ROLLBACK_TO"', '"TRANS_STMT_PREPARE"'];

/** Functions of the server itself that take a text of SQL, or a table, and run it. */
const TEXT_RUNNERS = ['_to_xml', '"String":{"sval":"ts_stat"', '"String":{"sval":"ts_rewrite"'];

export function guardPart(statement: ParsedStatement, change: SettingChange | undefined): GuardPart {
  const { node } = statement;
  const { from, to } = statement.place();
  const isUnsettling =
    (change === undefined ? !SETTLED.has(node) : !isHarmless(statement, change)) ||
    setsByQuery(statement) ||
    statement.mentions('"TRANS_STMT_COMMIT_PREPARED"');
  const endsTransaction = node === 'TransactionStmt' && ENDINGS.some((words) => statement.mentions(words));
  const pass: GuardPart = { kind: 'pass', from, to, name: '', isUnsettling, endsTransaction };
  const opaque = (name: string): GuardPart => ({ ...pass, kind: 'opaque', name, isUnsettling: true });
  const name = OPAQUE.get(node);
  if (name !== undefined) return opaque(name);
  if (node === 'ExplainStmt') return explained(statement, pass, opaque);
  if (!PLANNED.has(node)) return pass;
  if (runsText(statement)) return opaque('a function that runs a text of SQL');
  if (hasComputedArguments(node, statement)) return opaque('EXECUTE with computed arguments');
  // SELECT INTO makes a table; of WITH and the like nothing more is said here than EXPLAIN says.
  return { ...pass, kind: 'plan', isUnsettling: isUnsettling || statement.mentions('"intoClause"') };
}

const runsText = (statement: ParsedStatement): boolean => TEXT_RUNNERS.some((words) => statement.mentions(words));

/** A query can do what SET does: by the function, or by an update of the view of all settings. */
const setsByQuery = ({ node, mentions }: ParsedStatement): boolean =>
  mentions('"String":{"sval":"set_config"') ||
  (mentions('"relname":"pg_settings"') && (node === 'UpdateStmt' || mentions('"UpdateStmt"')));

/** Only with ANALYZE does anything run; then what is explained is what is estimated. */
function explained(statement: ParsedStatement, pass: GuardPart, opaque: (name: string) => GuardPart): GuardPart {
  const fields = statement.fields();
  const options = read(fields, 'options');
  const isAnalyzed = Array.isArray(options) && options.some((option) => read(read(option, 'DefElem'), 'defname') === 'analyze');
  const [inner = ''] = keys(read(fields, 'query'));
  // The arguments of EXECUTE are evaluated also without it.
  if (hasComputed(read(fields, 'query'))) return opaque('EXPLAIN of EXECUTE with computed arguments');
  if (!isAnalyzed) return pass;
  const from = statement.explainedFrom();
  if (from === undefined || !PLANNED.has(inner) || runsText(statement)) return opaque('EXPLAIN ANALYZE');
  const isUnsettling = !SETTLED.has(inner) || statement.mentions('"intoClause"') || setsByQuery(statement);
  return { ...pass, kind: 'plan', from, isUnsettling };
}

function hasComputedArguments(node: string, statement: ParsedStatement): boolean {
  if (node === 'ExecuteStmt') return hasComputed({ ExecuteStmt: statement.fields() });
  return node === 'CreateTableAsStmt' && statement.mentions('"ExecuteStmt"') && hasComputed(read(statement.fields(), 'query'));
}

/** EXPLAIN evaluates the arguments of EXECUTE, which is to run nothing. */
function hasComputed(query: unknown): boolean {
  const made = read(query, 'CreateTableAsStmt');
  if (made !== undefined) return hasComputed(read(made, 'query'));
  const execute = read(query, 'ExecuteStmt');
  const args = read(execute, 'params');
  return execute !== undefined && Array.isArray(args) && !args.every(isConstant);
}

function isConstant(argument: unknown): boolean {
  const cast = read(argument, 'TypeCast');
  if (cast !== undefined) return isConstant(read(cast, 'arg'));
  return read(argument, 'A_Const') !== undefined || read(argument, 'ParamRef') !== undefined;
}

function isHarmless({ node, mentions }: ParsedStatement, { name }: SettingChange): boolean {
  // BEGIN, COMMIT, SAVEPOINT, ROLLBACK: what they may bring back was unsettling before. SET TRANSACTION.
  if (node === 'TransactionStmt' || mentions('"VAR_SET_MULTI"')) return true;
  return name !== undefined && HARMLESS_SETTINGS.has(name);
}

const keys = (value: unknown): readonly string[] => (typeof value === 'object' && value !== null ? Object.keys(value) : []);

function read(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  return Object.entries(value).find(([key]) => key === name)?.[1];
}
