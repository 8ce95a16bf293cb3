/** WebSockets of the mesh: SQL as messages, and PostgreSQL's wire protocol in binary frames. */
import { eventually } from '@postern/testkit/eventually';
import { randomInt } from 'node:crypto';
import { WebSocket } from 'ws';

import type { Credential } from './client.ts';

export interface Ended {
  readonly code: number;
  readonly reason: string;
}

export interface Socket extends AsyncDisposable {
  readonly raw: WebSocket;
  /** How it was closed, by whomever. */
  readonly ended: Promise<Ended>;
}

export interface Message {
  readonly type: string;
  readonly payload: unknown;
}

export interface SqlSocket extends Socket {
  readonly messages: readonly Message[];
  send(message: unknown): void;
  /** Messages up to the next ReadyForQuery that nobody has waited for yet. */
  untilReady(): Promise<readonly Message[]>;
  ask(message: unknown): Promise<readonly Message[]>;
}

const PATIENCE = { timeoutMs: 30_000 };

/** Wherever it comes from: another client than anybody else, as failed logins are counted. */
const anotherAddress = (): { localAddress?: string } => {
  const part = (): number => randomInt(1, 255);
  return process.platform === 'linux' ? { localAddress: `127.${part()}.${part()}.${part()}` } : {};
};

interface Opened extends Socket {
  readonly open: Promise<void>;
}

function start(origin: string, path: string, headers: Credential): Opened {
  const url = new URL(path, origin.replace(/^http/, 'ws'));
  const local = url.hostname.startsWith('127.') ? anotherAddress() : {};
  const raw = new WebSocket(url, { headers, perMessageDeflate: false, ...local });
  const ended = Promise.withResolvers<Ended>();
  const open = Promise.withResolvers<void>();
  open.promise.catch(() => {});
  raw.on('error', open.reject);
  raw.once('open', open.resolve);
  raw.once('close', (code, reason) => ended.resolve({ code, reason: reason.toString() }));
  return {
    raw,
    ended: ended.promise,
    open: open.promise,
    async [Symbol.asyncDispose]() {
      raw.terminate();
      await ended.promise;
    },
  };
}

/** The status that an upgrade is answered with: 101 if it is one. */
export async function upgradeStatus(origin: string, path: string, headers: Credential): Promise<number> {
  await using socket = start(origin, path, headers);
  const status = Promise.withResolvers<number>();
  socket.raw.once('unexpected-response', (_, { statusCode }) => status.resolve(statusCode ?? 0));
  socket.raw.once('open', () => status.resolve(101));
  socket.open.catch((error: unknown) => status.reject(error as Error));
  return await status.promise;
}

export interface SocketOptions {
  readonly path?: string;
  readonly headers?: Credential;
}

/** A socket that has said who it is; whether it is welcome shows in what comes. */
export async function openSocket(origin: string, first: object, options: SocketOptions = {}): Promise<SqlSocket> {
  const { raw, ended, open, ...rest } = start(origin, options.path ?? '/api/v1/sql', options.headers ?? {});
  const messages: Message[] = [];
  let told = 0;
  raw.on('message', (bytes: Buffer) => messages.push(JSON.parse(bytes.toString('utf8')) as Message));
  const take = (): readonly Message[] => {
    const index = messages.findIndex(({ type }, at) => at >= told && type === 'ReadyForQuery');
    if (index < 0) throw new Error(`nothing more after ${JSON.stringify(messages.slice(told).slice(-3))}`);
    const answer = messages.slice(told, index + 1);
    told = index + 1;
    return answer;
  };
  const untilReady = (): Promise<readonly Message[]> => {
    let isTaken = false;
    const once = (): readonly Message[] => {
      if (isTaken) return [];
      const answer = take();
      isTaken = true;
      return answer;
    };
    return Promise.race([eventually(once, PATIENCE), ended.then(once)]);
  };
  const send = (message: unknown): void => raw.send(JSON.stringify(message));
  await open;
  send(first);
  return {
    ...rest,
    raw,
    ended,
    messages,
    send,
    untilReady,
    ask(message) {
      send(message);
      return untilReady();
    },
  };
}

/** One that is ready for queries, as a person with a password or a key. */
export async function openSql(origin: string, first: object, options: SocketOptions = {}): Promise<SqlSocket> {
  const socket = await openSocket(origin, first, options);
  await socket.untilReady();
  return socket;
}

export const rowsIn = (messages: readonly Message[]): readonly unknown[] =>
  messages.flatMap(({ type, payload }) => (type === 'Row' ? [payload] : []));

export const typesIn = (messages: readonly Message[]): readonly string[] => messages.map(({ type }) => type);

const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/** A message of the wire protocol; without a type it is one of those that come first. */
function wireMessage(type: string, ...parts: readonly (string | Buffer)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(`${part}\0`) : part)));
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body]);
}

export interface WireMessage {
  readonly type: string;
  readonly body: Buffer;
}

export interface WireSocket extends Socket {
  readonly messages: readonly WireMessage[];
  send(bytes: Buffer): void;
}

/** `/v2` with start-up message, password and first query in one frame, as the Neon driver sends them. */
export async function openWire(origin: string, user: string, secret: string, query = 'select 1'): Promise<WireSocket> {
  const { raw, ended, open, ...rest } = start(origin, '/v2', {});
  const messages: WireMessage[] = [];
  let rest_ = Buffer.alloc(0);
  raw.on('message', (bytes: Buffer) => {
    rest_ = Buffer.concat([rest_, bytes]);
    while (rest_.length >= 5 && rest_.length > rest_.readUInt32BE(1)) {
      const end = rest_.readUInt32BE(1) + 1;
      messages.push({ type: rest_.toString('latin1', 0, 1), body: rest_.subarray(5, end) });
      rest_ = rest_.subarray(end);
    }
  });
  await open;
  const startup = wireMessage('', int32(196_608), 'user', user, 'database', 'app', Buffer.from([0]));
  const send = (bytes: Buffer): void => raw.send(bytes);
  send(Buffer.concat([startup, wireMessage('p', secret), wireMessage('Q', query)]));
  return { ...rest, raw, ended, messages, send };
}

/** Once it is in and the server waits for its next query. */
export async function untilQuiet({ messages }: WireSocket): Promise<void> {
  await eventually(() => messages.at(-1)?.type === 'Z', PATIENCE);
}

/** A socket to `/v2` that asks for what runs under this key to be canceled, as every driver of PostgreSQL does. */
export async function cancelByWire(origin: string, key: Buffer): Promise<void> {
  await using socket = start(origin, '/v2', {});
  await socket.open;
  socket.raw.send(wireMessage('', int32(80_877_102), key));
  await socket.ended;
}
