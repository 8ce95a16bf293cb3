/** A walsender session: a slot that lasts as long as the session, and the lines of `test_decoding`. */
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';

import { reusingSocket, sendCancel } from './connection.pg.ts';
import { MessageType, readError } from './messages.pg.ts';
import { MessageReader, simpleQuery, Wire } from './wire.pg.ts';

export interface ReplicationOptions {
  /** Of a login that may replicate, on the person database. */
  readonly databaseUrl: string;
}

export interface ReplicationReceiver {
  /** One line; unless they are its own, its bytes are good until the call returns. */
  line(lsn: bigint, line: Buffer, isOwn: boolean): void;
  /** By the beginning of a large line, and its length: whether it is to be held and told. */
  isWanted(head: Buffer, bytes: number): boolean;
  /** Nothing is to come from before this place of the log. */
  reached(lsn: bigint): void;
  closed(error: Error): void;
}

export interface ReplicationStream extends AsyncDisposable {}

const CONNECT_TIMEOUT_MS = 5_000;
/** The server gives up after its wal_sender_timeout, 60 s by default. */
const STATUS_MS = 5_000;
/** Of a line: enough for the names of a change's table. */
export const HEAD_BYTES = 2_048;

/** Forms that read the same in any session. */
const SETTINGS =
  '-c DateStyle=ISO -c IntervalStyle=postgres -c TimeZone=UTC -c extra_float_digits=1 -c bytea_output=hex ' +
  '-c search_path=pg_catalog -c statement_timeout=0 -c idle_session_timeout=0';

class ReplicationFault extends Error {
  override readonly name = 'ReplicationFault';
}

export async function openReplication(
  options: ReplicationOptions,
  closing: AbortSignal,
  receiver: ReplicationReceiver,
): Promise<ReplicationStream> {
  // `replication` is read by the driver and sent as a start-up parameter; its types do not know it.
  const ssl: unknown = new pg.Client({ connectionString: options.databaseUrl }).ssl;
  const reusing = ssl === undefined || ssl === false ? reusingSocket() : undefined;
  const config: pg.ClientConfig & { readonly replication: string } = {
    ...(reusing !== undefined && { stream: () => reusing.socket }),
    connectionString: options.databaseUrl,
    application_name: 'postern-changes',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    options: SETTINGS,
    replication: 'database',
  };
  const client = new pg.Client(config);
  client.on('error', () => {});
  const key = { processID: 0, secretKey: 0 };
  client.connection.on('backendKeyData', ({ processID, secretKey }: { processID: number; secretKey: number }) => {
    Object.assign(key, { processID, secretKey });
  });
  let isOver = false;
  let late: NodeJS.Timeout | undefined;
  const giveUp = async (): Promise<void> => {
    const { stream } = client.connection;
    if (key.processID === 0) return void stream.destroy();
    late = setTimeout(() => stream.destroy(), GOODBYE_MS);
    // A server that waits for the transactions of others hears nothing else, and one signal may come before what it is for.
    while (!isOver) {
      await sendCancel({ host: client.host, port: client.port, ssl, ...key });
      await pause(CANCEL_AGAIN_MS);
    }
  };
  const givingUp = (): void => void giveUp();
  closing.addEventListener('abort', givingUp);
  try {
    await client.connect();
    closing.throwIfAborted();
    const { rows } = await client.query<{ server_encoding: string }>('SHOW server_encoding');
    if (rows[0]?.server_encoding !== 'UTF8') throw new ReplicationFault('the encoding of the database is not UTF8');
    closing.throwIfAborted();
    const slot = `postern_${crypto.randomUUID().replaceAll('-', '')}`;
    // Answered when the slot is consistent: every transaction that is committed from now on will be told.
    await client.query(`CREATE_REPLICATION_SLOT ${slot} TEMPORARY LOGICAL test_decoding NOEXPORT_SNAPSHOT`);
    const { stream } = client.connection;
    stream.removeAllListeners('data');
    reusing?.handOver();
    return new Walsender(stream, slot, receiver);
  } catch (error) {
    isOver = true;
    await sayGoodbye(client.connection.stream, TERMINATE);
    throw error;
  } finally {
    isOver = true;
    clearTimeout(late);
    closing.removeEventListener('abort', givingUp);
  }
}

/** Resolves when the server has ended the session, and the slot with it; one that does not is not waited for. */
async function sayGoodbye(stream: Duplex, words: Buffer): Promise<void> {
  if (stream.destroyed) return;
  const closed = Promise.withResolvers<void>();
  stream.once('close', closed.resolve);
  stream.end(words);
  const late = setTimeout(() => stream.destroy(), GOODBYE_MS);
  await closed.promise;
  clearTimeout(late);
}

const COPY_DATA = 0x64;
const COPY_DONE = Buffer.of(0x63, 0, 0, 0, 4);
const TERMINATE = Buffer.of(0x58, 0, 0, 0, 4);
const GOODBYE_MS = 2_000;
const CANCEL_AGAIN_MS = 100;
const XLOG_DATA = 0x77;
const KEEPALIVE = 0x6b;
const HEADER_BYTES = 25;
const BEGINNING_BYTES = HEADER_BYTES + HEAD_BYTES;
/** The first letter of a commit's line. */
const COMMIT = 0x43;

class Walsender implements ReplicationStream {
  readonly #stream: Duplex;
  readonly #receiver: ReplicationReceiver;
  readonly #timer: NodeJS.Timeout;
  /** The large message that is being read: its beginning, or all of it if it is wanted. */
  #large: Buffer | undefined;
  #largeBytes = 0;
  #isSkipping = false;
  #reached = 0n;
  #error: Error | undefined;
  #isClosed = false;

  constructor(stream: Duplex, slot: string, receiver: ReplicationReceiver) {
    this.#stream = stream;
    this.#receiver = receiver;
    stream.on('error', (error: Error) => this.#fail(error));
    stream.on('close', () => this.#closed());
    new Wire(
      stream,
      {
        message: (type, bytes, from, to) => this.#message(type, bytes, from, to),
        piece: (type, bytes, from, to, left) => this.#piece(type, bytes, from, to, left),
      },
      (error) => this.#fail(error),
    );
    stream.write(
      simpleQuery(
        `START_REPLICATION SLOT ${slot} LOGICAL 0/0 ("include-xids" '1', "skip-empty-xacts" '1', "include-timestamp" '0')`,
      ),
    );
    this.#timer = setInterval(() => this.#status(), STATUS_MS);
    this.#timer.unref();
  }

  #message(type: number, bytes: Buffer, from: number, to: number): undefined {
    if (type === COPY_DATA) this.#data(bytes, from, to, false);
    else if (type === MessageType.error) {
      const { message, code } = readError(bytes, from, to);
      this.#fail(new ReplicationFault(`${code}: ${message}`));
    } else if (
      type !== MessageType.copyBoth &&
      !this.#stream.writableEnded &&
      type !== MessageType.notice &&
      type !== MessageType.parameterStatus
    ) {
      this.#fail(new ReplicationFault('the server ended the stream'));
    }
    return undefined;
  }

  /** What nobody wants is not held, however large it is. */
  #piece(type: number, bytes: Buffer, from: number, to: number, left: number): undefined {
    if (type !== COPY_DATA) {
      this.#fail(new ReplicationFault('the server sent a message that is too large'));
      return undefined;
    }
    if (!this.#isSkipping) this.#gather(bytes, from, to, left);
    if (left > 0) return undefined;
    const whole = this.#large;
    this.#large = undefined;
    this.#largeBytes = 0;
    this.#isSkipping = false;
    if (whole !== undefined) this.#data(whole, 0, whole.length, true);
    return undefined;
  }

  #gather(bytes: Buffer, from: number, to: number, left: number): void {
    this.#large ??= Buffer.allocUnsafe(BEGINNING_BYTES);
    let at = from;
    if (this.#largeBytes < BEGINNING_BYTES) {
      at += bytes.copy(this.#large, this.#largeBytes, from, Math.min(to, from + BEGINNING_BYTES - this.#largeBytes));
      this.#largeBytes += at - from;
      if (this.#largeBytes < BEGINNING_BYTES) return;
      const size = this.#largeBytes + to - at + left;
      if (!this.#receiver.isWanted(this.#large.subarray(HEADER_BYTES), size - HEADER_BYTES)) {
        this.#isSkipping = true;
        this.#large = undefined;
        return;
      }
      const whole = Buffer.allocUnsafe(size);
      this.#large.copy(whole);
      this.#large = whole;
    }
    this.#largeBytes += bytes.copy(this.#large, this.#largeBytes, at, to);
  }

  #data(bytes: Buffer, from: number, to: number, isOwn: boolean): void {
    const kind = bytes[from];
    const lsn = bytes.readBigUInt64BE(from + 1);
    if (kind === XLOG_DATA) {
      if (bytes[from + HEADER_BYTES] === COMMIT) this.#reached = lsn;
      this.#receiver.line(lsn, bytes.subarray(from + HEADER_BYTES, to), isOwn);
      return;
    }
    if (kind !== KEEPALIVE) return;
    if (lsn > this.#reached) this.#reached = lsn;
    this.#receiver.reached(lsn);
    const reader = new MessageReader(bytes, from + 17, to);
    if (reader.byte() === 1) this.#status();
  }

  /** The slot ends with the session, so there is nothing that the server should keep for it. */
  #status(): void {
    if (this.#isClosed) return;
    const status = Buffer.alloc(39);
    status[0] = COPY_DATA;
    status.writeUInt32BE(38, 1);
    status[5] = 0x72;
    for (const at of [6, 14, 22]) status.writeBigUInt64BE(this.#reached, at);
    this.#stream.write(status);
  }

  /** After the goodbye, as when a cancel came late, the server closes by itself: not before the slot is gone. */
  #fail(error: Error): void {
    this.#error ??= error;
    if (!this.#stream.writableEnded) this.#stream.destroy();
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#timer);
    this.#receiver.closed(this.#error ?? new ReplicationFault('the connection to the server was lost'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    await sayGoodbye(this.#stream, Buffer.concat([COPY_DONE, TERMINATE]));
    this.#closed();
  }
}
