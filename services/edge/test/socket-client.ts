/** Clients of sockets: the `ws` library, and bytes as they are for what no library sends. */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { ClientOptions } from 'ws';
import { WebSocket } from 'ws';

import { clientFrame, OPCODE } from '../src/domain/frames.ts';
import { rawRequest } from './raw-client.ts';
import type { World } from './world.ts';

export interface Talk extends AsyncDisposable {
  readonly ws: WebSocket;
  /** Messages in the order in which they came. */
  readonly heard: Buffer[];
  readonly texts: () => string[];
  /** The next message that has not been asked for yet. */
  next(): Promise<Buffer>;
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
}

export async function talk(
  world: Pick<World, 'origins'>,
  listener: string,
  path: string,
  options: ClientOptions = {},
): Promise<Talk> {
  const ws = new WebSocket(`${(world.origins[listener] ?? '').replace('http', 'ws')}${path}`, options);
  const heard: Buffer[] = [];
  const waiting: ((bytes: Buffer) => void)[] = [];
  const closed = Promise.withResolvers<{ code: number; reason: string }>();
  let asked = 0;
  ws.on('message', (bytes: Buffer) => {
    heard.push(bytes);
    waiting.shift()?.(bytes);
  });
  ws.on('close', (code, reason) => closed.resolve({ code, reason: reason.toString() }));
  await once(ws, 'open');
  // How it ended is told by `closed`. What else there is to say, of frames that are none above all, fails the test at its end.
  let broken: Error | undefined;
  ws.on('error', (error) => {
    const isGone = 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
    if (!isGone) broken ??= error;
  });
  return {
    ws,
    heard,
    texts: () => heard.map(String),
    async next() {
      const known = heard[asked];
      asked += 1;
      if (known !== undefined) return known;
      return Promise.race([
        new Promise<Buffer>((resolve) => void waiting.push(resolve)),
        closed.promise.then(({ code, reason }) => Promise.reject(new Error(`closed with ${code} ${reason}`))),
      ]);
    },
    closed: closed.promise,
    async [Symbol.asyncDispose]() {
      ws.terminate();
      if (broken !== undefined) throw broken;
    },
  };
}

/** The status of an upgrade that is refused. */
export async function refusedWith(world: World, listener: string, path: string, options: ClientOptions = {}): Promise<number> {
  const ws = new WebSocket(`${(world.origins[listener] ?? '').replace('http', 'ws')}${path}`, options);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  ws.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0));
  ws.on('open', () => resolve(101));
  // Also what is said of the end of one that has been answered, which nobody waits for any more.
  ws.on('error', reject);
  const status = await promise;
  ws.terminate();
  return status;
}

export const UPGRADE = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
];

export const MASK = Buffer.from([1, 2, 3, 4]);

export const textFrame = (value: unknown): Buffer =>
  clientFrame(OPCODE.text, Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)), MASK);

export interface RawSocket extends Disposable {
  readonly socket: Socket;
  /** All that came behind the answer to the handshake. */
  received(): Buffer;
  readonly ended: Promise<void>;
}

/** Opens with a handshake of bytes, and `first` in the same packet. */
export async function openRaw(world: World, listener: string, path: string, first: Buffer = Buffer.alloc(0)): Promise<RawSocket> {
  const socket = connect(world.port(listener), '127.0.0.1');
  let all: Buffer = Buffer.alloc(0);
  const answered = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  let headBytes = 0;
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    all = Buffer.concat([all, chunk]);
    const end = all.indexOf('\r\n\r\n');
    if (end !== -1 && headBytes === 0) {
      headBytes = end + 4;
      answered.resolve();
    }
  });
  socket.on('close', () => ended.resolve());
  socket.on('end', () => socket.end());
  socket.write(Buffer.concat([Buffer.from(rawRequest(`GET ${path} HTTP/1.1`, UPGRADE)), first]));
  await answered.promise;
  if (!all.toString('latin1').startsWith('HTTP/1.1 101 ')) throw new Error(all.toString('latin1'));
  return {
    socket,
    received: () => all.subarray(headBytes),
    ended: ended.promise,
    [Symbol.dispose]: () => void socket.destroy(),
  };
}

/** PostgreSQL's StartupMessage, protocol 3.0 unless another is given. */
export function startupMessage(settings: Readonly<Record<string, string>>, version = 196_608): Buffer {
  const text = Object.entries(settings)
    .map(([name, value]) => `${name}\0${value}\0`)
    .join('');
  const body = Buffer.from(`${text}\0`);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(body.length + 8);
  head.writeUInt32BE(version, 4);
  return Buffer.concat([head, body]);
}

export function passwordMessage(password: string): Buffer {
  const body = Buffer.from(`${password}\0`);
  const head = Buffer.alloc(5);
  head[0] = 0x70;
  head.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

/** An ErrorResponse, field by field. */
export function errorFields(bytes: Buffer): Record<string, string> {
  const fields = bytes.toString('utf8', 5).split('\0');
  return Object.fromEntries(fields.filter((field) => field !== '').map((field) => [field[0] ?? '', field.slice(1)]));
}
