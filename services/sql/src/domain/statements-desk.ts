/**
 * Statements that run without anybody waiting for them: begun, looked at, canceled, and forgotten some time after their
 * end. Each belongs to the principal that began it, and to nobody else.
 */
import type { Principal } from '@postern/contracts/common';

import { userCanceled } from './endings.ts';
import type { SqlError } from './entries.ts';
import type { Occupation } from './inspections.ts';
import type { KeptAnswer, Keeper, Keeping, Room } from './keeping.ts';
import type { Clock, RunOptions, Turned } from './ports.ts';
import type { Revocable } from './revocation.ts';

export interface DeskLimits {
  /** Statements, running and ended, of one principal and of all. */
  readonly perPrincipal: number;
  readonly total: number;
  /** How long an ended one is kept. */
  readonly keptMs: number;
  /** How long one may run. */
  readonly runMs: number;
}

export interface DeskOptions {
  readonly keeper: Keeper;
  readonly limits: DeskLimits;
  readonly clock: Clock;
  /** Unix milliseconds, to tell people. */
  readonly wall: () => number;
  /** Ids nobody can guess. */
  readonly newId: () => string;
  /** Room for the results of a principal that has none there yet. */
  readonly newRoom: () => Room;
  /** A statement ended in a way that nobody is told of. */
  readonly failed: (error: unknown) => void;
}

export type StatementStatus = 'running' | 'succeeded' | 'failed' | 'canceled';

export interface StatementState {
  readonly id: string;
  readonly status: StatementStatus;
  /** Unix milliseconds. */
  readonly createdAt: number;
  readonly endedAt: number | undefined;
  /** While it runs: at the latest. */
  readonly expiresAt: number;
  /** Why there are no more results, or none. */
  readonly error: SqlError | undefined;
  readonly results: { readonly entries: number; readonly rows: number; readonly bytes: number } | undefined;
}

export interface Statement {
  readonly state: StatementState;
  /** Resolves when it has ended. */
  readonly ended: Promise<void>;
  /** Undefined as long as it runs, and if it has no results. `done` is to be called when no more is read. */
  open(): { readonly answer: KeptAnswer; readonly done: () => void } | undefined;
  /** Of one that runs. */
  cancel(): void;
}

export type Beginning =
  | { readonly kind: 'begun'; readonly statement: Statement }
  /** As many as there may be are kept already. */
  | { readonly kind: 'full'; readonly reason: string }
  /** The process ends. */
  | { readonly kind: 'draining' }
  | Extract<Turned, { readonly kind: 'notOneStatement' }>;

export interface Desk extends Revocable {
  /** Resolves when it is about to run; rejects if it cannot even be judged. */
  begin(options: RunOptions): Promise<Beginning>;
  find(principalId: string, id: string): Statement | undefined;
  /** Ends and forgets it. */
  forget(principalId: string, id: string): void;
  /** The latest first. */
  list(principalId: string): readonly Statement[];
  /** Forgets what has expired. */
  sweep(): void;
  /** Nothing begins any more; what runs is canceled when `expired` resolves. Resolves when nothing runs. */
  drain(expired: Promise<void>): Promise<void>;
  counts(): { readonly running: number; readonly kept: number };
  census(): readonly Occupation[];
}

const shutdownError: SqlError = { message: 'terminating connection due to administrator command', code: '57P01' };
const lostError: SqlError = { message: 'the statement could not be run: a service that it needs is away', code: '08006' };

export function createDesk(options: DeskOptions): Desk {
  const { limits } = options;
  const jobs = new Map<string, Job>();
  const byPrincipal = new Map<string, { readonly room: Room; readonly jobs: Set<Job> }>();
  let isDraining = false;

  const ownerOf = (principalId: string): { readonly room: Room; readonly jobs: Set<Job> } => {
    const known = byPrincipal.get(principalId);
    if (known !== undefined) return known;
    const made = { room: options.newRoom(), jobs: new Set<Job>() };
    byPrincipal.set(principalId, made);
    return made;
  };
  const drop = (job: Job): void => {
    jobs.delete(job.id);
    const owner = byPrincipal.get(job.principal.id);
    owner?.jobs.delete(job);
    job.forget(() => {
      // The bytes of one that is forgotten may still be read: until then its room is that of its owner.
      if (owner?.jobs.size === 0 && byPrincipal.get(job.principal.id) === owner) byPrincipal.delete(job.principal.id);
    });
  };
  const own = (principalId: string, id: string): Job | undefined => {
    const job = jobs.get(id);
    if (job?.principal.id !== principalId) return undefined;
    if (!job.isExpired()) return job;
    drop(job);
    return undefined;
  };

  return {
    async begin(asked) {
      const { principal } = asked.caller;
      if (isDraining) return { kind: 'draining' };
      const mine = byPrincipal.get(principal.id)?.jobs.size ?? 0;
      if (mine >= limits.perPrincipal) return full(`${limits.perPrincipal} statements of yours are kept`);
      if (jobs.size >= limits.total) return full(`${limits.total} statements are kept`);
      const owner = ownerOf(principal.id);
      const job = new Job(asked, owner.room, options);
      jobs.set(job.id, job);
      owner.jobs.add(job);
      const turned = await job.begun();
      if (turned === undefined) return { kind: 'begun', statement: job };
      drop(job);
      if (turned.kind === 'notOneStatement') return turned;
      throw turned.error;
    },
    find: own,
    forget(principalId, id) {
      const job = own(principalId, id);
      if (job !== undefined) drop(job);
    },
    list: (principalId) => [...(byPrincipal.get(principalId)?.jobs ?? [])].filter((job) => !job.isExpired()).toReversed(),
    revokeWhere(isRevoked) {
      for (const job of jobs.values()) if (isRevoked(job.principal)) drop(job);
    },
    revokeAll() {
      for (const job of jobs.values()) if (job.isRunning || job.principal.tokenId !== undefined) drop(job);
    },
    sweep() {
      for (const job of jobs.values()) if (job.isExpired()) drop(job);
    },
    async drain(expired) {
      isDraining = true;
      const running = [...jobs.values()].filter((job) => job.isRunning);
      void expired.then(() => {
        for (const job of running) job.stop(shutdownError);
      });
      await Promise.all(running.map((job) => job.ended));
      for (const job of jobs.values()) drop(job);
    },
    counts: () => ({ running: [...jobs.values()].filter((job) => job.isRunning).length, kept: jobs.size }),
    census: () =>
      [...jobs.values()].map(({ principal, state }) => ({
        principalId: principal.id,
        role: principal.dbRole,
        forMs: options.wall() - state.createdAt,
        state: state.status,
      })),
  };
}

const full = (what: string): Beginning => ({
  kind: 'full',
  reason: `${what}; delete some of them, or wait until they expire`,
});

interface End {
  readonly status: StatementStatus;
  readonly at: number;
  readonly wall: number;
  readonly error: SqlError | undefined;
  readonly answer: KeptAnswer | undefined;
}

type TurnedAway = Extract<Turned, { readonly kind: 'notOneStatement' }> | { readonly kind: 'thrown'; readonly error: unknown };

class Job implements Statement {
  readonly id: string;
  readonly principal: Principal;
  readonly ended: Promise<void>;
  readonly #options: DeskOptions;
  readonly #keeping: Keeping;
  readonly #createdAt: number;
  #end: End | undefined;
  /** Why nothing of it was run. */
  #turned: TurnedAway | undefined;
  #hasBegun = false;
  #isCanceled = false;
  #readers = 0;
  #forgotten: (() => void) | undefined;

  constructor(asked: RunOptions, room: Room, options: DeskOptions) {
    const { principal } = asked.caller;
    this.id = options.newId();
    this.principal = principal;
    this.#options = options;
    this.#createdAt = options.wall();
    this.#keeping = options.keeper.keep({ ...asked, room, limitMs: options.limits.runMs });
    void this.#keeping.begun.then(() => {
      this.#hasBegun = true;
    });
    this.ended = this.#run();
  }

  async #run(): Promise<void> {
    try {
      const kept = await this.#keeping.outcome;
      switch (kept.kind) {
        case 'kept': {
          const { answer } = kept;
          const status = answer.failure === undefined ? 'succeeded' : this.#isCanceled ? 'canceled' : 'failed';
          return this.#finish(status, answer.failure, answer);
        }
        case 'notOneStatement':
          this.#turned = kept;
          return this.#finish('failed', undefined, undefined);
        case 'sessionRefused':
          return this.#finish('failed', kept.error, undefined);
        case 'abandoned':
          return this.#finish('canceled', undefined, undefined);
      }
    } catch (error) {
      if (this.#hasBegun) this.#options.failed(error);
      else this.#turned = { kind: 'thrown', error };
      this.#finish('failed', lostError, undefined);
    }
  }

  #finish(status: StatementStatus, error: SqlError | undefined, answer: KeptAnswer | undefined): void {
    this.#end = { status, at: this.#options.clock.now(), wall: this.#options.wall(), error: cut(error), answer };
    this.#disposeIfUnused();
  }

  /** Resolves when it runs, or has been run; to a reason, if it was turned away before. */
  async begun(): Promise<TurnedAway | undefined> {
    await Promise.race([this.#keeping.begun, this.ended]);
    return this.#turned;
  }

  get isRunning(): boolean {
    return this.#end === undefined;
  }

  get state(): StatementState {
    const { limits } = this.#options;
    const end = this.#end;
    return {
      id: this.id,
      status: end?.status ?? 'running',
      createdAt: this.#createdAt,
      endedAt: end?.wall,
      expiresAt: (end?.wall ?? this.#createdAt + limits.runMs) + limits.keptMs,
      error: end?.error,
      results: end?.answer === undefined ? undefined : summary(end.answer),
    };
  }

  isExpired(): boolean {
    return this.#end !== undefined && this.#options.clock.now() - this.#end.at >= this.#options.limits.keptMs;
  }

  open(): { readonly answer: KeptAnswer; readonly done: () => void } | undefined {
    const answer = this.#end?.answer;
    if (answer === undefined || this.#forgotten !== undefined) return undefined;
    this.#readers += 1;
    let isReading = true;
    const done = (): void => {
      if (!isReading) return;
      isReading = false;
      this.#readers -= 1;
      this.#disposeIfUnused();
    };
    return { answer, done };
  }

  cancel(): void {
    this.#isCanceled = true;
    this.stop(userCanceled);
  }

  stop(error: SqlError): void {
    if (this.isRunning) this.#keeping.stop(error);
  }

  /** `forgotten` is called when its bytes are gone. */
  forget(forgotten: () => void): void {
    this.#forgotten = forgotten;
    if (this.isRunning) this.#keeping.abandon();
    this.#disposeIfUnused();
  }

  #disposeIfUnused(): void {
    if (this.#forgotten === undefined || this.#end === undefined || this.#readers > 0) return;
    const { answer } = this.#end;
    const gone = this.#forgotten;
    this.#end = { ...this.#end, answer: undefined };
    if (answer === undefined) gone();
    else void answer.dispose().then(gone, this.#options.failed);
  }
}

function summary({ entries, length }: KeptAnswer): NonNullable<StatementState['results']> {
  const rows = entries.reduce((sum, entry) => sum + (entry.rows?.count ?? 0), 0);
  return { entries: entries.length, rows, bytes: length };
}

/** The whole of it is in the results. */
const CUT_CHARACTERS = 1_024;

function cut(error: SqlError | undefined): SqlError | undefined {
  if (error === undefined) return undefined;
  return { message: error.message.slice(0, CUT_CHARACTERS), code: error.code };
}
