/** SQL over one WebSocket: requests in their order, each with its messages and exactly one ReadyForQuery. */
import type { Principal } from '@postern/contracts/common';
import { isFailure } from '@postern/contracts/failure';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import type { WebSocket } from 'ws';

import type { CancelKey, CancelKeys } from '../../domain/cancel-keys.ts';
import type { Notification } from '../../domain/channels.ts';
import { endingsOf, userCanceled } from '../../domain/endings.ts';
import type { Notice, SqlError } from '../../domain/entries.ts';
import type { HeldSession, SessionEvents } from '../../domain/held.ts';
import { notOneStatement } from '../../domain/plan.ts';
import type { SqlRequest } from '../../domain/ports.ts';
import { isUtf8Name } from '../../domain/statements.ts';
import type { Recognised } from '../../domain/subscribe.ts';
import { notAlone, recognise } from '../../domain/subscribe.ts';
import { Frames } from './frames.ts';
import type { LiveSocket } from './lifetime.ts';
import { CloseCode, END_GRACE_MS, STOPPING } from './lifetime.ts';
import type { Incoming } from './messages.ts';
import { readMessage } from './messages.ts';
import { answerPings, ping, PING_MS } from './pings.ts';
import { errorMessage, SocketScript, tell } from './socket-script.ts';
import { socketSink } from './socket-sink.ts';

export interface ConversationOptions {
  readonly principal: Principal;
  readonly socket: Duplex;
  readonly cancelKeys: CancelKeys;
  /** What the versioned path has beside the other: cancels in band, notifications, tokens of subscriptions. */
  readonly isVersioned: boolean;
  readonly log: Logger;
}

/**
 * Requests that wait; beyond either nothing is read from the socket, and so no cancel in band and no Close is heard, only
 * that the client is gone.
 */
const QUEUE_MAX = 10_000;
const QUEUE_BYTES_MAX = 5_242_880;
/** What a request costs that waits, beside its own bytes. */
const WAITING_BYTES = 100;

const internalError: SqlError = { message: 'internal error', code: 'XX000' };
const tooBusy: SqlError = { message: 'too many requests at a time', code: '53000' };
const { draining } = endingsOf('subscription');
const inTransaction: SqlError = { message: 'SUBSCRIBE cannot run inside a transaction block', code: '25001' };

type Waiting = { readonly bytes: number } & Exclude<Incoming, { kind: 'cancel' }>;

/** Both runs and subscriptions. */
interface Current {
  cancel(): void;
  leave(): void;
  /** What has no end of its own ends now. */
  drain(): void;
}

export class Conversation implements LiveSocket, SessionEvents {
  readonly principal: Principal;
  readonly #socket: Duplex;
  readonly #cancelKeys: CancelKeys;
  readonly #isVersioned: boolean;
  readonly #log: Logger;
  #ws: WebSocket | undefined;
  #frames: Frames | undefined;
  #session: HeldSession | undefined;
  #key: CancelKey | undefined;
  readonly #queue: Waiting[] = [];
  #queueBytes = 0;
  #isServing = false;
  #current: Current | undefined;
  #isDraining = false;
  #isEnded = false;
  /** It was to end before it had begun. */
  #early: { readonly code: number; readonly reason: string } | undefined;
  /** The server has ended the session. */
  #isLost = false;
  /** Why; told as the answer to the next request. */
  #lostReason: SqlError | undefined;

  constructor({ principal, socket, cancelKeys, isVersioned, log }: ConversationOptions) {
    this.principal = principal;
    this.#socket = socket;
    this.#cancelKeys = cancelKeys;
    this.#isVersioned = isVersioned;
    this.#log = log;
  }

  /** The handshake has been made. */
  start(ws: WebSocket, session: HeldSession, notices: readonly Notice[]): void {
    const frames = new Frames({
      socket: this.#socket,
      isOpen: () => ws.readyState === ws.OPEN,
      broken: () => this.end(CloseCode.internalError, 'a row that was begun cannot be finished'),
    });
    this.#ws = ws;
    this.#frames = frames;
    this.#session = session;
    ws.on('error', () => {});
    ws.on('message', (data: Buffer) => this.#hear(data));
    answerPings(ws, () => this.drain());
    ws.once('close', () => this.#closed());
    this.#key = this.#cancelKeys.register(session.processId, async () => {
      this.#current?.cancel();
      await session.quiet();
    });
    for (const [name, value] of session.parameters) tell(frames, { type: 'ParameterStatus', payload: { name, value } });
    tell(frames, {
      type: 'BackendKeyData',
      payload: { conn_id: session.processId >>> 0, secret_key: this.#key.secretKey },
    });
    tell(frames, { type: 'ReadyForQuery', payload: session.transactionStatus });
    for (const notice of notices) tell(frames, { type: 'Notice', payload: notice });
    frames.push();
    if (this.#early !== undefined) this.end(this.#early.code, this.#early.reason);
    else if (this.#isDraining) this.end(CloseCode.goingAway, STOPPING);
    else if (this.#isLost) this.#tellLoss();
  }

  #closed(): void {
    this.#isEnded = true;
    this.#queue.length = 0;
    this.#key?.[Symbol.dispose]();
    this.#current?.leave();
    this.#frames?.release();
    this.#session?.close();
  }

  #hear(data: Buffer): void {
    if (this.#isEnded) return;
    const incoming = readMessage(data, this.#isVersioned);
    if (incoming.kind === 'cancel') return this.#current?.cancel();
    const bytes = data.length + WAITING_BYTES;
    this.#queue.push({ ...incoming, bytes });
    this.#queueBytes += bytes;
    if (this.#queue.length >= QUEUE_MAX || this.#queueBytes >= QUEUE_BYTES_MAX) this.#ws?.pause();
    this.#serve().catch((error: unknown) => {
      this.#log.error({ err: error }, 'socket failed');
      this.end(CloseCode.internalError, 'internal error');
    });
  }

  #take(): Waiting | undefined {
    if (this.#isEnded || this.#isDraining) return undefined;
    const next = this.#queue.shift();
    this.#queueBytes -= next?.bytes ?? 0;
    if (this.#ws?.isPaused === true && this.#queue.length < QUEUE_MAX && this.#queueBytes < QUEUE_BYTES_MAX) this.#ws.resume();
    return next;
  }

  async #serve(): Promise<void> {
    const frames = this.#frames;
    if (this.#isServing || frames === undefined) return;
    this.#isServing = true;
    const pinging = setInterval(() => this.#ping(), PING_MS);
    for (let next = this.#take(); next !== undefined; next = this.#take()) {
      await this.#answer(next, frames);
      if (this.#isLost) this.#tellLoss();
      await frames.behind();
    }
    clearInterval(pinging);
    this.#isServing = false;
    if (this.#isDraining) this.end(CloseCode.goingAway, STOPPING);
    else frames.rest();
  }

  /** A peer that is gone shows when it is sent something. */
  #ping(): void {
    const ws = this.#ws;
    if (ws?.readyState === ws?.OPEN && ws !== undefined) ping(ws);
    else this.#current?.leave();
  }

  async #answer(next: Waiting, frames: Frames): Promise<void> {
    const session = this.#session;
    if (session === undefined || this.#isLost) return;
    try {
      if (next.kind === 'fault') tell(frames, errorMessage({ message: next.message, code: 'XX000' }));
      else await this.#run(next.request, session, frames);
    } catch (error) {
      if (!isFailure(error, 'UNAVAILABLE')) this.#log.error({ err: error }, 'request failed');
      tell(frames, errorMessage(isFailure(error, 'UNAVAILABLE') ? tooBusy : internalError));
    }
    this.#current = undefined;
    if (this.#isLost || this.#isEnded) return;
    tell(frames, { type: 'ReadyForQuery', payload: session.transactionStatus });
    frames.push();
    this.#checkReading(session);
  }

  /** What is read in this session from now on would be misread. */
  #checkReading({ parameters }: HeldSession): void {
    const isRead = isUtf8Name(parameters.get('client_encoding') ?? '') && parameters.get('standard_conforming_strings') === 'on';
    if (!isRead) this.end(CloseCode.policyViolation, 'client_encoding and standard_conforming_strings cannot be changed');
  }

  async #run(request: SqlRequest, session: HeldSession, frames: Frames): Promise<void> {
    const recognised = recogniseIn(request);
    if (recognised !== undefined) return this.#subscribe(recognised, session, frames);
    const run = session.run(request, new SocketScript(frames));
    this.#current = { cancel: () => run.stop(userCanceled), leave: () => run.abandon(), drain: () => {} };
    const outcome = await run.outcome;
    if (outcome.kind === 'ran') return;
    tell(frames, errorMessage({ message: notOneStatement(outcome.query, outcome.count), code: 'XX000' }));
  }

  async #subscribe(recognised: Recognised, session: HeldSession, frames: Frames): Promise<void> {
    const refuse = async (error: SqlError): Promise<void> => {
      await session.spoil();
      tell(frames, { type: 'CommandStarting', payload: { has_rows: false, is_streaming: false } });
      tell(frames, errorMessage(error));
    };
    if (recognised.kind === 'refused') return refuse(recognised.error);
    if (session.transactionStatus !== 'I') return refuse(inTransaction);
    const sink = socketSink(frames, { hasTokens: this.#isVersioned });
    const subscription = session.subscribe(recognised.statement, sink);
    this.#current = {
      cancel: () => subscription.cancel(),
      leave: () => subscription.leave(),
      drain: () => subscription.cancel(draining),
    };
    await subscription.ended;
    if (sink.isComplete && recognised.isFollowed) await refuse(notAlone);
  }

  notice(notice: Notice): Promise<void> | undefined {
    return this.#aside({ type: 'Notice', payload: notice });
  }

  setting({ name, value }: { readonly name: string; readonly value: string }): Promise<void> | undefined {
    return this.#aside({ type: 'ParameterStatus', payload: { name, value } });
  }

  notification({ channel, payload, processId }: Notification): Promise<void> | undefined {
    if (!this.#isVersioned) return undefined;
    return this.#aside({ type: 'Notification', payload: { channel, payload, process_id: processId >>> 0 } });
  }

  #aside(message: Parameters<typeof tell>[1]): Promise<void> | undefined {
    const frames = this.#frames;
    if (frames === undefined) return undefined;
    tell(frames, message);
    return frames.flush();
  }

  lost(reason: SqlError | undefined): void {
    this.#isLost = true;
    this.#lostReason = reason;
    // Its place is free for others, however long it takes until the client hears of it.
    this.#session?.close();
    if (!this.#isServing) this.#tellLoss();
  }

  /** A transaction that was left idle too long is told of in answer to the next request; anything else at once. */
  #tellLoss(): void {
    const frames = this.#frames;
    if (frames === undefined || this.#isEnded) return;
    const reason = this.#lostReason;
    if (reason?.code === IDLE_TOO_LONG && !this.#isServing) return;
    if (reason !== undefined) tell(frames, errorMessage(reason));
    this.end(CloseCode.internalError, reason?.message ?? 'the connection to the database was lost');
  }

  drain(): void {
    this.#isDraining = true;
    this.#current?.drain();
    if (!this.#isServing) this.end(CloseCode.goingAway, STOPPING);
  }

  end(code: number, reason: string): void {
    const ws = this.#ws;
    if (ws === undefined) this.#early ??= { code, reason };
    if (this.#isEnded || ws === undefined) return;
    this.#isEnded = true;
    this.#queue.length = 0;
    this.#current?.leave();
    this.#frames?.push();
    // The peer's own Close is to be read.
    ws.resume();
    ws.close(code, cut(reason));
    const late = setTimeout(() => this.#socket.destroy(), END_GRACE_MS);
    ws.once('close', () => clearTimeout(late));
  }
}

const IDLE_TOO_LONG = '25P03';
const REASON_BYTES_MAX = 123;

/** A reason has at most 123 bytes, and whole characters. */
function cut(reason: string): string {
  let kept = reason;
  while (Buffer.byteLength(kept) > REASON_BYTES_MAX) kept = kept.slice(0, -1);
  return kept.isWellFormed() ? kept : kept.slice(0, -1);
}

function recogniseIn(request: SqlRequest): Recognised | undefined {
  if (request.kind === 'simple') return recognise(request.query);
  const [first, ...others] = request.queries.map(({ query }) => recognise(query));
  if (first === undefined) return others.some((other) => other !== undefined) ? { kind: 'refused', error: notAlone } : undefined;
  return first.kind === 'subscribe' && others.length > 0 ? { ...first, isFollowed: true } : first;
}
