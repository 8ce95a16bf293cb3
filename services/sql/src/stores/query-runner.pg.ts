/** Runs a request in a session of the caller's own login: makes the bytes of its answer, or tells a script what happens. */
import type {
  Asker,
  Catalog,
  Grammar,
  Outcome,
  QueryRunner,
  Run,
  RunOptions,
  Streaming,
  StreamOptions,
  Turned,
} from '../domain/ports.ts';
import { maybeRevoked, revoked, timedOut } from '../domain/endings.ts';
import type { SqlError } from '../domain/entries.ts';
import type { Bounds, Guard } from '../domain/guard.ts';
import type { Yardstick } from '../domain/guard-estimate.ts';
import type { Census, Occupation } from '../domain/inspections.ts';
import type { Keeper, Keeping, Kept } from '../domain/keeping.ts';
import { Marks } from '../domain/marks.ts';
import type { Plan } from '../domain/plan.ts';
import { planRequest } from '../domain/plan.ts';
import type { IsRevoked, Revocable } from '../domain/revocation.ts';
import type { Script, TransactionStatus } from '../domain/script.ts';
import type { Step } from '../domain/statements.ts';
import { mayHideTypes } from '../domain/statements.ts';
import { AnswerScript } from './answer-script.fs.ts';
import type { Sessions } from './sessions.pg.ts';
import type { DescribeRows } from './row-shapes.pg.ts';
import { createDescribeRows } from './row-shapes.pg.ts';
import type { SpoolLimits } from './spooled-output.fs.ts';
import { applySettings, runSteps } from './steps.pg.ts';
import { Stream } from './stream.pg.ts';

export interface RunnerLimits extends SpoolLimits {
  /** Longest time of a whole request. */
  readonly requestMs: number;
  readonly resultBytes: number;
}

export interface QueryRunnerOptions {
  readonly sessions: Sessions;
  readonly grammar: Grammar;
  readonly catalog: Catalog;
  readonly limits: RunnerLimits;
  readonly guard: Guard;
  /** What costs are counted in. */
  readonly yardstick: () => Promise<Yardstick>;
}

export interface CancelableRunner extends QueryRunner, Keeper, Revocable {
  /** Requests under way. */
  underWay(): number;
  census: Census;
}

/** Of an answer that is to be kept; the rest is in a file from the beginning. */
const KEPT_HELD_BYTES = 65_536;

export function createQueryRunner(options: QueryRunnerOptions): CancelableRunner {
  const running = new Set<RunningRequest>();
  const describeRows = createDescribeRows(options.catalog);
  const track = <T>(request: RunningRequest, outcome: Promise<T>): Promise<T> => {
    running.add(request);
    return outcome.finally(() => running.delete(request));
  };
  return {
    run(asked): Run {
      const script = new AnswerScript(options.limits);
      const request = new RunningRequest({ ...asked, script }, { ...options, describeRows });
      return { outcome: track(request, answerOf(request, script)), abandon: () => request.abandon() };
    },
    stream(asked): Streaming {
      const request = new RunningRequest(asked, { ...options, describeRows });
      const outcome = request.run().then((turned) => {
        if (turned.kind !== 'ran') return turned;
        asked.script.finished(turned.status);
        return { kind: 'streamed' } as const;
      });
      return { outcome: track(request, outcome), abandon: () => request.abandon(), stop: (error) => request.stop(error) };
    },
    keep(asked): Keeping {
      const { room, limitMs } = asked;
      const spoolBytes = Math.min(options.limits.spoolBytes, KEPT_HELD_BYTES);
      const script = new AnswerScript({ ...options.limits, spoolBytes, spoolSpace: room }, new Marks());
      const request = new RunningRequest({ ...asked, script, limitMs, isKept: true }, { ...options, describeRows });
      return {
        begun: request.begun,
        outcome: track(request, keptOf(request, script)),
        stop: (error) => request.stop(error),
        abandon: () => request.abandon(),
      };
    },
    revokeWhere(isRevoked) {
      for (const request of running) request.revokeIf(isRevoked);
    },
    revokeAll() {
      for (const request of running) request.stop(maybeRevoked);
    },
    underWay: () => running.size,
    census: () => [...running].map((request) => request.occupation()),
  };
}

/** What the server is to find fault with, it may. */
function notOneWithRows(steps: readonly Step[]): SqlError | undefined {
  const count = steps.reduce((sum, step) => sum + (step.kind === 'run' ? step.parts.length : 1), 0);
  if (count === 1) return undefined;
  return { message: `the rows of exactly one statement can be shown, but there are ${count} statements`, code: '0A000' };
}

async function runInto(request: RunningRequest, script: AnswerScript): Promise<Turned | Ran> {
  const turned = await request.run();
  if (turned.kind === 'ran' && turned.status !== 'I') script.rolledBack();
  return turned;
}

async function answerOf(request: RunningRequest, script: AnswerScript): Promise<Outcome> {
  try {
    const turned = await runInto(request, script);
    if (turned.kind === 'ran') return { kind: 'answered', answer: await script.finish() };
    await script.dispose();
    return turned;
  } catch (error) {
    await script.dispose();
    throw error;
  }
}

async function keptOf(request: RunningRequest, script: AnswerScript): Promise<Kept> {
  try {
    const turned = await runInto(request, script);
    if (turned.kind === 'ran') return { kind: 'kept', answer: await script.keep() };
    await script.dispose();
    return turned;
  } catch (error) {
    await script.dispose();
    throw error;
  }
}

type RequestOptions = QueryRunnerOptions & { readonly describeRows: DescribeRows };
type Asked = RunOptions &
  Pick<StreamOptions, 'isText' | 'isRowsOnly' | 'limitMs'> & { readonly script: Script; readonly isKept?: boolean };
/** Statements ran, or were refused one by one: the script was told. */
type Ran = { readonly kind: 'ran'; readonly status: TransactionStatus };

type GuardedPlan = Extract<Plan, { kind: 'steps' }> & { readonly bounds: Bounds };

class RunningRequest {
  readonly #asked: Asked;
  readonly #options: RequestOptions;
  readonly #abandoned = Promise.withResolvers<void>();
  readonly #begun = Promise.withResolvers<void>();
  #isAbandoned = false;
  readonly #since = performance.now();
  readonly #asker: Asker;
  #stream: Stream | undefined;
  #stopped: SqlError | undefined;

  constructor(asked: Asked, options: RequestOptions) {
    this.#asked = asked;
    this.#options = options;
    this.#asker = { principalId: asked.caller.principal.id, spentMs: 0, isGone: () => this.#isAbandoned };
  }

  get begun(): Promise<void> {
    return this.#begun.promise;
  }

  occupation(): Occupation {
    const { id, dbRole } = this.#asked.caller.principal;
    return { principalId: id, role: dbRole, forMs: Math.round(performance.now() - this.#since) };
  }

  abandon(): void {
    this.#isAbandoned = true;
    this.#abandoned.resolve();
    this.#stream?.abandon();
  }

  revokeIf(isRevoked: IsRevoked): void {
    if (isRevoked(this.#asked.caller.principal)) this.stop(revoked);
  }

  stop(error: SqlError): void {
    this.#stopped = error;
    this.#stream?.stop(error);
  }

  async run(): Promise<Turned | Ran> {
    const plan = await planRequest(this.#asked.request, this.#options.grammar, this.#asker);
    if (plan.kind === 'notOne') return { kind: 'notOneStatement', query: plan.query, count: plan.count };
    this.#begun.resolve();
    const { limits, describeRows, guard } = this.#options;
    const admission = guard.enter(this.#asked.caller.principal);
    const { isText = false, isRowsOnly = false } = this.#asked;
    const stream = new Stream({
      isText,
      isRowsOnly,
      bounds: admission.kind === 'admitted' ? admission.bounds : undefined,
      script: this.#asked.script,
      resultBytes: limits.resultBytes,
      describeRows,
      areTypesHidden: mayHideTypes(plan.steps, this.#asked.request.kind === 'simple'),
    });
    this.#stream = stream;
    const refused = admission.kind === 'refused' ? admission.error : isRowsOnly ? notOneWithRows(plan.steps) : undefined;
    if (refused !== undefined || admission.kind === 'refused') {
      if (admission.kind === 'admitted') admission.leave();
      if (refused !== undefined) stream.refuse(refused);
      return { kind: 'ran', status: 'I' };
    }
    const turned = await this.#runAll(stream, { ...plan, bounds: admission.bounds }).finally(admission.leave);
    return stream.isAbandoned ? { kind: 'abandoned' } : (turned ?? { kind: 'ran', status: 'I' });
  }

  /** Answers what keeps the request from having a session, or how the transaction stands at the end. */
  async #runAll(stream: Stream, plan: GuardedPlan): Promise<Turned | Ran | undefined> {
    const [first] = plan.steps;
    if (first === undefined) return undefined;
    if (first.kind === 'refuse') {
      stream.refuse(first.error);
      return undefined;
    }
    const { sessions } = this.#options;
    const { caller, isKept = false, limitMs = this.#options.limits.requestMs } = this.#asked;
    const giveUp = this.#abandoned.promise;
    const session = await (isKept
      ? sessions.hold(caller, giveUp, new Map([['statement_timeout', String(limitMs)]]))
      : sessions.open(caller, giveUp));
    if (session.kind === 'refused') {
      if (this.#isAbandoned) return { kind: 'abandoned' };
      return { kind: 'sessionRefused', error: session.error, isDenied: session.isDenied };
    }
    const { connection, giveBack } = session.lease;
    const deadline = setTimeout(() => this.stop(timedOut), limitMs);
    try {
      stream.begin(connection);
      if (this.#isAbandoned) stream.abandon();
      else if (this.#stopped !== undefined) stream.refuse(this.#stopped);
      await applySettings(stream, this.#asked.settings);
      const { bounds } = plan;
      await runSteps(stream, {
        ...plan,
        isText: this.#asked.isText ?? false,
        isRowsOnly: this.#asked.isRowsOnly ?? false,
        guarded: { bounds, yardstick: this.#options.yardstick },
      });
      return { kind: 'ran', status: stream.transactionStatus };
    } finally {
      clearTimeout(deadline);
      const cleaned = connection.clean();
      // One that is held is closed when it is given back.
      if (isKept) await cleaned.catch(() => false);
      giveBack(cleaned);
      // Whoever hears the answer may ask again at once, and is to find no lock or name of this request.
      await cleaned.catch(() => false);
    }
  }
}
