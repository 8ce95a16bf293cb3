/** Subscriptions: who has one, what it holds, how it ends, and how it is continued. */
import { isFailure } from '@postern/contracts/failure';
import { randomBytes } from 'node:crypto';

import { connectionLost, endingsOf, loginsAway, userCanceled } from '../domain/endings.ts';
import type { SqlError } from '../domain/entries.ts';
import type { Occupation } from '../domain/inspections.ts';
import { humanSize } from '../domain/entries.ts';
import type { Guard } from '../domain/guard.ts';
import type { Yardstick } from '../domain/guard-estimate.ts';
import type { Clock, Grammar } from '../domain/ports.ts';
import type { IsRevoked, Revocable } from '../domain/revocation.ts';
import type { SubscribeRequest, Subscription, Subscriptions, SubscriptionSink } from '../domain/subscribe.ts';
import { quoteName } from '../domain/changes-query.ts';
import { readToken } from '../domain/changes-token.ts';
import { Asking, QueryFailure } from './asking.pg.ts';
import { Feed } from './changes-feed.pg.ts';
import type { ChangeLog } from './changes-log.pg.ts';
import { startAgain } from './changes-source.pg.ts';
import type { Connection } from './connection.pg.ts';
import { MessageType } from './messages.pg.ts';
import type { DescribeRows } from './row-shapes.pg.ts';
import type { Sessions } from './sessions.pg.ts';
import { settingFault, settingNotice } from './steps.pg.ts';

export interface SubscriptionLimits {
  /** Bytes that one subscription may hold: what it has shown, and what waits to be shown. */
  readonly backlogBytes: number;
  /** The same of all together. */
  readonly totalBytes: number;
  /** How long one that nobody listens to is kept. */
  readonly resumeMs: number;
  /** How often queries are run again of which the log does not tell. */
  readonly pollMs: number;
}

export interface SubscriptionsOptions {
  readonly replicaId: string;
  readonly sessions: Pick<Sessions, 'hold'>;
  readonly grammar: Grammar;
  readonly changeLog: ChangeLog;
  readonly describeRows: DescribeRows;
  readonly clock: Clock;
  /** Unix time in milliseconds. */
  readonly wallClock: Clock;
  readonly guard: Guard;
  readonly yardstick: () => Promise<Yardstick>;
  readonly limits: SubscriptionLimits;
}

export interface LiveSubscriptions extends Subscriptions<Connection>, Revocable, AsyncDisposable {
  counts(): { readonly open: number; readonly kept: number; readonly bytes: number };
  census(): readonly Occupation[];
}

const { revoked, maybeRevoked, expired, draining } = endingsOf('subscription');
/** The same for a token of somebody else's as for one that never was. */
const cannotContinue: SqlError = {
  message: 'the subscription cannot be continued from this token',
  code: '55000',
  hint: startAgain,
};
const isTaken: SqlError = { message: 'the subscription was continued elsewhere', code: '57014' };

export function createSubscriptions(options: SubscriptionsOptions): LiveSubscriptions {
  return new AllSubscriptions(options);
}

/** Kept ones of one principal; the oldest goes. */
const KEPT_MAX = 100;
const LONGEST_TIMER_MS = 2_147_483_647;

class AllSubscriptions implements LiveSubscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #feeds = new Map<string, Feed>();
  readonly #open = new Set<Attendance>();
  /** What each held when it had grown; it may be less by now. */
  readonly #counted = new Map<Feed, number>();
  #bytes = 0;
  #isClosed = false;

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
  }

  subscribe(request: SubscribeRequest<Connection>, sink: SubscriptionSink): Subscription {
    const attendance = new Attendance(request, sink);
    const ended = this.#isClosed ? this.#refuse(attendance) : this.#attend(attendance);
    return { ended, cancel: (error = userCanceled) => attendance.stop(error), leave: () => attendance.leave() };
  }

  #refuse(attendance: Attendance): Promise<void> {
    attendance.sink.error(draining);
    return Promise.resolve();
  }

  async #attend(attendance: Attendance): Promise<void> {
    this.#open.add(attendance);
    const { principal } = attendance.request.caller;
    const until = principal.expiresAt * 1_000 - this.#options.wallClock.now();
    const expiry =
      principal.expiresAt === 0 || until > LONGEST_TIMER_MS
        ? undefined
        : setTimeout(() => attendance.stop(expired), Math.max(0, until));
    // Whoever has a session of its own has been counted.
    const admission = attendance.request.session === undefined ? this.#options.guard.enter(principal) : undefined;
    try {
      if (admission?.kind === 'refused') throw new QueryFailure(admission.error);
      await this.#serve(attendance);
    } catch (error) {
      this.#fail(attendance, error);
    } finally {
      if (admission?.kind === 'admitted') admission.leave();
      clearTimeout(expiry);
      this.#open.delete(attendance);
      attendance.ended.resolve();
    }
  }

  #fail(attendance: Attendance, error: unknown): void {
    if (attendance.hasLeft) return;
    if (error instanceof QueryFailure) attendance.sink.error(error.error);
    else if (isFailure(error) && error.code !== 'INTERNAL') attendance.sink.error(loginsAway);
    else attendance.sink.error({ message: 'the subscription failed', code: 'XX000' });
  }

  async #serve(attendance: Attendance): Promise<void> {
    const { statement, caller } = attendance.request;
    const feed = statement.options.resume === undefined ? this.#begin(attendance) : await this.#continue(attendance);
    let failure: unknown;
    const from = feed.isStarted ? (readToken(statement.options.resume ?? '')?.number ?? -1) + 1 : 0;
    try {
      const session = await this.#session(attendance);
      try {
        await feed.attend(attendance, session.asking, from);
      } finally {
        await session.release();
      }
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      feed.release();
      const mayGoOn = attendance.hasLeft || (failure instanceof QueryFailure && goesOn(failure.error));
      if (mayGoOn && feed.mayBeContinued && !this.#isClosed) this.#keep(feed, caller.principal.id);
      else this.#drop(feed);
    }
  }

  #begin(attendance: Attendance): Feed {
    const { limits } = this.#options;
    const feed: Feed = new Feed(randomBytes(16).toString('hex'), attendance.request, this.#options, {
      grown: () => {
        if (feed.bytes > limits.backlogBytes) feed.fail(retired('its backlog', limits.backlogBytes));
        this.#count(feed);
        if (this.#bytes > limits.totalBytes) this.#makeRoom();
      },
      failed: () => this.#drop(feed),
    });
    this.#feeds.set(feed.id, feed);
    return feed;
  }

  async #continue(attendance: Attendance): Promise<Feed> {
    const { caller, statement } = attendance.request;
    const token = readToken(statement.options.resume ?? '');
    const feed = token?.replica === this.#options.replicaId ? this.#feeds.get(token.subscription) : undefined;
    if (token === undefined || feed === undefined || !feed.isFor(caller.principal, statement))
      throw new QueryFailure(cannotContinue);
    // Its connection may be dead without a word.
    const before = feed.attendance;
    if (before instanceof Attendance) {
      before.stop(isTaken);
      before.leave();
      await before.ended.promise;
    }
    if (this.#feeds.get(feed.id) !== feed || feed.attendance !== undefined || !feed.reaches(token))
      throw new QueryFailure(cannotContinue);
    feed.hold();
    return feed;
  }

  #count(feed: Feed): void {
    const { bytes } = feed;
    this.#bytes += bytes - (this.#counted.get(feed) ?? 0);
    if (bytes === 0) this.#counted.delete(feed);
    else this.#counted.set(feed, bytes);
  }

  /** Nobody is ended by what others hold who hold less. */
  #makeRoom(): void {
    const { totalBytes } = this.#options.limits;
    for (const feed of this.#counted.keys()) this.#count(feed);
    while (this.#bytes > totalBytes) {
      const victim = largestOf(this.#counted);
      if (victim === undefined) return;
      victim.fail(retired('what all subscriptions hold', totalBytes));
      this.#count(victim);
    }
  }

  #keep(feed: Feed, principalId: string): void {
    const kept = [...this.#feeds.values()].filter((other) => other.isKept && other !== feed && other.principalId === principalId);
    const [oldest] = kept;
    if (kept.length >= KEPT_MAX && oldest !== undefined) this.#drop(oldest);
    feed.keep(this.#options.limits.resumeMs, () => this.#drop(feed));
  }

  #drop(feed: Feed): void {
    this.#feeds.delete(feed.id);
    feed[Symbol.dispose]();
    this.#count(feed);
  }

  async #session(attendance: Attendance): Promise<{ readonly asking: Asking; release(): Promise<void> }> {
    const { request } = attendance;
    const { statementTimeMs } = this.#options.guard.boundsOf(request.caller.principal);
    if (request.session !== undefined) {
      const asking = new Asking(request.session, statementTimeMs);
      attendance.ask(asking);
      return { asking, release: () => asking.tidy() };
    }
    const session = await this.#options.sessions.hold(request.caller, attendance.stopped);
    if (session.kind === 'refused') throw new QueryFailure(session.error);
    const { connection, giveBack } = session.lease;
    const asking = new Asking(connection, statementTimeMs);
    const release = (): Promise<void> => {
      giveBack(Promise.resolve(false));
      return Promise.resolve();
    };
    try {
      attendance.ask(asking);
      attendance.hold(connection);
      for (const [name, value] of request.settings) {
        const fault = settingFault(name, value) ?? (await asking.ask(setting(name, value)).then(noFault, faultOf));
        if (fault !== undefined) attendance.sink.notice(settingNotice(name, fault));
      }
      return { asking, release };
    } catch (error) {
      await release();
      throw error;
    }
  }

  revokeWhere(isRevoked: IsRevoked): void {
    for (const attendance of this.#open) if (isRevoked(attendance.request.caller.principal)) attendance.stop(revoked);
    for (const feed of this.#feeds.values()) if (feed.isKept && isRevoked(feed.principal)) this.#drop(feed);
  }

  revokeAll(): void {
    for (const attendance of this.#open) attendance.stop(maybeRevoked);
    for (const feed of this.#feeds.values()) if (feed.isKept) this.#drop(feed);
  }

  counts(): { readonly open: number; readonly kept: number; readonly bytes: number } {
    let [kept, bytes] = [0, 0];
    for (const feed of this.#feeds.values()) {
      bytes += feed.bytes;
      if (feed.isKept) kept += 1;
    }
    return { open: this.#open.size, kept, bytes };
  }

  census(): readonly Occupation[] {
    return [...this.#open].map(({ request, since }) => {
      const { id, dbRole } = request.caller.principal;
      return { principalId: id, role: dbRole, forMs: Math.round(performance.now() - since) };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    for (const attendance of this.#open) attendance.stop(draining);
    await Promise.all([...this.#open].map(({ ended }) => ended.promise));
    for (const feed of this.#feeds.values()) this.#drop(feed);
  }
}

/** Ends that are not of the subscription's own making: with a new session it can be continued. */
const goesOn = (error: SqlError): boolean => error === expired || ['08006', '57P01', '57P05', '53300'].includes(error.code);

const retired = (what: string, bytes: number): SqlError => ({
  message: `the subscription is retired: ${what} exceeds ${humanSize(bytes)}`,
  code: '53400',
  hint: 'Read faster, or subscribe to less.',
});

/** Of the principal who holds the most: one that nobody listens to if there is one, else the one that holds the most. */
function largestOf(held: ReadonlyMap<Feed, number>): Feed | undefined {
  const byPrincipal = new Map<string, number>();
  for (const [{ principalId }, bytes] of held) byPrincipal.set(principalId, (byPrincipal.get(principalId) ?? 0) + bytes);
  const [largest] = [...byPrincipal].toSorted(([, one], [, other]) => other - one)[0] ?? [];
  const [found] = [...held]
    .filter(([{ principalId }]) => principalId === largest)
    .toSorted(([one, oneBytes], [other, otherBytes]) => Number(other.isKept) - Number(one.isKept) || otherBytes - oneBytes);
  return found?.[0];
}

const setting = (name: string, value: string): readonly [string, readonly string[]] => [
  'select pg_catalog.set_config($1, $2, false)',
  [name, value],
];
const noFault = (): undefined => undefined;
const faultOf = (error: unknown): string => {
  if (error instanceof QueryFailure && error.error.code !== '08006' && error.error.code !== '57014') return error.error.message;
  throw error;
};

/** One who listens to a subscription, for as long as they do. */
class Attendance {
  readonly request: SubscribeRequest<Connection>;
  readonly sink: SubscriptionSink;
  readonly since = performance.now();
  readonly ended = Promise.withResolvers<void>();
  readonly #stopping = Promise.withResolvers<void>();
  #asking: Asking | undefined;
  #heard: (() => void) | undefined;
  #mayListen = false;
  #error: SqlError | undefined;
  #hasLeft = false;

  constructor(request: SubscribeRequest<Connection>, sink: SubscriptionSink) {
    this.request = request;
    this.sink = sink;
  }

  get hasLeft(): boolean {
    return this.#hasLeft;
  }

  /** Resolves when it is to end. */
  get stopped(): Promise<void> {
    return this.#stopping.promise;
  }

  ask(asking: Asking): void {
    this.#asking = asking;
    if (this.#error !== undefined) asking.stop(this.#error);
  }

  /** The session is held for this subscription alone: it may listen, and if it is lost, that is the end. */
  hold(connection: Connection): void {
    this.#mayListen = true;
    connection.listen({
      message: (type) => {
        if (type === MessageType.notification) this.#heard?.();
      },
      lost: () => this.stop(connectionLost),
    });
  }

  /** Hears of a channel from now on, where the session may listen. */
  async listen(channel: string, heard: () => void): Promise<void> {
    if (!this.#mayListen || this.#asking === undefined) return;
    this.#heard = heard;
    await this.#asking.command(`LISTEN ${quoteName(channel)}`);
  }

  stop(error: SqlError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#asking?.stop(error);
    this.#stopping.resolve();
  }

  leave(): void {
    this.#hasLeft = true;
    this.stop(userCanceled);
  }

  /** Throws what it ends with, if it is to end. */
  check(): void {
    if (this.#error !== undefined) throw new QueryFailure(this.#error);
  }
}
