/** One session of a person's login: opened and authenticated by `pg`, then spoken to in bytes. */
import net from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import pg from 'pg';

import type { TransactionStatus } from '../domain/script.ts';
import { MessageReader, simpleQuery, Wire } from './wire.pg.ts';

export interface ConnectOptions {
  /** Where, without a name and password: those are put in. */
  readonly databaseUrl: string;
  readonly role: string;
  readonly password: string;
  readonly statementTimeoutMs: number;
  /**
   * What a client that speaks to the server itself begins its session with, by the names of start-up parameters. One that
   * the server does not know or take ends the start. The forms of values are then the client's own business.
   */
  readonly settings?: ReadonlyMap<string, string> | undefined;
  /** A backend could not be ended: it goes on, and nothing here counts it any more. */
  readonly runaway: (backend: Runaway) => void;
}

export interface Runaway {
  readonly role: string;
  readonly processId: number;
  readonly error: unknown;
}

/** What hears the server's messages up to its next ReadyForQuery. */
export interface Exchange {
  message(type: number, bytes: Buffer, from: number, to: number): Promise<void> | undefined;
  piece(type: number, bytes: Buffer, from: number, to: number, left: number): Promise<void> | undefined;
  /** The exchange is over. `isLost`: the connection is gone, and with it the rest of the answer. */
  ended(isLost: boolean): void;
}

/** Hears what the server says by itself, between the exchanges of a session that is held; notifications at any time. */
export interface Listener {
  /** A promise halts the reading until it resolves. */
  message(type: number, bytes: Buffer, from: number, to: number): Promise<void> | undefined;
  /** The connection is gone; an exchange that was under way has been told first. */
  lost(): void;
}

/** How long a canceled statement may take to end before its session is ended. */
export const CANCEL_GRACE_MS = 5_000;
/** The same when nobody waits for its answer any more. */
export const ABANDONED_GRACE_MS = 1_000;

const CONNECT_TIMEOUT_MS = 5_000;
/** How long the server may take to read a CancelRequest. */
const CANCEL_TIMEOUT_MS = 2_000;
const GOODBYE_TIMEOUT_MS = 2_000;
const RESET_TIMEOUT_MS = 5_000;
const TERMINATE_TIMEOUT_MS = 5_000;
const READ_BYTES = 65_536;

const READY = 0x5a;
const ERROR = 0x45;
const PARAMETER_STATUS = 0x53;
const NOTIFICATION = 0x41;
const IDLE = 0x49;
const IN_TRANSACTION = 0x54;

const ROLLBACK = simpleQuery('ROLLBACK');
const DISCARD_ALL = simpleQuery('DISCARD ALL');

/** Bounds of a statement. They are the session's own start values, so DISCARD ALL comes back to them. */
const boundSettings = ({ statementTimeoutMs }: ConnectOptions): Readonly<Record<string, string>> => ({
  statement_timeout: String(statementTimeoutMs),
  // Ends a statement even if this process dies without a word.
  client_connection_check_interval: '2000',
});

/** Forms that the encoders read fastest; a person may change them within a request. */
const READ_SETTINGS = {
  DateStyle: 'ISO',
  IntervalStyle: 'postgres',
  extra_float_digits: '1',
  bytea_output: 'hex',
  standard_conforming_strings: 'on',
};

const switches = (settings: Readonly<Record<string, string>>): string =>
  Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ');

/** What a client asks for comes last, and so it has the last word. */
function startupMessage(options: ConnectOptions, { user, database }: pg.Client): Buffer {
  const asked = options.settings ?? new Map<string, string>();
  const parameters = Object.entries({
    application_name: 'postern',
    ...Object.fromEntries(asked),
    options: `${switches(boundSettings(options))} ${asked.get('options') ?? ''}`,
    user: user ?? '',
    database: database ?? '',
  });
  const body = Buffer.from(`${parameters.map(([name, value]) => `${name}\0${value}\0`).join('')}\0`);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(head.length + body.length, 0);
  head.writeUInt16BE(3, 4);
  return Buffer.concat([head, body]);
}

function personUrl({ databaseUrl, role, password }: ConnectOptions): string {
  const url = new URL(databaseUrl);
  url.username = encodeURIComponent(role);
  url.password = encodeURIComponent(password);
  return url.href;
}

/**
 * A socket that reads into one buffer again and again. A new buffer for each read is garbage that is collected late:
 * a large result would show in memory as a multiple of itself.
 */
export function reusingSocket(): { readonly socket: net.Socket; handOver(): void } {
  let isHandedOver = false;
  const socket = new net.Socket({
    onread: {
      buffer: Buffer.allocUnsafeSlow(READ_BYTES),
      callback: (length, buffer) => {
        const bytes = Buffer.from(buffer.buffer, buffer.byteOffset, length);
        socket.emit('data', isHandedOver ? bytes : Buffer.from(bytes));
        return true;
      },
    },
  });
  return {
    socket,
    handOver: () => {
      isHandedOver = true;
    },
  };
}

export async function openConnection(options: ConnectOptions): Promise<Connection> {
  const connectionString = personUrl(options);
  const ssl: unknown = new pg.Client({ connectionString }).ssl;
  // A TLS socket has its own way of reading.
  const reusing = ssl === undefined || ssl === false ? reusingSocket() : undefined;
  const client = new pg.Client({
    ...(reusing !== undefined && { stream: () => reusing.socket }),
    connectionString,
    application_name: 'postern',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    options: switches({ ...READ_SETTINGS, ...boundSettings(options) }),
  });
  if (options.settings !== undefined) {
    // `pg` would have its own way with some of the parameters, the encoding among them.
    Object.assign(client.connection, { startup: () => client.connection.stream.write(startupMessage(options, client)) });
  }
  // Its errors reach the exchange through the socket's own events.
  client.on('error', () => {});
  const key = { processID: 0, secretKey: 0 };
  const parameters = new Map<string, string>();
  client.connection.on('backendKeyData', (told: { processID: number; secretKey: number }) => {
    key.processID = told.processID;
    key.secretKey = told.secretKey;
  });
  client.connection.on('parameterStatus', (told: { parameterName: string; parameterValue: string }) => {
    parameters.set(told.parameterName, told.parameterValue);
  });
  try {
    await client.connect();
  } catch (error) {
    client.connection.stream.destroy();
    throw error;
  }
  const { stream } = client.connection;
  stream.removeAllListeners('data');
  reusing?.handOver();
  return new Connection(stream, parameters, {
    processId: key.processID,
    cancel: () => sendCancel({ host: client.host, port: client.port, ssl, ...key }),
    terminate: async () => {
      try {
        await terminate(connectionString, key.processID);
      } catch (error) {
        options.runaway({ role: options.role, processId: key.processID, error });
      }
    },
  });
}

/** What is done about a session from outside of it. */
interface Signals {
  readonly processId: number;
  /** True: no signal can come any more, as it has been sent or never will be. False: it may still come. */
  cancel(): Promise<boolean>;
  /** Resolves when the backend is gone, or cannot be ended. */
  terminate(): Promise<void>;
}

export class Connection {
  readonly parameters: Map<string, string>;
  readonly #stream: Duplex;
  readonly #signals: Signals;
  #exchange: Exchange | undefined;
  #listener: Listener | undefined;
  #status = IDLE;
  /** Signals that may not have reached the backend yet. */
  #signaling: Promise<void> = Promise.resolve();
  #isOpen = true;
  #isCanceled = false;
  /** Until the exchange that was canceled has to be over. */
  #grace: NodeJS.Timeout | undefined;
  #isEnding = false;
  /** Answers to the reset that are still to come, and whether one of them was an error. */
  #resetsUnderWay = 0;
  #hasResetFailed = false;
  #isReset = true;
  #resetEnded: (() => void) | undefined;

  constructor(stream: Duplex, parameters: Map<string, string>, signals: Signals) {
    this.#stream = stream;
    this.parameters = parameters;
    this.#signals = signals;
    stream.on('error', () => {});
    stream.on('close', () => this.#lost());
    if (stream.destroyed) this.#isOpen = false;
    new Wire(
      stream,
      {
        message: (type, bytes, from, to) => this.#message(type, bytes, from, to),
        piece: (type, bytes, from, to, left) => this.#exchange?.piece(type, bytes, from, to, left),
      },
      () => this.destroy(),
    );
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** As of the last ReadyForQuery. */
  get transactionStatus(): TransactionStatus {
    if (this.#status === IDLE) return 'I';
    return this.#status === IN_TRANSACTION ? 'T' : 'E';
  }

  /** Who hears what comes between exchanges. */
  listen(listener: Listener): void {
    this.#listener = listener;
    if (!this.#isOpen) listener.lost();
  }

  /** The number of its backend in the server. */
  get processId(): number {
    return this.#signals.processId;
  }

  /**
   * Sends one message group that ends in one ReadyForQuery. With `isLast` the reset of the session travels behind it in
   * the same packet: the server begins it as soon as it has answered, and no round trip is spent on it.
   */
  send(bytes: Buffer, exchange: Exchange, isLast: boolean): void {
    if (!this.#isOpen) return exchange.ended(true);
    this.#exchange = exchange;
    this.#isReset = false;
    this.#stream.write(this.#withReset(bytes, isLast));
  }

  /** The second half of a group of which the first half, sent before, ended in no ReadyForQuery. */
  proceed(bytes: Buffer, isLast: boolean): void {
    if (!this.#isOpen) return;
    this.#stream.write(this.#withReset(bytes, isLast));
  }

  #withReset(bytes: Buffer, isLast: boolean): Buffer {
    if (!isLast) return bytes;
    this.#resetsUnderWay = 1;
    this.#hasResetFailed = false;
    return Buffer.concat([bytes, DISCARD_ALL]);
  }

  /** {@link cancel}s the exchange that runs; if it is not over when its time of grace is, the backend is ended. */
  cancelExchange(graceMs: number): Promise<void> {
    clearTimeout(this.#grace);
    if (this.#exchange !== undefined) this.#grace = setTimeout(() => void this.terminate(), graceMs);
    return this.cancel();
  }

  /**
   * Asks the server to cancel what runs; resolves when it has taken note, or will not, or the session has been ended: a
   * server that has not taken note in time may do so whenever it likes, and would hit a later statement. A canceled session
   * is not lent again.
   */
  async cancel(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isCanceled = true;
    const sent = this.#signals.cancel().then((isSent) => (isSent ? undefined : this.terminate()));
    this.#signaling = Promise.all([this.#signaling, sent]).then(() => {});
    await sent;
  }

  /** Resolves when no cancel is under way any more that could hit what is sent next. */
  quiet(): Promise<void> {
    return this.#signaling;
  }

  /**
   * Ends a backend that does not heed a cancel. Until it is gone the connection stays: a backend that works does not see
   * that its client has left, and whoever counts connections would count one too few.
   */
  async terminate(): Promise<void> {
    if (!this.#isOpen || this.#isEnding) return;
    this.#isEnding = true;
    await this.#signals.terminate();
    this.destroy();
  }

  destroy(): void {
    this.#stream.destroy();
    this.#lost();
  }

  /** The bytes themselves: from here on the taker sends and hears them. Canceling and ending stay here. */
  takeOver(): Duplex {
    this.#stream.removeAllListeners('data');
    return this.#stream;
  }

  /** Says goodbye to an idle session. */
  close(): void {
    if (!this.#isOpen) return;
    this.#stream.end(Buffer.of(0x58, 0, 0, 0, 4));
    this.#isOpen = false;
    setTimeout(() => this.#stream.destroy(), GOODBYE_TIMEOUT_MS).unref();
  }

  /** Whether the session is as new: no transaction, settings, locks, temporary tables, statements or channels. */
  async clean(): Promise<boolean> {
    const timer = setTimeout(() => void this.terminate(), RESET_TIMEOUT_MS);
    await this.#reset();
    clearTimeout(timer);
    const isClean = this.#isOpen && this.#isReset && !this.#isCanceled;
    if (!isClean) this.destroy();
    return isClean;
  }

  async #reset(): Promise<void> {
    // Of a connection that is gone already, nothing more is to come.
    if (!this.#isOpen) return;
    if (this.#resetsUnderWay > 0) await this.#untilReset();
    if (this.#isReset || this.#isCanceled || !this.#isOpen) return;
    // Either none was sent along, or it came inside a transaction that the request had left open.
    const inTransaction = this.#status !== IDLE;
    this.#resetsUnderWay = inTransaction ? 2 : 1;
    this.#hasResetFailed = false;
    this.#stream.write(inTransaction ? Buffer.concat([ROLLBACK, DISCARD_ALL]) : DISCARD_ALL);
    await this.#untilReset();
  }

  #untilReset(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#resetEnded = resolve;
    return promise;
  }

  #message(type: number, bytes: Buffer, from: number, to: number): Promise<void> | undefined {
    if (type === PARAMETER_STATUS) {
      const reader = new MessageReader(bytes, from, to);
      this.parameters.set(reader.text(), reader.text());
    }
    const exchange = this.#exchange;
    if (type === READY) {
      this.#status = bytes[from] ?? 0;
      this.#exchange = undefined;
      clearTimeout(this.#grace);
      if (exchange !== undefined) exchange.ended(false);
      else this.#resetStep();
      return undefined;
    }
    if (this.#listener !== undefined && (exchange === undefined || type === NOTIFICATION)) {
      return this.#listener.message(type, bytes, from, to);
    }
    if (exchange !== undefined) return exchange.message(type, bytes, from, to);
    if (type === ERROR) this.#hasResetFailed = true;
    return undefined;
  }

  #resetStep(): void {
    if (this.#resetsUnderWay === 0) return this.destroy();
    this.#resetsUnderWay -= 1;
    if (this.#resetsUnderWay > 0) return;
    this.#isReset = !this.#hasResetFailed && this.#status === IDLE;
    this.#endReset();
  }

  #endReset(): void {
    this.#resetEnded?.();
    this.#resetEnded = undefined;
  }

  #lost(): void {
    this.#isOpen = false;
    const exchange = this.#exchange;
    this.#exchange = undefined;
    clearTimeout(this.#grace);
    exchange?.ended(true);
    this.#endReset();
    const listener = this.#listener;
    this.#listener = undefined;
    listener?.lost();
  }
}

/** A role may end its own sessions. */
async function terminate(connectionString: string, processId: number): Promise<void> {
  const client = new pg.Client({
    connectionString,
    application_name: 'postern',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: TERMINATE_TIMEOUT_MS * 2,
    // A role's own settings, made by ALTER ROLE, are not to keep it from ending its own sessions.
    options: '-c role=none -c local_preload_libraries= -c statement_timeout=0',
  });
  client.on('error', () => {});
  try {
    await client.connect();
    // Waits for the end, and answers false if there is none.
    const { rows } = await client.query<{ isGone: boolean }>('select pg_catalog.pg_terminate_backend($1, $2) as "isGone"', [
      processId,
      TERMINATE_TIMEOUT_MS,
    ]);
    if (rows[0]?.isGone !== true) throw new StillRunning('the backend has not ended in time');
  } finally {
    client.connection.stream.destroy();
  }
}

class StillRunning extends Error {
  override readonly name = 'StillRunning';
}

interface CancelTarget {
  readonly host: string;
  readonly port: number;
  readonly ssl: unknown;
  readonly processID: number;
  readonly secretKey: number;
}

const SSL_REQUEST = Buffer.of(0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f);

/**
 * A CancelRequest on a socket of its own, which the server closes when it has sent the signal. True when the socket is
 * closed: no signal can come any more, as it has been sent, or never will be where the socket was refused or reset. False
 * if that took too long: the signal may still come.
 */
export async function sendCancel({ host, port, ssl, processID, secretKey }: CancelTarget): Promise<boolean> {
  const request = Buffer.alloc(16);
  request.writeInt32BE(16, 0);
  request.writeInt32BE(80_877_102, 4);
  request.writeInt32BE(processID, 8);
  request.writeInt32BE(secretKey, 12);
  const socket = host.startsWith('/') ? net.connect(`${host}/.s.PGSQL.${port}`) : net.connect(port, host);
  const closed = Promise.withResolvers<boolean>();
  let isLate = false;
  socket.on('error', () => {});
  socket.once('close', () => closed.resolve(!isLate));
  socket.setTimeout(CANCEL_TIMEOUT_MS, () => {
    isLate = true;
    socket.destroy();
  });
  if (ssl === undefined || ssl === false) {
    socket.on('data', () => {});
    socket.write(request);
  } else {
    socket.write(SSL_REQUEST);
    socket.once('data', (answer) => {
      if (answer[0] !== 0x53) return void socket.destroy();
      const settings = typeof ssl === 'object' ? ssl : {};
      const secure = tls.connect({ socket, host, ...(net.isIP(host) === 0 && { servername: host }), ...settings });
      secure.on('error', () => socket.destroy());
      secure.on('data', () => {});
      secure.write(request);
    });
  }
  return closed.promise;
}
