/** Sessions that are held: requests on them one after the other, and what the server says in between. */
import { userCanceled } from '../domain/endings.ts';
import type { Notice, SqlError } from '../domain/entries.ts';
import type { Guard } from '../domain/guard.ts';
import type { HeldOutcome, HeldRun, HeldSession, HeldSessions, Opening, OpenOptions, SessionEvents } from '../domain/held.ts';
import type { Plan } from '../domain/plan.ts';
import { planRequest } from '../domain/plan.ts';
import type { Asker, Caller, Catalog, Grammar, SqlRequest } from '../domain/ports.ts';
import type { Script } from '../domain/script.ts';
import { scriptWithoutRows } from '../domain/script.ts';
import { mayHideTypes, unsupported } from '../domain/statements.ts';
import type { SubscribeStatement, Subscription, Subscriptions, SubscriptionSink } from '../domain/subscribe.ts';
import type { Lease } from '../domain/lending.ts';
import { Asking, QueryFailure } from './asking.pg.ts';
import type { Connection } from './connection.pg.ts';
import type { Estimating } from './explain.pg.ts';
import { MessageType, readError, readNotification, sqlError, toNotice } from './messages.pg.ts';
import type { DescribeRows } from './row-shapes.pg.ts';
import { createDescribeRows } from './row-shapes.pg.ts';
import type { Sessions } from './sessions.pg.ts';

import { applySettings, runSteps } from './steps.pg.ts';
import { Stream } from './stream.pg.ts';
import { MessageReader } from './wire.pg.ts';

export interface HeldSessionsOptions {
  readonly sessions: Pick<Sessions, 'hold'>;
  readonly grammar: Grammar;
  readonly catalog: Catalog;
  readonly guard: Guard;
  readonly yardstick: Estimating['yardstick'];
  /** Without it, SUBSCRIBE is refused. */
  readonly subscriptions?: Subscriptions<Connection> | undefined;
  /** Most bytes of rows in one request. */
  readonly resultBytes: number;
}

type Tools = Omit<HeldSessionsOptions, 'sessions' | 'catalog'> & { readonly describeRows: DescribeRows };

export function createHeldSessions({ sessions, catalog, ...options }: HeldSessionsOptions): HeldSessions {
  const tools = { ...options, describeRows: createDescribeRows(catalog) };
  return {
    async open({ caller, settings, events, giveUp }: OpenOptions): Promise<Opening> {
      const opened = await sessions.hold(caller, giveUp);
      if (opened.kind === 'refused') return opened;
      const { connection } = opened.lease;
      const notices: Notice[] = [];
      const stream = new Stream({
        script: scriptWithoutRows({ notice: (notice) => void notices.push(notice) }),
        resultBytes: Infinity,
        describeRows: tools.describeRows,
        isHeld: true,
      });
      stream.begin(connection);
      await applySettings(stream, settings);
      return { kind: 'open', session: new Held(opened.lease, { caller, events, tools }), notices };
    },
  };
}

/** Not a statement of any kind. */
const SPOILER = 'a statement of this transaction has been refused';

interface HeldOptions {
  readonly caller: Caller;
  readonly events: SessionEvents;
  readonly tools: Tools;
}

class Held implements HeldSession {
  readonly #connection: Connection;
  readonly #lease: Lease<Connection>;
  readonly #caller: Caller;
  readonly #events: SessionEvents;
  readonly #tools: Tools;
  /** The transaction that is open has made or changed things that only it can see. */
  #hidesTypes = false;
  /** Why the server has ended the session. */
  #reason: SqlError | undefined;
  #run: { abandon(): void; readonly ended: Promise<unknown> } | undefined;
  #isClosed = false;

  constructor(lease: Lease<Connection>, { caller, events, tools }: HeldOptions) {
    this.#lease = lease;
    this.#connection = lease.connection;
    this.#caller = caller;
    this.#events = events;
    this.#tools = tools;
    this.#connection.listen({
      message: (type, bytes, from, to) => this.#hear(type, bytes, from, to),
      lost: () => events.lost(this.#reason),
    });
  }

  get processId(): number {
    return this.#connection.processId;
  }

  get parameters(): ReadonlyMap<string, string> {
    return this.#connection.parameters;
  }

  get transactionStatus(): HeldSession['transactionStatus'] {
    return this.#connection.transactionStatus;
  }

  #hear(type: number, bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    switch (type) {
      case MessageType.notice:
        return this.#events.notice(toNotice(readError(bytes, from, to)));
      case MessageType.error:
        // Between two requests the server has nothing to say but that it ends the session.
        this.#reason = sqlError(readError(bytes, from, to));
        return undefined;
      case MessageType.parameterStatus: {
        const reader = new MessageReader(bytes, from, to);
        return this.#events.setting({ name: reader.text(), value: reader.text() });
      }
      case MessageType.notification:
        return this.#events.notification(readNotification(bytes, from, to));
      default:
        return undefined;
    }
  }

  run(request: SqlRequest, script: Script): HeldRun {
    const running = new HeldRequest({ request, script, caller: this.#caller, connection: this.#connection, tools: this.#tools });
    const outcome = this.#track(running, running.run(this.#hidesTypes)).then((ran) => {
      const isOpen = this.#connection.transactionStatus !== 'I';
      this.#hidesTypes = isOpen && (this.#hidesTypes || running.definesObjects);
      return ran;
    });
    return { outcome, stop: (error) => running.stop(error), abandon: () => running.abandon() };
  }

  subscribe(statement: SubscribeStatement, sink: SubscriptionSink): Subscription {
    const { subscriptions } = this.#tools;
    if (subscriptions === undefined) {
      sink.error(unsupported('SUBSCRIBE'));
      return { ended: Promise.resolve(), cancel: () => {}, leave: () => {} };
    }
    const subscription = subscriptions.subscribe(
      { caller: this.#caller, statement, settings: new Map(), session: this.#connection },
      sink,
    );
    void this.#track({ abandon: () => subscription.leave() }, subscription.ended);
    return subscription;
  }

  async spoil(): Promise<void> {
    await this.quiet();
    if (this.transactionStatus !== 'T') return;
    const asking = new Asking(this.#connection);
    // It has to fail; that of a session that is lost is told of elsewhere.
    const failed = asking.ask([SPOILER]).catch((error: unknown) => {
      if (!(error instanceof QueryFailure)) throw error;
    });
    await this.#track({ abandon: () => asking.stop(userCanceled) }, failed);
  }

  #track<T>(run: { abandon(): void }, ended: Promise<T>): Promise<T> {
    const tracked = { abandon: () => run.abandon(), ended };
    this.#run = tracked;
    return ended.finally(() => {
      if (this.#run === tracked) this.#run = undefined;
    });
  }

  quiet(): Promise<void> {
    return this.#connection.quiet();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#run?.abandon();
    const giveBack = (): void => this.#lease.giveBack(Promise.resolve(false));
    if (this.#run === undefined) giveBack();
    else this.#run.ended.then(giveBack, giveBack);
  }
}

interface HeldRequestOptions {
  readonly request: SqlRequest;
  readonly script: Script;
  readonly caller: Caller;
  readonly connection: Connection;
  readonly tools: Tools;
}

/** One request on a session that is held. */
class HeldRequest {
  readonly #options: HeldRequestOptions;
  readonly #asker: Asker;
  #stream: Stream | undefined;
  #stopped: SqlError | undefined;
  #isAbandoned = false;
  /** It may have made or changed things that only its transaction can see. */
  definesObjects = false;

  constructor(options: HeldRequestOptions) {
    this.#options = options;
    this.#asker = { principalId: options.caller.principal.id, spentMs: 0, isGone: () => this.#isAbandoned };
  }

  stop(error: SqlError): void {
    this.#stopped ??= error;
    this.#stream?.stop(error);
  }

  abandon(): void {
    this.#isAbandoned = true;
    this.#stream?.abandon();
  }

  async run(hidesTypes: boolean): Promise<HeldOutcome> {
    const { request, tools, caller, connection } = this.#options;
    const plan = await planRequest(request, tools.grammar, this.#asker);
    if (plan.kind === 'notOne') return { kind: 'notOneStatement', query: plan.query, count: plan.count };
    if (plan.steps.length === 0) return { kind: 'ran' };
    // A cancel that came late for the request before is not to hit this one.
    await connection.quiet();
    const admission = tools.guard.enter(caller.principal);
    try {
      await this.#runSteps(plan, { admission, hidesTypes });
    } finally {
      if (admission.kind === 'admitted') admission.leave();
    }
    return { kind: 'ran' };
  }

  async #runSteps(
    plan: Extract<Plan, { kind: 'steps' }>,
    { admission, hidesTypes }: { readonly admission: ReturnType<Guard['enter']>; readonly hidesTypes: boolean },
  ): Promise<void> {
    const { request, script, tools, connection } = this.#options;
    const isOpen = connection.transactionStatus !== 'I';
    this.definesObjects = plan.steps.some((step) => step.kind === 'run' && step.definesObjects);
    const stream = new Stream({
      script,
      resultBytes: tools.resultBytes,
      bounds: admission.kind === 'admitted' ? admission.bounds : undefined,
      describeRows: tools.describeRows,
      areTypesHidden: hidesTypes || mayHideTypes(plan.steps, request.kind === 'simple' || isOpen),
      isHeld: true,
    });
    this.#stream = stream;
    stream.begin(connection);
    if (this.#isAbandoned) stream.abandon();
    else if (admission.kind === 'refused') stream.refuse(admission.error);
    else if (this.#stopped !== undefined) stream.refuse(this.#stopped);
    else await runSteps(stream, { ...plan, guarded: { bounds: admission.bounds, yardstick: tools.yardstick } });
  }
}
