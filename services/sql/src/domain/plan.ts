/** What is done for a request: its texts judged, and the steps that follow from that. */
import type { Asker, Grammar, QueryWithParameters, SqlRequest } from './ports.ts';
import type { SqlError } from './entries.ts';
import type { SimplePlan, Step, Verdict } from './statements.ts';
import { batchTooLarge, planExtended, planSimple, TEXT_MAX_BYTES, textFault } from './statements.ts';

export interface Query {
  readonly query: string;
  /** Undefined in simple mode. */
  readonly params: QueryWithParameters['params'] | undefined;
}

export type Plan =
  | { readonly kind: 'steps'; readonly queries: readonly Query[]; readonly steps: readonly Step[] }
  /** A query that holds another number of statements than one: nothing runs. */
  | { readonly kind: 'notOne'; readonly query: string; readonly count: number };

/** Each costs a round trip and an entry of its own. */
export const QUERIES_MAX = 10_000;

/** Rejects with a `Failure` if too many texts of the principal's wait to be judged. */
export async function planRequest(request: SqlRequest, grammar: Grammar, asker: Asker): Promise<Plan> {
  if (request.kind === 'simple') {
    const judged = judgeText(request.query, grammar, asker);
    const verdict = judged instanceof Promise ? await judged : judged;
    const isTooMany = verdict.kind === 'statements' && verdict.count > QUERIES_MAX;
    const plan: SimplePlan = isTooMany ? { kind: 'refuse', error: tooManyStatements(verdict.count) } : planSimple(verdict);
    return plan.kind === 'nothing'
      ? { kind: 'steps', queries: [], steps: [] }
      : { kind: 'steps', queries: [{ query: request.query, params: undefined }], steps: [plan] };
  }
  if (request.queries.length > QUERIES_MAX) {
    return {
      kind: 'steps',
      queries: request.queries,
      steps: [{ kind: 'refuse', error: tooManyQueries(request.queries.length) }],
    };
  }
  const verdicts = await judgeAll(request.queries, grammar, asker);
  const plan = planExtended(verdicts);
  if (plan.kind === 'notOne') return { kind: 'notOne', query: request.queries[plan.index]?.query ?? '', count: plan.count };
  return { kind: 'steps', queries: request.queries, steps: plan.steps };
}

function judgeText(query: string, grammar: Grammar, asker: Asker): Verdict | Promise<Verdict> {
  const fault = textFault(query);
  if (fault !== undefined) return { kind: 'unjudged', error: fault };
  if (query.length > TEXT_MAX_BYTES || Buffer.byteLength(query) > TEXT_MAX_BYTES)
    return { kind: 'unjudged', error: batchTooLarge };
  return grammar.judge(query, asker);
}

/** One after the other: a request never has more than one text in a line. */
async function judgeAll(queries: readonly Query[], grammar: Grammar, asker: Asker): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  for (const { query } of queries) {
    const judged = judgeText(query, grammar, asker);
    verdicts.push(judged instanceof Promise ? await judged : judged);
    if (asker.isGone()) break;
  }
  return verdicts;
}

export const tooManyQueries = (count: number): SqlError => ({
  message: `a request takes at most ${QUERIES_MAX} queries, but ${count} were supplied`,
  code: '54000',
});

/** An entry of an answer costs memory for as long as the answer is kept, however short the statement. */
const tooManyStatements = (count: number): SqlError => ({
  message: `a string takes at most ${QUERIES_MAX} statements, but ${count} were supplied`,
  code: '54000',
});

export const notOneStatement = (query: string, count: number): string =>
  `each query must contain exactly 1 statement, but "${query}" contains ${count}`;
