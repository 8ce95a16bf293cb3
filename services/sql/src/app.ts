/** Ports in, handlers out: every route of the inner door is named here. */
import type { VerifyAssertion } from '@postern/service-kit/assertion';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';

import type { ChannelFeeds } from './domain/channels.ts';
import type { CatalogBook, CoordinatorBook, MetricsBook } from './domain/inspections.ts';
import type { QueryRunner } from './domain/ports.ts';
import type { Desk } from './domain/statements-desk.ts';
import type { Subscriptions } from './domain/subscribe.ts';
import { catalogRoutes } from './http/routes/catalog.ts';
import type { Documents } from './http/routes/documents.ts';
import { documentRoutes } from './http/routes/documents.ts';
import { listenRoute } from './http/routes/listen.ts';
import { metricsRoutes } from './http/routes/metrics.ts';
import type { NeonRouteOptions } from './http/routes/neon.ts';
import { neonRoute } from './http/routes/neon.ts';
import { sqlRoute } from './http/routes/sql.ts';
import { statementRoutes } from './http/routes/statements.ts';
import { subscribeRoute, withEvents } from './http/routes/subscribe.ts';
import type { Listener } from './http/server.ts';
import { createListener } from './http/server.ts';
import type { SqlSocketOptions } from './http/sockets/sql-socket.ts';
import { sqlSocketRoutes } from './http/sockets/sql-socket.ts';
import type { TunnelRouteOptions } from './http/sockets/tunnel-route.ts';
import { tunnelRoute } from './http/sockets/tunnel-route.ts';

export interface AppOptions {
  readonly runner: QueryRunner;
  readonly desk: Desk;
  /** Longest time of an answer that is sent while it is made. */
  readonly streamMs: number;
  readonly catalog: CatalogBook;
  readonly coordinator: CoordinatorBook;
  readonly metricsBook: MetricsBook;
  readonly documents: Documents;
  readonly neon: NeonRouteOptions;
  readonly sqlSockets: Omit<SqlSocketOptions, 'log'>;
  readonly tunnel: Omit<TunnelRouteOptions, 'log'>;
  readonly changes: { readonly subscriptions: Pick<Subscriptions<never>, 'subscribe'>; readonly channels: ChannelFeeds };
  readonly verify: VerifyAssertion;
  readonly log: Logger;
  readonly metrics: Registry;
}

export function createApp({
  runner,
  desk,
  streamMs,
  catalog,
  coordinator,
  metricsBook,
  documents,
  neon,
  sqlSockets,
  tunnel,
  changes,
  verify,
  log,
  metrics,
}: AppOptions): Listener {
  const routes = [
    withEvents(sqlRoute(runner, { streamMs }), changes.subscriptions),
    subscribeRoute(changes.subscriptions),
    listenRoute(changes.channels),
    ...statementRoutes(desk),
    neonRoute(neon),
    ...catalogRoutes(catalog, coordinator),
    ...metricsRoutes(metricsBook),
    ...documentRoutes(documents),
  ];
  const socketRoutes = [...sqlSocketRoutes({ ...sqlSockets, log }), tunnelRoute({ ...tunnel, log })];
  return createListener({ routes, socketRoutes, verify, log, metrics });
}
