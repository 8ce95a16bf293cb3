/** Runs requests of the Neon driver's protocol, each in a session of the caller's own login. */
import { maybeRevoked, revoked, timedOut } from '../domain/endings.ts';
import type { SqlError } from '../domain/entries.ts';
import type { Yardstick } from '../domain/guard-estimate.ts';
import type { Bounds, Guard } from '../domain/guard.ts';
import { needsEstimate } from '../domain/guard.ts';
import type { Census, Occupation } from '../domain/inspections.ts';
import type { NeonError, NeonOutcome, NeonRequest, NeonRun, NeonRunner } from '../domain/neon.ts';
import { copyRefused, endsTransaction, mayBeCopy, transactionEndRefused } from '../domain/neon.ts';
import { QUERIES_MAX, tooManyQueries } from '../domain/plan.ts';
import type { Asker, Caller, Catalog, Grammar } from '../domain/ports.ts';
import type { IsRevoked, Revocable } from '../domain/revocation.ts';
import { batchTooLarge, TEXT_MAX_BYTES, textFault } from '../domain/statements.ts';
import type { Connection } from './connection.pg.ts';
import type { NeonEstimate } from './neon-guard.pg.ts';
import { estimateQueries } from './neon-guard.pg.ts';
import type { DescribeNeonRows } from './neon-rows.pg.ts';
import { createDescribeNeonRows } from './neon-rows.pg.ts';
import type { NeonLimits } from './neon-task.pg.ts';
import { NeonTask, toNeonError } from './neon-task.pg.ts';
import type { Session, Sessions } from './sessions.pg.ts';
import { parametersFault } from './steps.pg.ts';

export interface NeonOptions {
  readonly sessions: Pick<Sessions, 'open'>;
  readonly grammar: Grammar;
  readonly catalog: Catalog;
  readonly guard: Guard;
  readonly yardstick: () => Promise<Yardstick>;
  readonly limits: NeonLimits;
}

export interface CancelableNeonRunner extends NeonRunner, Revocable {
  census: Census;
}

export function createNeonRunner(options: NeonOptions): CancelableNeonRunner {
  const running = new Set<RunningBatch>();
  const describeRows = createDescribeNeonRows(options.catalog);
  return {
    run(caller, request): NeonRun {
      const batch = new RunningBatch(caller, request, { ...options, describeRows });
      running.add(batch);
      const outcome = batch.run().finally(() => running.delete(batch));
      return { outcome, abandon: () => batch.abandon() };
    },
    revokeWhere(isRevoked) {
      for (const batch of running) batch.revokeIf(isRevoked);
    },
    revokeAll() {
      for (const batch of running) batch.stop(maybeRevoked);
    },
    census: () => [...running].map((batch) => batch.occupation()),
  };
}

class RunningBatch {
  readonly #caller: Caller;
  readonly #request: NeonRequest;
  readonly #options: NeonOptions;
  readonly #task: NeonTask;
  readonly #abandoned = Promise.withResolvers<void>();
  readonly #since = performance.now();
  readonly #asker: Asker;
  #estimate: NeonEstimate | undefined;
  #isAbandoned = false;

  constructor(caller: Caller, request: NeonRequest, options: NeonOptions & { readonly describeRows: DescribeNeonRows }) {
    this.#caller = caller;
    this.#request = request;
    this.#options = options;
    this.#task = new NeonTask(request, options);
    this.#asker = { principalId: caller.principal.id, spentMs: 0, isGone: () => this.#isAbandoned };
  }

  occupation(): Occupation {
    const { id, dbRole } = this.#caller.principal;
    return { principalId: id, role: dbRole, forMs: Math.round(performance.now() - this.#since) };
  }

  abandon(): void {
    this.#isAbandoned = true;
    this.#abandoned.resolve();
    this.#estimate?.abandon();
    this.#task.abandon();
  }

  revokeIf(isRevoked: IsRevoked): void {
    if (isRevoked(this.#caller.principal)) this.stop(revoked);
  }

  stop(error: SqlError): void {
    this.#estimate?.stop(error);
    this.#task.stop(toNeonError(error));
  }

  async run(): Promise<NeonOutcome> {
    const task = this.#task;
    try {
      const fault = this.#fault() ?? (await this.#copyFault());
      if (fault !== undefined) task.refuse(fault);
      if (!task.isOver) await this.#runGuarded();
    } catch (error) {
      await task.dispose();
      throw error;
    }
    return task.finish();
  }

  async #runGuarded(): Promise<void> {
    const admission = this.#options.guard.enter(this.#caller.principal);
    if (admission.kind === 'refused') return this.#task.refuse(toNeonError(admission.error));
    await this.#runInSession(admission.bounds).finally(admission.leave);
  }

  async #runInSession(bounds: Bounds): Promise<void> {
    const task = this.#task;
    const session: Session = await this.#options.sessions.open(this.#caller, this.#abandoned.promise);
    if (session.kind === 'refused') return task.refuse({ ...toNeonError(session.error), severity: 'FATAL' });
    const { connection, giveBack } = session.lease;
    const deadline = setTimeout(() => this.stop(timedOut), this.#options.limits.requestMs);
    try {
      if (!task.isOver && needsEstimate(bounds)) await this.#estimateFirst(connection, bounds);
      if (!task.isOver) await task.run(connection, bounds);
    } finally {
      clearTimeout(deadline);
      const cleaned = connection.clean();
      giveBack(cleaned);
      // Whoever hears the answer may ask again at once, and is to find no lock or name of this request.
      await cleaned.catch(() => false);
    }
  }

  async #estimateFirst(connection: Connection, bounds: Bounds): Promise<void> {
    const { grammar, yardstick } = this.#options;
    const asked = { connection, bounds, grammar, asker: this.#asker, yardstick };
    this.#estimate = estimateQueries(this.#request.queries, asked);
    const fault = await this.#estimate.fault;
    this.#estimate = undefined;
    if (fault !== undefined) this.#task.refuse(toNeonError(fault));
  }

  /** What can be seen without the server. */
  #fault(): NeonError | undefined {
    const { queries, batch } = this.#request;
    if (queries.length > QUERIES_MAX) return toNeonError(tooManyQueries(queries.length));
    for (const { query, params } of queries) {
      const fault = textFault(query) ?? parametersFault(params);
      if (fault !== undefined) return toNeonError(fault);
      if (batch !== undefined && endsTransaction(query)) return transactionEndRefused;
    }
    return undefined;
  }

  /** Only the grammar can tell a COPY of the client's from one of a file, which is a matter of rights. */
  async #copyFault(): Promise<NeonError | undefined> {
    for (const { query } of this.#request.queries) {
      if (!mayBeCopy(query)) continue;
      if (Buffer.byteLength(query) > TEXT_MAX_BYTES) return toNeonError(batchTooLarge);
      const verdict = await this.#options.grammar.judge(query, this.#asker);
      // What the grammar does not know is the server's to refuse.
      if (verdict.kind === 'unjudged') return toNeonError(verdict.error);
      if (verdict.kind === 'statements' && verdict.forbidden !== undefined) return copyRefused;
    }
    return undefined;
  }
}
