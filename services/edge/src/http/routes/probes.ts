/** `/api/livez`, `/api/readyz` and `/metrics`. */
import type { RequestHandler } from 'express';
import type { Registry } from 'prom-client';

import { send, text } from '../answers.ts';
import { exchangeOf } from '../exchange.ts';

/** Touches nothing: that it answers is the answer. */
export const livez: RequestHandler = (request) => send(exchangeOf(request), text(200, 'Liveness check successful!'));

export interface Readiness {
  isReady(): boolean;
  /** Resolves when ready, or when it is no use to wait any longer. */
  whenReady(signal: AbortSignal): Promise<void>;
}

/** Ready means that SQL can be served. `?wait=true` holds the answer until then. */
export function createReadyz(readiness: Readiness): RequestHandler {
  return async (request, response) => {
    const exchange = exchangeOf(request);
    const isReady = (): boolean => readiness.isReady() && !exchange.entrance.isDraining();
    const query = new URLSearchParams(exchange.target.slice(exchange.target.indexOf('?') + 1));
    if (query.get('wait') === 'true' && !isReady()) {
      const left = new AbortController();
      response.once('close', () => left.abort());
      await readiness.whenReady(left.signal);
      if (left.signal.aborted) return;
    }
    send(exchange, isReady() ? text(200, 'ready') : text(503, 'not ready', [['retry-after', '1']]));
  };
}

export function createMetrics(registry: Registry): RequestHandler {
  return async (request) => {
    const exchange = exchangeOf(request);
    const body = await registry.metrics();
    send(exchange, {
      status: 200,
      headers: [
        ['content-type', registry.contentType],
        ['cache-control', 'no-store'],
      ],
      body,
    });
  };
}
