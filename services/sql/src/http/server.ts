/**
 * The inner door, on `node:http` itself: there is one route, and under load the framework's own work was a good part of
 * what a one-row query costs.
 */
import { PRINCIPAL_HEADER } from '@postern/contracts/common';
import { Failure, isFailure } from '@postern/contracts/failure';
import type { Caller, QueryRunner } from '../domain/ports.ts';
import type { VerifyAssertion } from '@postern/service-kit/assertion';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { Histogram } from 'prom-client';

import { present } from './present.ts';
import { postSql } from './routes/sql.ts';

export interface ServerOptions {
  readonly runner: QueryRunner;
  readonly verify: VerifyAssertion;
  readonly log: Logger;
  readonly metrics: Registry;
}

const PATH = '/api/sql';
const DROPPED_BYTES_MAX = 1_048_576;
const buckets = Array.from({ length: 17 }, (_, power) => 0.000128 * 2 ** power);

export function createListener({ runner, verify, log, metrics }: ServerOptions): RequestListener {
  const histogram = new Histogram({
    name: 'postern_inner_http_request_duration_seconds',
    help: 'Time to answer a request of the inner door, by route template and status',
    labelNames: ['route', 'status'],
    buckets,
    registers: [metrics],
  });
  const answer = async (request: IncomingMessage, response: ServerResponse, route: string): Promise<void> => {
    const startedAt = performance.now();
    const requestId = oneHeader(request, 'x-request-id');
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
      if (route !== PATH) return sendText(response, 404, 'not found');
      if (request.method !== 'POST') return sendText(response.setHeader('allow', 'POST'), 405, 'method not allowed');
      caller = await admit(verify, request);
      await postSql(runner, caller, request, response);
    } catch (error) {
      fail(error, request, response, requestId);
    }
  };
  const fail = (error: unknown, request: IncomingMessage, response: ServerResponse, requestId: string | undefined): void => {
    if (response.headersSent || response.destroyed) return void response.destroy();
    const failure = isFailure(error) ? error : new Failure('INTERNAL', { cause: error });
    if (failure.code === 'INTERNAL') log.error({ err: failure.cause ?? failure, requestId }, 'request failed');
    else if (failure.cause !== undefined) log.warn({ err: failure.cause, code: failure.code, requestId }, 'request refused');
    const { status, headers, body } = present(failure, requestId);
    // A short rest of the body is read and dropped; for a long one the connection is not worth it.
    if (!request.complete && !(Number(request.headers['content-length']) <= DROPPED_BYTES_MAX))
      response.setHeader('connection', 'close');
    response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body);
  };
  return (request, response) => void answer(request, response, routeOf(request.url));
}

const routeOf = (target: string | undefined): string => {
  const path = target?.split('?', 1)[0];
  return path === PATH ? PATH : 'none';
};

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
