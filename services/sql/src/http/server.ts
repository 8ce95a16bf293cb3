/**
 * The inner door, on `node:http` itself: under load the framework's own work was a good part of what a one-row query
 * costs. Every request and every upgrade is routed, identified and told of here.
 */
import { PRINCIPAL_HEADER } from '@postern/contracts/common';
import { Failure, isFailure } from '@postern/contracts/failure';
import type { VerifyAssertion } from '@postern/service-kit/assertion';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { Histogram } from 'prom-client';

import type { Caller } from '../domain/ports.ts';
import { present } from './present.ts';

/** A request that was admitted. */
export interface Visit {
  readonly caller: Caller;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly requestId: string | undefined;
  /** What stands in the places of the template's `{…}`, percent-decoded. */
  readonly params: readonly string[];
  /** The body, if it was looked at to find out who answers. */
  readonly body?: Buffer;
}

/** An upgrade that was admitted; the handshake is the route's to make. */
export interface SocketVisit {
  readonly caller: Caller;
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly requestId: string | undefined;
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Template; `{name}` is one segment. Also the label of metrics and logs. */
  readonly path: string;
  /** What is thrown is presented, or ends the connection if the answer has begun. */
  readonly serve: (visit: Visit) => Promise<void>;
}

export interface SocketRoute {
  readonly path: string;
  /** Resolves when the socket has been taken over; what is thrown before is answered instead of the upgrade. */
  readonly accept: (visit: SocketVisit) => Promise<void>;
}

export interface ServerOptions {
  readonly routes: readonly Route[];
  readonly socketRoutes: readonly SocketRoute[];
  readonly verify: VerifyAssertion;
  readonly log: Logger;
  readonly metrics: Registry;
}

export interface Listener {
  readonly request: RequestListener;
  readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
}

const DROPPED_BYTES_MAX = 1_048_576;
const buckets = Array.from({ length: 17 }, (_, power) => 0.000128 * 2 ** power);

export function createListener({ routes, socketRoutes, verify, log, metrics }: ServerOptions): Listener {
  const find = createFinder(routes);
  const histogram = new Histogram({
    name: 'postern_inner_http_request_duration_seconds',
    help: 'Time to answer a request of the inner door, by route template and status',
    labelNames: ['route', 'status'],
    buckets,
    registers: [metrics],
  });
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const startedAt = performance.now();
    const requestId = oneHeader(request, 'x-request-id');
    const found = find(request);
    const route = found.kind === 'none' ? 'none' : found.path;
    let caller: Caller | undefined;
    response.once('close', () => {
      const durationMs = performance.now() - startedAt;
      const status = response.writableFinished ? response.statusCode : 499;
      histogram.observe({ route, status: String(status) }, durationMs / 1_000);
      log.info(
        {
          method: request.method,
          route,
          status,
          durationMs: Math.round(durationMs * 10) / 10,
          requestId,
          principalId: caller?.principal.id,
        },
        'request',
      );
    });
    try {
      if (found.kind === 'none') return sendText(response, 404, 'not found');
      if (found.kind === 'otherMethod')
        return sendText(response.setHeader('allow', found.allow.join(', ')), 405, 'method not allowed');
      caller = await admit(verify, request);
      await found.route.serve({ caller, request, response, requestId, params: found.params });
    } catch (error) {
      fail(error, request, response, requestId);
    }
  };
  const failureOf = (error: unknown, requestId: string | undefined): Failure => {
    const failure = isFailure(error) ? error : new Failure('INTERNAL', { cause: error });
    if (failure.code === 'INTERNAL') log.error({ err: failure.cause ?? failure, requestId }, 'request failed');
    else if (failure.cause !== undefined) log.warn({ err: failure.cause, code: failure.code, requestId }, 'request refused');
    return failure;
  };
  const fail = (error: unknown, request: IncomingMessage, response: ServerResponse, requestId: string | undefined): void => {
    const failure = failureOf(error, requestId);
    if (response.headersSent || response.destroyed) return void response.destroy();
    const { status, headers, body } = present(failure, requestId);
    // A short rest of the body is read and dropped; for a long one the connection is not worth it.
    if (!request.complete && !(Number(request.headers['content-length']) <= DROPPED_BYTES_MAX))
      response.setHeader('connection', 'close');
    response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body);
  };
  const upgrade = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    const startedAt = performance.now();
    const requestId = oneHeader(request, 'x-request-id');
    const path = pathOf(request.url);
    const route = socketRoutes.find((candidate) => candidate.path === path);
    let caller: Caller | undefined;
    let status = 101;
    socket.on('error', () => {});
    socket.once('close', () => {
      const durationMs = Math.round((performance.now() - startedAt) * 10) / 10;
      log.info({ route: route?.path ?? 'none', status, durationMs, requestId, principalId: caller?.principal.id }, 'socket');
    });
    try {
      if (route === undefined) {
        status = 404;
        return refuseUpgrade(socket, { status, headers: { 'content-type': 'text/plain; charset=utf-8' }, body: 'not found' });
      }
      caller = await admit(verify, request);
      await route.accept({ caller, request, socket, head, requestId });
    } catch (error) {
      const presented = present(failureOf(error, requestId), requestId);
      status = presented.status;
      refuseUpgrade(socket, presented);
    }
  };
  return {
    request: (request, response) => void answer(request, response),
    upgrade: (request, socket, head) => void upgrade(request, socket, head),
  };
}

type Found =
  | { readonly kind: 'route'; readonly path: string; readonly route: Route; readonly params: readonly string[] }
  | { readonly kind: 'otherMethod'; readonly path: string; readonly allow: readonly string[] }
  | { readonly kind: 'none' };

function createFinder(routes: readonly Route[]): (request: IncomingMessage) => Found {
  const byPath = Map.groupBy(routes, ({ path }) => path);
  const templates = [...byPath].map(([path, those]) => ({ path, those, segments: path.split('/') }));
  const fit = (path: string): { path: string; those: readonly Route[]; params: string[] } | undefined => {
    const exact = byPath.get(path);
    if (exact !== undefined && !path.includes('{')) return { path, those: exact, params: [] };
    const segments = path.split('/');
    for (const template of templates) {
      const params = fitSegments(template.segments, segments);
      if (params !== undefined) return { path: template.path, those: template.those, params };
    }
    return undefined;
  };
  return ({ url, method }) => {
    const found = fit(pathOf(url));
    if (found === undefined) return { kind: 'none' };
    const { path, those, params } = found;
    // Node leaves the body of an answer to HEAD out.
    const route = those.find((candidate) => candidate.method === (method === 'HEAD' ? 'GET' : method));
    return route === undefined ? { kind: 'otherMethod', path, allow: allowed(those) } : { kind: 'route', path, route, params };
  };
}

const allowed = (routes: readonly Route[]): readonly string[] =>
  routes.flatMap(({ method }) => (method === 'GET' ? [method, 'HEAD'] : [method])).toSorted();

function fitSegments(template: readonly string[], segments: readonly string[]): string[] | undefined {
  if (template.length !== segments.length || !template.some((part) => part.startsWith('{'))) return undefined;
  const params: string[] = [];
  for (const [index, part] of template.entries()) {
    const segment = segments[index] ?? '';
    if (!part.startsWith('{')) {
      if (part !== segment) return undefined;
      continue;
    }
    const param = decode(segment);
    if (param === undefined || param === '') return undefined;
    params.push(param);
  }
  return params;
}

function decode(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}

const pathOf = (target: string | undefined): string => target?.split('?', 1)[0] ?? '';

async function admit(verify: VerifyAssertion, request: IncomingMessage): Promise<Caller> {
  const assertion = oneHeader(request, PRINCIPAL_HEADER);
  if (assertion === undefined) throw new Failure('ASSERTION_INVALID');
  return { principal: await verify(assertion), assertion };
}

/** Repeated headers are joined with a comma, which no single value holds. */
function oneHeader(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === 'string' && value !== '' && !value.includes(',') ? value : undefined;
}

function sendText(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'content-length': body.length }).end(body);
}

interface Refusal {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** An answer where there is no response to write it with. */
export function refuseUpgrade(socket: Duplex, { status, headers, body }: Refusal): void {
  if (socket.destroyed) return;
  const lines = Object.entries({ ...headers, connection: 'close', 'content-length': String(Buffer.byteLength(body)) });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}\r\n${head}\r\n${body}`, () => socket.destroy());
}
