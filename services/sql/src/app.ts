/** Ports in, a door out: every route of the inner door is named here. */
import type { VerifyAssertion } from '@postern/service-kit/assertion';
import type { Door, DoorOptions } from '@postern/service-kit/door';
import { openDoor } from '@postern/service-kit/door';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';

import type { CancelKeys } from './domain/cancel-keys.ts';
import type { ChannelFeeds } from './domain/channels.ts';
import type { Guard } from './domain/guard.ts';
import type { HeldSessions } from './domain/held.ts';
import type { CatalogBook, CoordinatorBook, MetricsBook } from './domain/inspections.ts';
import type { NeonRunner } from './domain/neon.ts';
import type { WireSessions } from './domain/neon-tunnel.ts';
import type { QueryRunner } from './domain/ports.ts';
import type { Desk } from './domain/statements-desk.ts';
import type { Subscriptions } from './domain/subscribe.ts';
import { catalogRoutes } from './http/routes/catalog.ts';
import type { Documents } from './http/routes/documents.ts';
import { documentRoutes } from './http/routes/documents.ts';
import { listenRoute } from './http/routes/listen.ts';
import { metricsRoutes } from './http/routes/metrics.ts';
import { neonRoute } from './http/routes/neon.ts';
import { sqlRoute } from './http/routes/sql.ts';
import { statementRoutes } from './http/routes/statements.ts';
import { subscribeRoute, withEvents } from './http/routes/subscribe.ts';
import type { Listener } from './http/server.ts';
import { createListener } from './http/server.ts';
import type { Lifetimes } from './http/sockets/lifetime.ts';
import { createReceiving } from './http/sockets/receiving.ts';
import { sqlSocketRoutes } from './http/sockets/sql-socket.ts';
import { tunnelRoute } from './http/sockets/tunnel-route.ts';

export interface AppOptions {
  readonly runner: QueryRunner;
  readonly desk: Desk & AsyncDisposable & { startDraining(): void };
  /** Longest time of an answer that is sent while it is made. */
  readonly streamMs: number;
  readonly catalog: CatalogBook;
  readonly coordinator: CoordinatorBook;
  readonly metricsBook: MetricsBook;
  readonly documents: Documents;
  readonly neon: NeonRunner;
  readonly held: HeldSessions;
  readonly wire: WireSessions;
  readonly changes: AsyncDisposable & {
    readonly subscriptions: Pick<Subscriptions<never>, 'subscribe'>;
    readonly channels: ChannelFeeds;
  };
  readonly lifetimes: Lifetimes;
  readonly cancelKeys: CancelKeys;
  readonly guard: Guard;
  /** The one database that is served. */
  readonly database: string;
  readonly verify: VerifyAssertion;
  readonly log: Logger;
  readonly metrics: Registry;
}

/** Of messages that have not come whole, on all sockets of all kinds together. */
const RECEIVING_BYTES_MAX = 268_435_456;

function createApp(options: AppOptions): Listener {
  const { runner, desk, changes, neon, held, wire, lifetimes, cancelKeys, guard, database, verify, log, metrics } = options;
  const routes = [
    withEvents(sqlRoute(runner, options), changes.subscriptions),
    subscribeRoute(changes.subscriptions),
    listenRoute(changes.channels),
    ...statementRoutes(desk),
    neonRoute({ neon, database }),
    ...catalogRoutes(options.catalog, options.coordinator),
    ...metricsRoutes(options.metricsBook),
    ...documentRoutes(options.documents),
  ];
  const receiving = createReceiving(RECEIVING_BYTES_MAX);
  const socketRoutes = [
    ...sqlSocketRoutes({ sessions: held, cancelKeys, lifetimes, receiving, log }),
    tunnelRoute({ sessions: wire, cancelKeys, lifetimes, receiving, guard, database, log }),
  ];
  return createListener({ routes, socketRoutes, verify, log, metrics });
}

/** Opens the door. When it shuts, what is under way behind it is told to end in the order that lets answers come to their end. */
export async function openApp(
  options: AppOptions,
  { host, port }: Pick<DoorOptions, 'host' | 'port'>,
): Promise<Pick<Door, 'origin'> & AsyncDisposable> {
  const app = createApp(options);
  const scope = new AsyncDisposableStack();
  const { origin } = scope.use(
    await openDoor(app.request, { host, port, prepare: (server) => void server.on('upgrade', app.upgrade) }),
  );
  scope.use(options.desk);
  // After the door, which cuts the sockets off that are left when it shuts.
  scope.use(options.lifetimes);
  // Its answers end before the door waits for answers to end.
  scope.use(options.changes);
  scope.defer(() => options.desk.startDraining());
  return { origin, [Symbol.asyncDispose]: () => scope.disposeAsync() };
}
