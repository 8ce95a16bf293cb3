import type { RequestHandler } from 'express';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { Histogram } from 'prom-client';

import type { Caller } from './assertion.ts';

export interface AccessOptions {
  readonly log: Logger;
  readonly metrics: Registry;
}

const buckets = Array.from({ length: 17 }, (_, power) => 0.000128 * 2 ** power);

/** One log line and one sample per request of an inner door, when the answer has ended or the caller has gone. */
export function accessMiddleware({ log, metrics }: AccessOptions): RequestHandler {
  const histogram = new Histogram({
    name: 'postern_inner_http_request_duration_seconds',
    help: 'Time to answer a request of the inner door, by route template and status',
    labelNames: ['route', 'status'],
    buckets,
    registers: [metrics],
  });
  return (request, response, next) => {
    const startedAt = performance.now();
    response.once('close', () => {
      const durationMs = performance.now() - startedAt;
      const matched = (request as { route?: { path?: unknown } }).route?.path;
      const route = typeof matched === 'string' ? matched : 'none';
      const status = response.writableFinished ? response.statusCode : 499;
      histogram.observe({ route, status: String(status) }, durationMs / 1_000);
      const caller = response.locals['principal'] as Caller | undefined;
      log.info(
        {
          method: request.method,
          route,
          status,
          durationMs: Math.round(durationMs * 10) / 10,
          requestId: request.headers['x-request-id'],
          principalId: caller?.principal.id,
        },
        'request',
      );
    });
    next();
  };
}
