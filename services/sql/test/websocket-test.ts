/** A client of SQL over WebSocket that speaks to the inner door, as the edge does. */
import { eventually } from '@postern/testkit/eventually';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';

import type { ServerMessage } from '../src/http/sockets/messages.ts';
import { ServerMessage as messageSchema } from '../src/http/sockets/messages.ts';
import type { Person, PersonDatabase, RunningSql } from './sql-test.ts';

export type Message = ServerMessage;

export interface Closed {
  readonly code: number;
  readonly reason: string;
}

export interface SqlSocket extends AsyncDisposable {
  readonly ws: WebSocket;
  /** All messages of the start-up, up to the first ReadyForQuery. */
  readonly startup: readonly Message[];
  /** The number of the session's backend. */
  readonly processId: number;
  readonly secretKey: number;
  /** As JSON; strings and buffers as they are. */
  send(message: unknown): void;
  next(): Promise<Message>;
  /** Up to the next ReadyForQuery. */
  untilReady(): Promise<readonly Message[]>;
  /** One request and its messages. */
  ask(message: unknown): Promise<readonly Message[]>;
  /** Messages that have come and that nobody has taken. */
  waiting(): readonly Message[];
  readonly closed: Promise<Closed>;
}

export interface OpenOptions {
  readonly path?: string;
  readonly options?: unknown;
  readonly principal?: Partial<Person['principal']>;
}

const urlOf = (sql: RunningSql, { path = '/api/v1/sql', options }: OpenOptions): string =>
  `${sql.origin.replace('http', 'ws')}${path}${options === undefined ? '' : `?options=${encodeURIComponent(JSON.stringify(options))}`}`;

const handshake = async (sql: RunningSql, person: Person, options: OpenOptions): Promise<WebSocket> => {
  const principal = { ...person.principal, ...options.principal };
  return new WebSocket(urlOf(sql, options), { headers: await sql.headers({ ...person, principal }) });
};

export async function openSocket(sql: RunningSql, person: Person, options: OpenOptions = {}): Promise<SqlSocket> {
  const ws = await handshake(sql, person, options);
  const arrived: Message[] = [];
  const takers: ((message: Message | undefined) => void)[] = [];
  ws.on('message', (data: Buffer, isBinary) => {
    if (isBinary) throw new Error('a binary message');
    const message = messageSchema.parse(JSON.parse(data.toString()));
    const taker = takers.shift();
    if (taker === undefined) arrived.push(message);
    else taker(message);
  });
  ws.on('error', () => {});
  const { promise: closed, resolve } = Promise.withResolvers<Closed>();
  ws.once('close', (code, reason) => {
    resolve({ code, reason: reason.toString() });
    for (const taker of takers) taker(undefined);
  });
  await once(ws, 'open');
  const next = async (): Promise<Message> => {
    const here = arrived.shift();
    if (here !== undefined) return here;
    const { promise, resolve: take } = Promise.withResolvers<Message | undefined>();
    if (ws.readyState === WebSocket.CLOSED) take(undefined);
    else takers.push(take);
    const message = await promise;
    if (message === undefined) throw new Error('the socket was closed');
    return message;
  };
  const untilReady = async (): Promise<readonly Message[]> => {
    const taken: Message[] = [];
    for (;;) {
      const message = await next();
      taken.push(message);
      if (message.type === 'ReadyForQuery') return taken;
    }
  };
  const send = (message: unknown): void =>
    ws.send(typeof message === 'string' || Buffer.isBuffer(message) ? message : JSON.stringify(message));
  const startup = await untilReady();
  const key = startup.find((message) => message.type === 'BackendKeyData');
  return {
    ws,
    startup,
    processId: key?.payload.conn_id ?? 0,
    secretKey: key?.payload.secret_key ?? 0,
    send,
    next,
    untilReady,
    ask: (message) => {
      send(message);
      return untilReady();
    },
    waiting: () => arrived,
    closed,
    async [Symbol.asyncDispose]() {
      ws.terminate();
      await closed;
    },
  };
}

/** What is answered instead of the handshake. */
export async function refusal(
  sql: RunningSql,
  person: Person,
  options: OpenOptions = {},
): Promise<{ readonly status: number; readonly body: string }> {
  const ws = await handshake(sql, person, options);
  ws.on('error', () => {});
  const { promise, resolve } = Promise.withResolvers<{ readonly status: number; readonly body: string }>();
  ws.once('unexpected-response', (_, response) => {
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.once('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
  });
  ws.once('open', () => {
    ws.terminate();
    resolve({ status: 101, body: '' });
  });
  return promise;
}

/** It waits for its reader now and then; when it has done so this often, one look after the other, nobody reads. */
const STUCK_LOOKS = 15;

/** Resolves when the server can write no more, as nobody reads. */
export async function untilStuck(database: PersonDatabase, { processId }: Pick<SqlSocket, 'processId'>): Promise<void> {
  let looks = 0;
  await eventually(
    async () => {
      const { rows } = await database.query('select wait_event from pg_stat_activity where pid = $1', [processId]);
      looks = rows[0]?.['wait_event'] === 'ClientWrite' ? looks + 1 : 0;
      return looks >= STUCK_LOOKS;
    },
    { timeoutMs: 20_000 },
  );
}

/** The connection below. */
export function rawSocket(ws: WebSocket): Socket {
  // `ws` keeps it to itself; a reader who stops reading is to stop at the connection.
  return (ws as unknown as { readonly _socket: Socket })._socket;
}

/** A dialogue in short: one word or two for each message. */
export const shortly = (messages: readonly Message[]): string[] =>
  messages.map((message) => {
    switch (message.type) {
      case 'CommandStarting': {
        const { has_rows: hasRows, is_streaming: isStreaming } = message.payload;
        return `Starting ${hasRows ? 't' : 'f'}${isStreaming ? 't' : 'f'}`;
      }
      case 'ReadyForQuery':
        return `Ready ${message.payload}`;
      case 'CommandComplete':
        return `Complete ${message.payload}`;
      case 'Error':
        return `Error ${message.payload.code}`;
      case 'Notice':
        return `Notice ${message.payload.code}`;
      case 'Rows':
        return `Rows ${message.payload.columns.map(({ name }) => name).join(',')}`;
      case 'Row':
        return `Row ${JSON.stringify(message.payload)}`;
      case 'ParameterStatus':
        return `Parameter ${message.payload.name}=${message.payload.value}`;
      case 'BackendKeyData':
        return 'Key';
      case 'Notification':
        return `Notification ${message.payload.channel} ${message.payload.payload}`;
    }
  });

export const last = (messages: readonly Message[], type: Message['type']): unknown =>
  messages.findLast((message) => message.type === type)?.payload;
