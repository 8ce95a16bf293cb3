/** Runs a request in a session of the caller's own login and makes the bytes of its answer. */
import type { Asker, Catalog, Grammar, Outcome, QueryRunner, QueryWithParameters, Run, RunOptions } from '../domain/ports.ts';
import { mayNeedBinary } from '../domain/binary.ts';
import type { SqlError } from '../domain/entries.ts';
import type { Step, Verdict } from '../domain/statements.ts';
import { batchTooLarge, mayHideTypes, planExtended, planSimple, TEXT_MAX_BYTES, textFault } from '../domain/statements.ts';
import type { Sessions } from './sessions.pg.ts';
import type { DescribeRows } from './row-shapes.pg.ts';
import { createDescribeRows } from './row-shapes.pg.ts';
import type { SpoolSpace } from './spool.fs.ts';
import { Task } from './task.pg.ts';
import { extendedQuery, parse, PARAMETERS_MAX, simpleQuery, sync } from './wire.pg.ts';

export interface RunnerLimits {
  /** Longest time of a whole request. */
  readonly requestMs: number;
  readonly resultBytes: number;
  readonly spoolBytes: number;
  readonly spoolFolder: string;
  readonly spoolSpace: SpoolSpace;
}

export interface QueryRunnerOptions {
  readonly sessions: Sessions;
  readonly grammar: Grammar;
  readonly catalog: Catalog;
  readonly limits: RunnerLimits;
}

export interface CancelableRunner extends QueryRunner {
  /** Cancels what runs for a principal; with a token, only what came with that token. */
  revoke(principalId: string, tokenId: string | undefined): void;
  /** Revocations may have been missed: cancels everything that runs. */
  revokeAll(): void;
  /** Requests under way. */
  underWay(): number;
}

/** Each costs a round trip and an entry of its own. */
const QUERIES_MAX = 10_000;

const revokedError: SqlError = { message: 'canceling statement because the credential was revoked', code: '57014' };
const maybeRevokedError: SqlError = {
  message: 'canceling statement because a revocation of the credential may have been missed',
  code: '57014',
};
const timeoutError: SqlError = { message: 'canceling statement due to statement timeout', code: '57014' };

export function createQueryRunner(options: QueryRunnerOptions): CancelableRunner {
  const running = new Set<RunningRequest>();
  const describeRows = createDescribeRows(options.catalog);
  return {
    run(asked): Run {
      const request = new RunningRequest(asked, { ...options, describeRows });
      running.add(request);
      const outcome = request.run().finally(() => running.delete(request));
      return { outcome, abandon: () => request.abandon() };
    },
    revoke(principalId, tokenId) {
      for (const request of running) request.revoke(principalId, tokenId);
    },
    revokeAll() {
      for (const request of running) request.stop(maybeRevokedError);
    },
    underWay: () => running.size,
  };
}

type RequestOptions = QueryRunnerOptions & { readonly describeRows: DescribeRows };

class RunningRequest {
  readonly #asked: RunOptions;
  readonly #options: RequestOptions;
  readonly #abandoned = Promise.withResolvers<void>();
  #isAbandoned = false;
  readonly #asker: Asker;
  #task: Task | undefined;
  #stopped: SqlError | undefined;

  constructor(asked: RunOptions, options: RequestOptions) {
    this.#asked = asked;
    this.#options = options;
    this.#asker = { principalId: asked.caller.principal.id, spentMs: 0, isGone: () => this.#isAbandoned };
  }

  abandon(): void {
    this.#isAbandoned = true;
    this.#abandoned.resolve();
    this.#task?.abandon();
  }

  revoke(principalId: string, tokenId: string | undefined): void {
    const { principal } = this.#asked.caller;
    if (principal.id !== principalId || (tokenId !== undefined && tokenId !== principal.tokenId)) return;
    this.stop(revokedError);
  }

  stop(error: SqlError): void {
    this.#stopped = error;
    this.#task?.stop(error);
  }

  async run(): Promise<Outcome> {
    const { request } = this.#asked;
    if (request.kind === 'simple') {
      const judged = this.#judge(request.query);
      const plan = planSimple(judged instanceof Promise ? await judged : judged);
      return plan.kind === 'nothing' ? this.#answer([], []) : this.#answer([{ query: request.query, params: undefined }], [plan]);
    }
    if (request.queries.length > QUERIES_MAX) {
      return this.#answer(request.queries, [{ kind: 'refuse', error: tooManyQueries(request.queries.length) }]);
    }
    const verdicts = await this.#judgeAll(request.queries);
    const plan = planExtended(verdicts);
    if (plan.kind === 'notOne') {
      return { kind: 'notOneStatement', query: request.queries[plan.index]?.query ?? '', count: plan.count };
    }
    return this.#answer(request.queries, plan.steps);
  }

  #judge(query: string): Verdict | Promise<Verdict> {
    const fault = textFault(query);
    if (fault !== undefined) return { kind: 'unjudged', error: fault };
    if (query.length > TEXT_MAX_BYTES || Buffer.byteLength(query) > TEXT_MAX_BYTES)
      return { kind: 'unjudged', error: batchTooLarge };
    return this.#options.grammar.judge(query, this.#asker);
  }

  /** One after the other: a request never has more than one text in a line. */
  async #judgeAll(queries: readonly Query[]): Promise<Verdict[]> {
    const verdicts: Verdict[] = [];
    for (const { query } of queries) {
      const judged = this.#judge(query);
      verdicts.push(judged instanceof Promise ? await judged : judged);
      if (this.#isAbandoned) break;
    }
    return verdicts;
  }

  async #answer(queries: readonly Query[], steps: readonly Step[]): Promise<Outcome> {
    const { limits, describeRows } = this.#options;
    const areTypesHidden = mayHideTypes(steps, this.#asked.request.kind === 'simple');
    const task = new Task({ limits, describeRows, areTypesHidden });
    this.#task = task;
    try {
      const refused = await this.#runAll(task, queries, steps);
      if (refused !== undefined) return refused;
      if (!task.isAbandoned) return { kind: 'answered', answer: await task.finish() };
    } catch (error) {
      await task.dispose();
      throw error;
    }
    await task.dispose();
    return { kind: 'abandoned' };
  }

  /** Answers only what keeps the request from having a session. */
  async #runAll(task: Task, queries: readonly Query[], steps: readonly Step[]): Promise<Outcome | undefined> {
    const [first] = steps;
    if (first === undefined) return undefined;
    if (first.kind === 'refuse') {
      task.refuse(first.error);
      return undefined;
    }
    const session = await this.#options.sessions.open(this.#asked.caller, this.#abandoned.promise);
    if (session.kind === 'refused') {
      if (this.#isAbandoned) return { kind: 'abandoned' };
      return { kind: 'sessionRefused', error: session.error, isDenied: session.isDenied };
    }
    const { connection, giveBack } = session.lease;
    const deadline = setTimeout(() => this.stop(timeoutError), this.#options.limits.requestMs);
    try {
      task.begin(connection);
      if (this.#isAbandoned) task.abandon();
      else if (this.#stopped !== undefined) task.refuse(this.#stopped);
      for (const [name, value] of this.#asked.settings) await this.#apply(task, name, value);
      await this.#runSteps(task, queries, steps);
    } finally {
      clearTimeout(deadline);
      const cleaned = connection.clean();
      giveBack(cleaned);
      // Whoever hears the answer may ask again at once, and is to find no lock or name of this request.
      await cleaned.catch(() => false);
    }
    return undefined;
  }

  async #runSteps(task: Task, queries: readonly Query[], steps: readonly Step[]): Promise<void> {
    for (const [index, step] of steps.entries()) {
      const query = queries[index];
      if (task.isOver || query === undefined) return;
      const isLast = index === steps.length - 1;
      await runStep(task, query, step, isLast);
    }
  }

  async #apply(task: Task, name: string, value: string): Promise<void> {
    if (task.isOver) return;
    const fault = settingFault(name, value);
    if (fault !== undefined) return task.notice(settingNotice(name, fault));
    await task.applySetting(extendedQuery('select pg_catalog.set_config($1, $2, false)', [name, value]), (error) =>
      settingNotice(name, error),
    );
  }
}

interface Query {
  readonly query: string;
  readonly params: QueryWithParameters['params'] | undefined;
}

async function runStep(task: Task, { query, params }: Query, step: Step, isLast: boolean): Promise<void> {
  switch (step.kind) {
    case 'refuse':
      return task.refuse(step.error);
    case 'probe':
      return task.probe(Buffer.concat([parse(query), sync]), step.error, isLast);
    case 'run': {
      const needsBinary = mayNeedBinary(query, task.dateStyle);
      if (params === undefined) {
        // One SELECT is the same in both modes, but for what a parameter without a value means.
        const isSame = step.isOneSelect && !/\$\d/.test(query);
        return needsBinary && isSame ? task.described(query, [], isLast) : task.simple(simpleQuery(query), step.changes, isLast);
      }
      const fault = parametersFault(params);
      if (fault !== undefined) return task.refuse(fault);
      if (needsBinary) return task.described(query, params, isLast);
      return task.extended(extendedQuery(query, params), isLast);
    }
  }
}

const tooManyQueries = (count: number): SqlError => ({
  message: `a request takes at most ${QUERIES_MAX} queries, but ${count} were supplied`,
  code: '54000',
});

function parametersFault(params: QueryWithParameters['params']): SqlError | undefined {
  if (params.length > PARAMETERS_MAX) {
    return { message: `a query takes at most ${PARAMETERS_MAX} parameters, but ${params.length} were supplied`, code: '08P01' };
  }
  for (const value of params) {
    const fault = value === null ? undefined : textFault(value);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** Who the session is, and how its text is read, is not the caller's to choose. */
const FIXED = new Set(['role', 'session_authorization', 'client_encoding', 'standard_conforming_strings']);

function settingFault(name: string, value: string): string | undefined {
  if (FIXED.has(name.toLowerCase())) return 'it cannot be chosen here';
  return (textFault(name) ?? textFault(value))?.message;
}

const settingNotice = (name: string, reason: string) => ({
  message: `startup setting ${name} not set: ${reason}`,
  code: '01000',
  severity: 'notice',
});
