/** Reads what EXPLAIN answers, and holds it against the bounds of a caller. Pure. */
import type { SqlError } from './entries.ts';
import type { Bound, Bounds } from './guard.ts';
import type { GuardPart } from './guard-parts.ts';

/** SETTINGS tells of every planner setting that is not as it was built. */
export const EXPLAIN = 'EXPLAIN (FORMAT JSON, SETTINGS) ';

/** Characters of a plan that an error carries. */
const PLAN_MAX_CHARACTERS = 8_192;
/** When a string has changed more rows than these, what follows in it may cost more than it was estimated to. */
const SMALL_CHANGE_ROWS = 10_000;

/** Settings that the unit of a cost is made of: whoever lowers them lowers every estimate. */
export const COST_SETTINGS = [
  'seq_page_cost',
  'random_page_cost',
  'cpu_tuple_cost',
  'cpu_index_tuple_cost',
  'cpu_operator_cost',
  'parallel_setup_cost',
  'parallel_tuple_cost',
] as const;

/** The cost settings of a session that nobody has changed: those in force, of those that are not as they were built. */
export type Yardstick = ReadonlyMap<string, string>;

export interface Estimate {
  readonly cost: number;
  /** Rows that are answered or changed. */
  readonly rows: number;
  readonly isChange: boolean;
  /** The cost settings that are not as they were built. */
  readonly settings: ReadonlyMap<string, string>;
}

interface Plan {
  readonly cost: number;
  readonly rows: number;
  readonly isChange: boolean;
}

const CHANGE = 'ModifyTable';

/** Undefined if it is not what EXPLAIN prints. A statement that rules replace by nothing has an estimate of nothing. */
export function readEstimate(text: string): Estimate | undefined {
  const parsed = parseJson(text);
  if (!Array.isArray(parsed)) return undefined;
  const settings = new Map<string, string>();
  let [cost, rows, isChange] = [0, 0, false];
  const queries: readonly unknown[] = parsed;
  for (const query of queries) {
    const plan = readPlan(read(query, 'Plan'));
    for (const name of COST_SETTINGS) {
      const value = read(read(query, 'Settings'), name);
      if (typeof value === 'string') settings.set(name, value);
    }
    // A utility statement among those that rules put in, or a table that is there already: nothing is planned.
    if (plan === undefined) continue;
    cost += plan.cost;
    rows = Math.max(rows, plan.rows);
    isChange ||= plan.isChange;
  }
  return { cost, rows, isChange, settings };
}

function readPlan(plan: unknown): Plan | undefined {
  const cost = read(plan, 'Total Cost');
  const rows = read(plan, 'Plan Rows');
  if (typeof cost !== 'number' || typeof rows !== 'number') return undefined;
  if (read(plan, 'Node Type') !== CHANGE) return { cost, rows, isChange: false };
  // Without RETURNING it answers no row; what it changes are the rows of the plan below.
  const below = read(plan, 'Plans');
  const inputs = Array.isArray(below) ? below.filter((one) => read(one, 'Parent Relationship') !== 'InitPlan') : [];
  const changed = inputs.reduce((sum: number, one: unknown) => sum + (readPlan(one)?.rows ?? 0), 0);
  return { cost, rows: Math.max(rows, changed), isChange: true };
}

export interface Asked {
  readonly bounds: Bounds;
  readonly yardstick: Yardstick;
  /** The plan as it was printed. */
  readonly plan: string;
}

/** Why a statement is not run. */
export function estimateFault(estimate: Estimate, { bounds, yardstick, plan }: Asked): SqlError | undefined {
  const changed = COST_SETTINGS.find((name) => estimate.settings.get(name) !== yardstick.get(name));
  if (changed !== undefined && bounds.estimatedCostMax !== undefined) return changedUnit(changed, bounds.estimatedCostMax);
  const { estimatedCostMax, estimatedRowsMax } = bounds;
  if (estimatedCostMax !== undefined && !(estimate.cost <= estimatedCostMax.value))
    return tooExpensive(estimatedCostMax, `estimated cost ${estimate.cost}`, plan);
  if (estimatedRowsMax !== undefined && !(estimate.rows <= estimatedRowsMax.value))
    return tooExpensive(estimatedRowsMax, `estimated rows ${estimate.rows}`, plan);
  return undefined;
}

/** What the statements of a string, or of a batch, do to the estimates of those behind them. */
export class Standing {
  #changedRows = 0;
  #isUnsettled = false;

  /** What comes now may mean something else, or cost more, when its turn has come. */
  get isUnsettled(): boolean {
    return this.#isUnsettled;
  }

  unsettle(): void {
    this.#isUnsettled = true;
  }

  /** Many small changes are a large one. */
  add({ isChange, rows }: Estimate): void {
    if (isChange) this.#changedRows += rows;
    if (this.#changedRows > SMALL_CHANGE_ROWS) this.unsettle();
  }
}

const limitOf = ({ name, value, of }: Bound): string => `the limit ${name} of ${of}: ${value}`;

const tooExpensive = (bound: Bound, what: string, plan: string): SqlError => ({
  message: `${what} exceeds ${limitOf(bound)}`,
  code: '54000',
  detail: printPlan(plan),
  hint: 'The statement was not run. Narrow it, or add an index that it can use.',
});

const changedUnit = (name: string, bound: Bound): SqlError => ({
  message: `the statement cannot be held against ${limitOf(bound)}, as ${name} has been changed`,
  code: '54000',
  hint: `The statement was not run. RESET ${name}, or have it reset for the role.`,
});

const anyBound = ({ estimatedCostMax, estimatedRowsMax }: Bounds): string => {
  const bound = estimatedCostMax ?? estimatedRowsMax;
  return bound === undefined ? 'a limit' : limitOf(bound);
};

export const cannotEstimate = ({ name }: GuardPart, bounds: Bounds): SqlError => ({
  message: `${name} cannot be estimated, and so not be held against ${anyBound(bounds)}`,
  code: '54000',
  hint: 'The statement was not run. Send the queries themselves.',
});

export const sendSeparately = (place: number, bounds: Bounds): SqlError => ({
  message: `statement ${place} of the string cannot be estimated before those in front of it have run, and so not be held against ${anyBound(bounds)}`,
  code: '54000',
  hint: 'Nothing of the string was run. Send the statements separately.',
});

export const planTooLarge = (bounds: Bounds): SqlError => ({
  message: `the plan of the statement is too large to be held against ${anyBound(bounds)}`,
  code: '54000',
});

/** One line, and no more than an error should carry. */
function printPlan(plan: string): string {
  const printed = JSON.stringify(parseJson(plan)) ?? '';
  return printed.length > PLAN_MAX_CHARACTERS ? `${printed.slice(0, PLAN_MAX_CHARACTERS)}…` : printed;
}

/** The server's own error about an EXPLAIN, as it would be about the statement itself. */
export function withoutExplain(error: SqlError, charactersBefore: number): SqlError {
  // In a string that is sent as it is, a parameter without a value is unknown rather than missing.
  if (error.position === undefined) return error;
  return { ...error, position: Math.max(1, error.position - EXPLAIN.length + charactersBefore) };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function read(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  return Object.entries(value).find(([key]) => key === name)?.[1];
}
