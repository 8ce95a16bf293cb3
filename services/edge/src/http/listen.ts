/** Opens the public addresses: parsing limits, TLS, answers to what is not HTTP, and the way they close. */
import { Failure } from '@postern/contracts/failure';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';

import type { Listener } from '../domain/listeners.ts';
import type { KeyPair } from '../domain/ports.ts';
import { presentFailure } from './answers.ts';

export interface ListenOptions {
  readonly listener: Listener;
  /** Needed by a listener with TLS. */
  readonly keyPair: KeyPair | undefined;
  readonly connectionsMax: number;
  readonly drainNoticeMs: number;
  readonly log: Logger;
  readonly handle: (request: IncomingMessage, response: ServerResponse, expectsContinue: boolean) => void;
}

export interface OpenListener {
  /** `http://host:port`, with the port that was taken. */
  readonly origin: string;
  /** New connections are served with the new pair; a pair that cannot be used throws, and the old one stays. */
  renew(keyPair: KeyPair): void;
  isDraining(): boolean;
  /** Says so in answers for a while, then takes nothing new and finishes what it has. */
  close(): Promise<void>;
}

const HEAD_BYTES_MAX = 16_384;

const LIMITS = {
  maxHeaderSize: HEAD_BYTES_MAX,
  /** The head is checked by the gate, which answers in its own words. */
  requireHostHeader: false,
  insecureHTTPParser: false,
  headersTimeout: 10_000,
  /** For the whole request, body included; the answer may take longer. */
  requestTimeout: 120_000,
  connectionsCheckingInterval: 2_000,
  keepAliveTimeout: 65_000,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: 60_000,
} as const;

export async function openListener(options: ListenOptions): Promise<OpenListener> {
  const { listener, keyPair, handle, log } = options;
  const secure = listener.tls
    ? createTlsServer({ ...LIMITS, ...keyPair, minVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'], handshakeTimeout: 10_000 })
    : undefined;
  const server: Server = secure ?? createServer(LIMITS);
  let draining = false;
  const underWay = trackUnderWay(server);
  server.maxHeadersCount = 0;
  server.maxConnections = options.connectionsMax;
  server.on('request', (request: IncomingMessage, response: ServerResponse) => handle(request, response, false));
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => handle(request, response, true));
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => handle(request, response, false));
  server.on('connect', (_request: IncomingMessage, socket: Duplex) => endWith(socket, new Failure('TARGET_MALFORMED')));
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => answerNoise(error, socket, underWay));
  server.on('tlsClientError', (error: Error) => log.debug({ err: error }, 'handshake failed'));
  server.on('drop', () => log.warn({ listener: listener.name }, 'connection refused: too many'));
  const listening = Promise.withResolvers<void>();
  server.once('error', listening.reject);
  server.listen({ host: listener.host, port: listener.port, backlog: 1_024 }, listening.resolve);
  await listening.promise;
  server.off('error', listening.reject);
  server.on('error', (error) => log.error({ err: error }, 'listener failed'));
  const { port } = server.address() as AddressInfo;
  const host = reachableHost(listener.host);
  return {
    origin: `${listener.tls ? 'https' : 'http'}://${host}:${port}`,
    renew: (pair) => secure?.setSecureContext({ ...pair, minVersion: 'TLSv1.2' }),
    isDraining: () => draining,
    async close() {
      draining = true;
      await delay(options.drainNoticeMs);
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      server.closeIdleConnections();
      await closed.promise;
    },
  };
}

/** A wildcard is reached at this machine's own address. */
function reachableHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}

interface Turn {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

type UnderWay = WeakMap<Duplex, Set<Turn>>;

/** What is under way on each connection: bytes of the edge's own never go into the middle of an answer. */
function trackUnderWay(server: Server): UnderWay {
  const underWay: UnderWay = new WeakMap();
  const track = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request;
    const turns = underWay.get(socket) ?? new Set<Turn>();
    underWay.set(socket, turns);
    const turn = { request, response };
    turns.add(turn);
    response.once('close', () => turns.delete(turn));
  };
  server.on('request', track);
  server.on('checkContinue', track);
  return underWay;
}

function answerNoise(error: NodeJS.ErrnoException, socket: Duplex, underWay: UnderWay): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const turns = [...(underWay.get(socket) ?? [])];
  const [turn] = turns;
  // The fault may lie in the body of a request that waits for its answer; otherwise the answer is somebody else's.
  const isMine = turns.length === 0 || (turns.length === 1 && turn?.request.complete === false && !turn.response.headersSent);
  if (!isMine) return void socket.destroy();
  endWith(socket, failureOf(error));
}

function failureOf({ code }: NodeJS.ErrnoException): Failure {
  if (code === 'HPE_HEADER_OVERFLOW') return new Failure('HEADERS_TOO_LARGE');
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new Failure('REQUEST_TIMEOUT');
  return new Failure('HEADER_MALFORMED', { detail: 'the message is not HTTP/1.1' });
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
};

/** Writes an answer where there is no response to write it with, and ends the connection. */
function endWith(socket: Duplex, failure: Failure): void {
  const { status, headers, body } = presentFailure(failure);
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `HTTP/1.1 ${status} ${REASONS[status] ?? 'Error'}\r\n${lines.join('')}connection: close\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`;
  socket.on('error', () => {});
  socket.end(head + body);
  // What is still coming is thrown away, so that the answer is not lost to a reset; not for ever.
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), 1_000);
  socket.once('close', () => clearTimeout(timer));
}
