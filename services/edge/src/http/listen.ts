/** Opens the public addresses: parsing limits, TLS, answers to what is not HTTP, and the way they close. */
import { Failure } from '@postern/contracts/failure';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';

import type { Listener } from '../domain/listeners.ts';
import type { KeyPair } from '../domain/ports.ts';
import { presentFailure } from './answers.ts';
import { endSoon } from './connection.ts';

export interface ListenOptions {
  readonly listener: Listener;
  /** Needed by a listener with TLS. */
  readonly keyPair: KeyPair | undefined;
  readonly connectionsMax: number;
  readonly drainNoticeMs: number;
  /** Longest time for the head of a request, and for all of it. */
  readonly headMs: number;
  readonly requestMs: number;
  readonly log: Logger;
  /** How long sockets have to end by themselves when the listener closes. */
  readonly socketDrainMs: number;
  /** Makes what answers requests. */
  readonly handlerOf: (state: ListenerState) => ListenerHandler;
}

export interface ListenerState {
  isDraining(): boolean;
  isClosing(): boolean;
}

export interface ListenerHandler {
  request(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void;
  /** Whether the request is for a connection of its own. */
  takesUpgrade(request: IncomingMessage): boolean;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Asks sockets to end, and ends them when the time is over. */
  drainSockets(deadlineMs: number): void;
}

export interface OpenListener {
  /** `http://host:port`, with the port that was taken. */
  readonly origin: string;
  /** New connections are served with the new pair; a pair that cannot be used throws, and the old one stays. */
  renew(keyPair: KeyPair): void;
  /** Says so in answers for a while, then takes nothing new and finishes what it has. */
  close(): Promise<void>;
}

const HEAD_BYTES_MAX = 16_384;

const LIMITS = {
  maxHeaderSize: HEAD_BYTES_MAX,
  /** The head is checked by the gate, which answers in its own words. */
  requireHostHeader: false,
  insecureHTTPParser: false,
  keepAliveTimeout: 65_000,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: 60_000,
} as const;

export async function openListener(options: ListenOptions): Promise<OpenListener> {
  const { listener, keyPair, log } = options;
  const limits = {
    ...LIMITS,
    headersTimeout: options.headMs,
    requestTimeout: options.requestMs,
    connectionsCheckingInterval: Math.min(2_000, Math.ceil(options.headMs / 4)),
    // One behind another request has no connection to take over; it is answered as a request.
    shouldUpgradeCallback: (request: IncomingMessage) =>
      connections.turnsOf(request.socket).length === 0 && handler.takesUpgrade(request),
  };
  const secure = listener.tls
    ? createTlsServer({ ...limits, ...keyPair, minVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'], handshakeTimeout: 10_000 })
    : undefined;
  const server: Server = secure ?? createServer(limits);
  let draining = false;
  let closing = false;
  const handler = options.handlerOf({ isDraining: () => draining, isClosing: () => closing });
  const connections = trackConnections(server, listener.tls);
  server.maxHeadersCount = 0;
  server.maxConnections = options.connectionsMax;
  server.on('request', (request: IncomingMessage, response: ServerResponse) => handler.request(request, response, false));
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => handler.request(request, response, true));
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) =>
    handler.request(request, response, false),
  );
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    connections.giveAway(socket);
    handler.upgrade(request, socket, head);
  });
  server.on('connect', (_request: IncomingMessage, socket: Duplex) => endWith(socket, new Failure('TARGET_MALFORMED')));
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) =>
    answerNoise(error, socket, connections.turnsOf(socket)),
  );
  server.on('tlsClientError', (error: Error) => log.debug({ err: error }, 'handshake failed'));
  server.on('drop', () => log.warn({ listener: listener.name }, 'connection refused: too many'));
  const listening = Promise.withResolvers<void>();
  server.once('error', listening.reject);
  server.listen({ host: listener.host, port: listener.port, backlog: 1_024 }, listening.resolve);
  await listening.promise;
  server.off('error', listening.reject);
  server.on('error', (error) => log.error({ err: error }, 'listener failed'));
  const address = server.address();
  const port = typeof address === 'object' ? (address?.port ?? listener.port) : listener.port;
  const host = reachableHost(listener.host);
  return {
    origin: `${listener.tls ? 'https' : 'http'}://${host}:${port}`,
    renew: (pair) => secure?.setSecureContext({ ...pair, minVersion: 'TLSv1.2' }),
    async close() {
      draining = true;
      await delay(options.drainNoticeMs);
      closing = true;
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      connections.endWhenIdle();
      handler.drainSockets(options.socketDrainMs);
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

interface Connections {
  turnsOf(socket: Duplex): readonly Turn[];
  /** The connection carries no more requests; whoever took it ends it. */
  giveAway(socket: Duplex): void;
  /** Ends those on which nothing is under way, also ones that never asked anything, and the others when they are done. */
  endWhenIdle(): void;
}

/** What is under way on each connection: bytes of the edge's own never go into the middle of an answer. */
function trackConnections(server: Server, tls: boolean): Connections {
  const underWay = new Map<Duplex, Set<Turn>>();
  let ending = false;
  server.on(tls ? 'secureConnection' : 'connection', (socket: Duplex) => {
    underWay.set(socket, new Set());
    socket.once('close', () => underWay.delete(socket));
  });
  const track = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request;
    const turns = underWay.get(socket);
    const turn = { request, response };
    turns?.add(turn);
    response.once('close', () => {
      turns?.delete(turn);
      // One whose head was sent before the end was decided on; its client need not agree to it.
      if (ending && turns?.size === 0) socket.end(() => socket.destroy());
    });
  };
  server.on('request', track);
  server.on('checkContinue', track);
  return {
    giveAway: (socket) => void underWay.delete(socket),
    turnsOf: (socket) => [...(underWay.get(socket) ?? [])],
    endWhenIdle() {
      ending = true;
      for (const [socket, turns] of underWay) if (turns.size === 0) socket.destroy();
    },
  };
}

/** The parser has given the connection up. What was accepted before is still answered; then, or at once, the fault is. */
function answerNoise(error: NodeJS.ErrnoException, socket: Duplex, turns: readonly Turn[]): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const accepted = turns.filter(({ request }) => request.complete);
  // The fault lies in the body of a request; if its answer has begun, there is no place for another.
  const isAnswering = turns.some(({ request, response }) => !request.complete && response.headersSent);
  const conclude = (): void => {
    if (isAnswering || !socket.writable) socket.destroy();
    else endWith(socket, failureOf(error));
  };
  let waiting = accepted.length;
  if (waiting === 0) conclude();
  for (const { response } of accepted) {
    response.once('close', () => {
      waiting -= 1;
      if (waiting === 0) conclude();
    });
  }
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
  endSoon(socket, head + body);
}
