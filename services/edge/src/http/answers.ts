/** How the edge's own answers are written; the only place where a failure becomes a status. */
import { authErrors } from '@postern/contracts/auth';
import { edgeErrors } from '@postern/contracts/edge';
import { commonErrors, Failure, isFailure } from '@postern/contracts/failure';
import { sessionErrors } from '@postern/contracts/session';
import { noNeonFields } from '@postern/contracts/sql';
import type { Presented } from '@postern/service-kit/problem';
import { presentProblem } from '@postern/service-kit/problem';
import type { Logger } from 'pino';

import type { Headers } from '../domain/cors.ts';
import { passwordFailed } from '../domain/startup.ts';
import { endConnection } from './connection.ts';
import type { Exchange } from './exchange.ts';

const table = { ...authErrors, ...sessionErrors, ...edgeErrors };
const titles = new Map(Object.entries({ ...commonErrors, ...table }).map(([code, { title }]) => [code, title]));

export const presentFailure = (failure: Failure, requestId?: string): Presented => presentProblem(failure, table, requestId);

export interface Answer {
  readonly status: number;
  readonly headers?: Headers;
  readonly body?: string;
  /** The connection cannot carry another request. */
  readonly close?: boolean;
}

const TEXT: Headers = [['content-type', 'text/plain; charset=utf-8']];

export const text = (status: number, body: string, headers: Headers = []): Answer => ({
  status,
  headers: [...TEXT, ['cache-control', 'no-store'], ...headers],
  body,
});

/** Headers of every answer, the edge's own and forwarded ones, flat as `writeHead` takes them. */
export function commonHeaders(exchange: Exchange, close: boolean): string[] {
  const flat = ['x-request-id', exchange.requestId, 'x-content-type-options', 'nosniff'];
  for (const [name, value] of exchange.always) flat.push(name, value);
  if (close || exchange.upgrade !== undefined || exchange.entrance.isDraining()) {
    flat.push('connection', 'close');
    endConnection(exchange);
  }
  return flat;
}

/** A body up to this size that was not wanted is read and thrown away; beyond it the connection is closed. */
const DISCARD_BYTES_MAX = 65_536;
const LINGER_BYTES_MAX = 16 * 1_048_576;
const LINGER_MS = 2_000;

export function send(exchange: Exchange, { status, headers = [], body = '', close = false }: Answer): void {
  const { request, response } = exchange;
  if (response.headersSent || response.destroyed) return void response.destroy();
  // A client that was not told to go on may send its next request where its body would have been.
  const unread = exchange.upgrade === undefined && !request.complete && (exchange.expectsContinue || !isSmall(exchange));
  const flat = commonHeaders(exchange, close || unread);
  for (const [name, value] of headers) flat.push(name, value);
  flat.push('content-length', String(Buffer.byteLength(body)));
  response.writeHead(status, flat);
  if (!unread) return void response.end(request.method === 'HEAD' ? undefined : body);
  // The client is still sending. It reads the answer only if the connection is not reset under it.
  response.write(body);
  linger(exchange);
}

function isSmall({ head }: Exchange): boolean {
  return !head.has('transfer-encoding') && Number(head.get('content-length') ?? 0) <= DISCARD_BYTES_MAX;
}

function linger({ request, response, expectsContinue }: Exchange): void {
  if (expectsContinue) return void response.end();
  let bytes = 0;
  const end = (): void => {
    clearTimeout(late);
    response.end();
  };
  const late = setTimeout(end, LINGER_MS);
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > LINGER_BYTES_MAX) end();
  });
  request.once('end', end);
  request.once('close', end);
  request.resume();
}

/** The body is wanted: a client that waits to be told so is told. */
export function continueIfAsked(exchange: Exchange): void {
  if (!exchange.expectsContinue) return;
  exchange.expectsContinue = false;
  exchange.response.writeContinue();
}

/** Answers a failure: as a problem document, unless the route has another form for it. */
export function sendFailure(exchange: Exchange, failure: Failure, extra: Headers = [], close = false): void {
  if (failure.code === 'BODY_TOO_LARGE' && exchange.route?.bodyErrors === 'text') {
    const { status: tooLarge, title } = edgeErrors.BODY_TOO_LARGE;
    return send(exchange, { ...text(tooLarge, title, extra), close });
  }
  if (exchange.route?.dialect === 'neon') return sendNeonFailure(exchange, failure, extra, close);
  const { status, headers, body } = presentFailure(failure, exchange.requestId);
  send(exchange, { status, headers: [...Object.entries(headers), ...extra], body, close });
}

/** Neon's driver shows the message of a 400, and the whole body of any other status. */
function sendNeonFailure(exchange: Exchange, failure: Failure, extra: Headers, close: boolean): void {
  const { status, headers } = presentFailure(failure, exchange.requestId);
  const message = failure.detail ?? titles.get(failure.code) ?? commonErrors.INTERNAL.title;
  const own = Object.entries(headers).filter(([name]) => name !== 'content-type');
  send(exchange, { ...neonBody(status, { message }), headers: [JSON_TYPE, ...own, ...extra], close });
}

const JSON_TYPE = ['content-type', 'application/json'] as const;

interface NeonTold {
  readonly message: string;
  readonly code?: string;
  readonly severity?: string;
}

const neonBody = (status: number, { message, ...told }: NeonTold): Answer => ({
  status,
  body: JSON.stringify({ message, ...noNeonFields, ...told }),
});

/** A denial, in the words of the route's protocol: to Neon's driver, an error is one of the database only with 400. */
export function sendDenial(exchange: Exchange, reason: string, headers: Headers = []): void {
  const { route, connection } = exchange;
  if (route?.dialect !== 'neon') return send(exchange, text(401, reason, headers));
  const message = passwordFailed(connection?.user ?? '');
  const answer = neonBody(400, { message, code: '28P01', severity: 'FATAL' });
  send(exchange, { ...answer, headers: [JSON_TYPE, ['cache-control', 'no-store'], ...headers] });
}

/**
 * Answers whatever was thrown. A server that did not answer in time is a server that is away; somebody whom auth does not sign
 * any more is nobody.
 */
export function sendError(exchange: Exchange, error: unknown, log: Logger): void {
  const failure = isFailure(error) ? error : new Failure('INTERNAL', { cause: error });
  if (failure.code === 'INTERNAL') log.error({ err: failure.cause ?? failure, requestId: exchange.requestId }, 'request failed');
  if (failure.code === 'ASSERTION_INVALID') return sendDenial(exchange, 'unauthorized');
  const isAway = failure.code === 'TIMEOUT' || failure.code === 'UNAVAILABLE';
  sendFailure(exchange, isAway ? new Failure('UNAVAILABLE', { retryAfterSeconds: 1 }) : failure);
}
