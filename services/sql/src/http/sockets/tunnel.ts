/**
 * PostgreSQL's wire protocol over one WebSocket, as the Neon driver's Pool and Client speak it. The client has been
 * identified by the edge; its startup message is read here, and from then on bytes go through as they are.
 */
import { isFailure } from '@postern/contracts/failure';
import type { Principal } from '@postern/contracts/common';
import type { Logger } from 'pino';
import type { WebSocket } from 'ws';

import type { CancelKey, CancelKeys } from '../../domain/cancel-keys.ts';
import type { Bound, Guard } from '../../domain/guard.ts';
import { tookTooLong, unreadable } from '../../domain/guard.ts';
import { Traffic } from '../../domain/neon-scan.ts';
import type { Startup, WireError } from '../../domain/neon-startup.ts';
import { fatal, greeting, readStartup } from '../../domain/neon-startup.ts';
import type { WireListener, WireSession, WireSessions } from '../../domain/neon-tunnel.ts';
import type { Caller } from '../../domain/ports.ts';
import type { LiveSocket } from './lifetime.ts';
import { CloseCode, END_GRACE_MS, STOPPING } from './lifetime.ts';
import { answerPings, ping, PING_MS } from './pings.ts';

export interface TunnelOptions {
  readonly sessions: WireSessions;
  readonly cancelKeys: CancelKeys;
  readonly guard: Guard;
  /** The one database that is served. */
  readonly database: string;
}

const STARTUP_MS = 10_000;
/** What the socket may hold before nothing more is read from the server. */
const BEHIND_BYTES = 262_144;

/** So much later than the server itself a statement is ended that takes too long. */
const SERVER_FIRST_MS = 250;
/** One that was canceled for it has at least so long to end. */
const LATE_MS = 1_000;

const EMPTY = Buffer.alloc(0);

export class Tunnel implements LiveSocket, WireListener {
  readonly #caller: Caller;
  readonly #ws: WebSocket;
  readonly #log: Logger;
  readonly #options: TunnelOptions;
  readonly #gone = Promise.withResolvers<void>();
  readonly #traffic = new Traffic();
  readonly #startupLate: NodeJS.Timeout;
  /** Of the client, before there is a session that takes them. */
  #early: Buffer = EMPTY;
  #isOpening = false;
  #session: WireSession | undefined;
  #key: CancelKey | undefined;
  #leave: (() => void) | undefined;
  #unsent = 0;
  #isBehind = false;
  /** Of the client, while a cancel is under way that is not to hit it. */
  #held: Buffer[] = [];
  #cancels = 0;
  #timeLimit: Bound | undefined;
  #watched: { readonly completions: number; timer: NodeJS.Timeout; isLate: boolean } | undefined;
  readonly #pinging: NodeJS.Timeout;
  #isDraining = false;
  #isEnded = false;

  constructor(ws: WebSocket, { caller, log, ...options }: TunnelOptions & { readonly caller: Caller; readonly log: Logger }) {
    this.#caller = caller;
    this.#ws = ws;
    this.#log = log;
    this.#options = options;
    this.#startupLate = setTimeout(() => this.end(CloseCode.policyViolation, 'no startup message came'), STARTUP_MS);
    ws.on('error', () => {});
    ws.on('message', (data: Buffer, isBinary) => this.#hear(data, isBinary));
    answerPings(ws, () => this.drain());
    // One who waits, or is not read, shows only so that it has left.
    this.#pinging = setInterval(() => {
      if (ws.isPaused || this.#traffic.isBusy) ping(ws);
    }, PING_MS);
    ws.once('close', () => this.#closed());
  }

  get principal(): Principal {
    return this.#caller.principal;
  }

  #hear(bytes: Buffer, isBinary: boolean): void {
    if (this.#isEnded) return;
    if (!isBinary) return this.end(CloseCode.unsupportedData, 'only binary messages are understood');
    if (this.#session !== undefined) return this.#forward(bytes, this.#session);
    this.#early = this.#early.length === 0 ? bytes : Buffer.concat([this.#early, bytes]);
    if (this.#isOpening) return;
    const { database } = this.#options;
    const startup = readStartup(this.#early, { user: this.principal.name, database });
    if (startup.kind === 'incomplete') return;
    clearTimeout(this.#startupLate);
    if (startup.kind === 'refused') return this.#refuse(startup.error);
    this.#early = this.#early.subarray(startup.bytes);
    this.#isOpening = true;
    // Nothing more is taken in until there is somewhere to put it.
    this.#ws.pause();
    void this.#open(startup);
  }

  async #open({ settings, unknownOptions }: Extract<Startup, { kind: 'accepted' }>): Promise<void> {
    try {
      const admission = this.#admit(settings);
      if (admission.kind === 'refused') return this.#refuse(admission.error);
      const opening = await this.#options.sessions.open(this.#caller, admission.settings, this.#gone.promise);
      if (opening.kind === 'refused') return this.#refuse(opening.error);
      const { session } = opening;
      if (this.#isEnded) return session.end(false);
      this.#session = session;
      const { processId, parameters } = session;
      this.#key = this.#options.cancelKeys.register(processId, () => this.#cancel(session));
      this.#send(greeting({ processId, secretKey: this.#key.secretKey, parameters, unknownOptions }));
      session.listen(this);
      const early = this.#early;
      this.#early = EMPTY;
      this.#ws.resume();
      if (early.length > 0) this.#forward(early, session);
      else this.#drainIfQuiet();
    } catch (error) {
      if (!isFailure(error)) this.#log.error({ err: error }, 'tunnel failed');
      else if (error.cause !== undefined) this.#log.warn({ err: error.cause, code: error.code }, 'tunnel refused');
      if (isFailure(error, 'LOGIN_DENIED')) this.#refuse(deniedError);
      else this.#refuse(awayError, CloseCode.internalError);
    }
  }

  /** Statements are not read here: limits that would need it keep their holder out, the time of statements is a setting. */
  #admit(
    asked: ReadonlyMap<string, string>,
  ):
    | { readonly kind: 'admitted'; readonly settings: ReadonlyMap<string, string> }
    | { readonly kind: 'refused'; readonly error: WireError } {
    const admission = this.#options.guard.enter(this.principal);
    if (admission.kind === 'refused') return admission;
    this.#leave = admission.leave;
    const error = unreadable(admission.bounds);
    if (error !== undefined) return { kind: 'refused', error };
    const { statementTimeMs } = admission.bounds;
    this.#timeLimit = statementTimeMs;
    const settings =
      statementTimeMs === undefined ? asked : new Map([...asked, ['statement_timeout', String(statementTimeMs.value)]]);
    return { kind: 'admitted', settings };
  }

  #refuse(error: WireError, code: number = CloseCode.policyViolation): void {
    if (this.#isEnded) return;
    this.#send(fatal(error));
    this.#close(code, error.message);
  }

  #forward(bytes: Buffer, session: WireSession): void {
    if (this.#cancels > 0) {
      this.#held.push(bytes);
      return this.#ws.pause();
    }
    this.#traffic.fromClient.scan(bytes);
    this.#watchTime(session);
    if (!session.write(bytes)) this.#ws.pause();
  }

  /** What comes meanwhile waits: the signal is for what came before. */
  async #cancel(session: WireSession): Promise<void> {
    this.#cancels += 1;
    await session.cancel();
    this.#cancels -= 1;
    if (this.#cancels > 0 || this.#isEnded) return;
    const held = Buffer.concat(this.#held);
    this.#held = [];
    this.#ws.resume();
    if (held.length > 0) this.#forward(held, session);
    this.#drainIfQuiet();
  }

  /**
   * The limit of a statement's time is also a setting, which its holder can change. Here its time begins with the first
   * message, and anew with each end of a statement. What goes on although it was canceled ends with the session.
   */
  #watchTime(session: WireSession): void {
    const limit = this.#timeLimit;
    if (limit === undefined) return;
    const { isBusy, completions } = this.#traffic;
    if (isBusy && this.#watched?.completions === completions) return;
    clearTimeout(this.#watched?.timer);
    this.#watched = undefined;
    if (!isBusy || this.#isEnded) return;
    const isOver = (): void => {
      if (watched.isLate && this.#traffic.isAsked) {
        const { message } = tookTooLong(limit);
        return this.end(CloseCode.policyViolation, message);
      }
      watched.isLate = true;
      watched.timer = setTimeout(isOver, Math.max(limit.value, LATE_MS));
      void this.#cancel(session);
    };
    // The server's own way to end it, if its setting is as it was, is to come first.
    const watched = { completions, timer: setTimeout(isOver, limit.value + SERVER_FIRST_MS), isLate: false };
    this.#watched = watched;
  }

  drained(): void {
    if (!this.#isEnded && this.#cancels === 0) this.#ws.resume();
  }

  data(bytes: Buffer): void {
    if (this.#isEnded) return;
    this.#traffic.fromServer.scan(bytes);
    if (this.#session !== undefined) this.#watchTime(this.#session);
    // The memory is the reader's, who uses it again.
    this.#send(Buffer.from(bytes));
    this.#drainIfQuiet();
  }

  #send(bytes: Buffer): void {
    this.#unsent += bytes.length;
    this.#ws.send(bytes, { binary: true }, () => this.#sent(bytes.length));
    if (this.#unsent <= BEHIND_BYTES || this.#isBehind) return;
    this.#isBehind = true;
    this.#session?.pause();
  }

  #sent(length: number): void {
    this.#unsent -= length;
    if (!this.#isBehind || this.#unsent > BEHIND_BYTES / 2) return;
    this.#isBehind = false;
    this.#session?.resume();
  }

  /** The server has ended the session; if it had a reason, that has gone to the client. */
  closed(): void {
    if (this.#isEnded) return;
    if (this.#traffic.hasSaidGoodbye) this.#close(CloseCode.normal, '');
    else this.#close(CloseCode.internalError, 'the database session is lost');
  }

  drain(): void {
    this.#isDraining = true;
    this.#drainIfQuiet();
  }

  #drainIfQuiet(): void {
    if (!this.#isDraining || this.#cancels > 0 || this.#isOpening !== (this.#session !== undefined)) return;
    if (this.#traffic.isQuiet) this.end(CloseCode.goingAway, STOPPING);
  }

  end(code: number, reason: string): void {
    if (this.#isEnded) return;
    // Whoever reads messages understands one that stands where a message can.
    if (this.#traffic.fromServer.isAtBoundary)
      this.#send(fatal(code === CloseCode.unauthorized ? unauthorized(reason) : stopping(reason)));
    this.#close(code, reason);
  }

  #close(code: number, reason: string): void {
    this.#isEnded = true;
    this.#stopTimers();
    this.#session?.end(this.#traffic.isBusy);
    // The peer's own Close is to be read.
    this.#ws.resume();
    this.#ws.close(code, cut(reason));
    const late = setTimeout(() => this.#ws.terminate(), END_GRACE_MS);
    this.#ws.once('close', () => clearTimeout(late));
  }

  #stopTimers(): void {
    clearTimeout(this.#startupLate);
    clearTimeout(this.#watched?.timer);
    clearInterval(this.#pinging);
  }

  #closed(): void {
    this.#gone.resolve();
    this.#stopTimers();
    this.#isEnded = true;
    this.#key?.[Symbol.dispose]();
    this.#leave?.();
    this.#session?.end(this.#traffic.isBusy);
  }
}

const deniedError: WireError = { message: 'the database login is not to be had', code: '28000' };
const awayError: WireError = { message: 'the database is away', code: '57P03' };
const unauthorized = (reason: string): WireError => ({ message: `terminating connection: ${reason}`, code: '28000' });
const stopping = (reason: string): WireError => ({ message: `terminating connection: ${reason}`, code: '57P01' });

const REASON_BYTES_MAX = 123;

/** A reason has at most 123 bytes, and whole characters. */
function cut(reason: string): string {
  let kept = reason;
  while (Buffer.byteLength(kept) > REASON_BYTES_MAX) kept = kept.slice(0, -1);
  return kept.isWellFormed() ? kept : kept.slice(0, -1);
}
