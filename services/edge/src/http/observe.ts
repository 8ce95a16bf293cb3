/** One log line, one count and one duration per request; the active gauge falls also when the client leaves. */
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { Counter, Gauge, Histogram } from 'prom-client';

import type { Exchange } from './exchange.ts';

export type Observe = (exchange: Exchange) => void;

const buckets = Array.from({ length: 17 }, (_, power) => 0.000128 * 2 ** power);

/** Status of a request whose client left before its answer was whole; never sent. */
const CLIENT_LEFT = 499;

export function createObserve(registry: Registry, log: Logger): Observe {
  const registers = [registry];
  const total = new Counter({
    name: 'postern_http_requests_total',
    help: 'Requests by route template, listener and status',
    labelNames: ['path', 'source', 'status'],
    registers,
  });
  const active = new Gauge({
    name: 'postern_http_requests_active',
    help: 'Requests under way by route template and listener',
    labelNames: ['path', 'source'],
    registers,
  });
  const duration = new Histogram({
    name: 'postern_http_request_duration_seconds',
    help: 'Time from the head of a request to the end of its answer, by route template and listener',
    labelNames: ['path', 'source'],
    buckets,
    registers,
  });
  return (exchange) => {
    const { entrance, request, response, route, startedAtMs } = exchange;
    const labels = { path: route?.path ?? 'none', source: entrance.listener.name };
    active.inc(labels);
    response.once('close', () => {
      const durationMs = performance.now() - startedAtMs;
      const whole = response.writableFinished ? response.statusCode : CLIENT_LEFT;
      const status = exchange.brokenOff ? 502 : whole;
      active.dec(labels);
      total.inc({ ...labels, status: String(status) });
      duration.observe(labels, durationMs / 1_000);
      log.info(
        {
          listener: labels.source,
          method: request.method,
          route: labels.path,
          status,
          durationMs: Math.round(durationMs * 100) / 100,
          requestId: exchange.requestId,
          principalId: exchange.principal?.id,
          client: exchange.client,
        },
        'request',
      );
    });
  };
}
