/** One log line, one count and one duration per request; the active gauge falls also when the client leaves. */
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { Counter, Gauge, Histogram } from 'prom-client';

import type { Entrance, Exchange } from './exchange.ts';
import type { Route } from '../domain/routes.ts';

export interface Observe {
  began(exchange: Exchange): void;
  /** The connection was taken over: it is a socket from now on. */
  upgraded(exchange: Exchange): void;
  ended(exchange: Exchange): void;
}

/** Requests of one route at one listener. Plain numbers: they change with every request, and are read once a scrape. */
interface Series {
  readonly labels: { readonly path: string; readonly source: string };
  readonly byStatus: Map<number, number>;
  readonly duration: { observe(seconds: number): void };
  active: number;
  sockets: number;
}

const buckets = Array.from({ length: 17 }, (_, power) => 0.000128 * 2 ** power);

/** Status of a request whose client left before its answer was whole; never sent. */
const CLIENT_LEFT = 499;

export function createObserve(registry: Registry, log: Logger): Observe {
  const all: Series[] = [];
  const known = new WeakMap<Entrance, Map<Route | undefined, Series>>();
  const duration = register(registry, all);

  const seriesOf = ({ entrance, route }: Exchange): Series => {
    const routes = known.get(entrance) ?? new Map<Route | undefined, Series>();
    known.set(entrance, routes);
    const found = routes.get(route);
    if (found !== undefined) return found;
    const labels = { path: route?.path ?? 'none', source: entrance.listener.name };
    const series = { labels, byStatus: new Map(), duration: duration.labels(labels.path, labels.source), active: 0, sockets: 0 };
    routes.set(route, series);
    all.push(series);
    return series;
  };

  return {
    began(exchange) {
      seriesOf(exchange).active += 1;
    },
    upgraded(exchange) {
      const series = seriesOf(exchange);
      series.active -= 1;
      series.sockets += 1;
    },
    ended(exchange) {
      const { request, response, startedAtMs, requestId, principal, client } = exchange;
      const series = seriesOf(exchange);
      const durationMs = performance.now() - startedAtMs;
      const { tally } = exchange;
      const whole = response.writableFinished ? response.statusCode : CLIENT_LEFT;
      const status = tally?.status ?? (exchange.brokenOff ? 502 : whole);
      series.byStatus.set(status, (series.byStatus.get(status) ?? 0) + 1);
      if (tally === undefined) {
        series.active -= 1;
        series.duration.observe(durationMs / 1_000);
      } else series.sockets -= 1;
      log.info(
        {
          listener: series.labels.source,
          method: request.method,
          route: series.labels.path,
          status,
          durationMs: Math.round(durationMs * 100) / 100,
          requestId,
          principalId: principal?.id,
          client,
          ...(tally !== undefined && { bytesIn: tally.bytesIn, bytesOut: tally.bytesOut }),
        },
        tally === undefined ? 'request' : 'socket',
      );
    },
  };
}

function register(registry: Registry, all: readonly Series[]): Histogram<'path' | 'source'> {
  const registers = [registry];
  new Counter({
    name: 'postern_http_requests_total',
    help: 'Requests by route template, listener and status',
    labelNames: ['path', 'source', 'status'],
    registers,
    collect() {
      this.reset();
      for (const { labels, byStatus } of all) {
        for (const [status, count] of byStatus) this.inc({ ...labels, status: String(status) }, count);
      }
    },
  });
  new Gauge({
    name: 'postern_http_requests_active',
    help: 'Requests under way by route template and listener',
    labelNames: ['path', 'source'],
    registers,
    collect() {
      for (const { labels, active } of all) this.set(labels, active);
    },
  });
  new Gauge({
    name: 'postern_sockets_open',
    help: 'Open sockets by route template and listener',
    labelNames: ['path', 'source'],
    registers,
    collect() {
      for (const { labels, sockets } of all) this.set(labels, sockets);
    },
  });
  return new Histogram({
    name: 'postern_http_request_duration_seconds',
    help: 'Time from the head of a request to the end of its answer, by route template and listener',
    labelNames: ['path', 'source'],
    buckets,
    registers,
  });
}
