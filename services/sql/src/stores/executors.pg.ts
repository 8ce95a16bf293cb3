/** The executors: all that runs things for people, over the same sessions, under the same guard, with the same room for answers. */
import type pg from 'pg';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';

import type { Guard } from '../domain/guard.ts';
import type { HeldSessions } from '../domain/held.ts';
import type { CatalogBook, Census, CoordinatorBook, MetricsBook } from '../domain/inspections.ts';
import type { NeonRunner } from '../domain/neon.ts';
import type { WireSessions } from '../domain/neon-tunnel.ts';
import type { Clock, Grammar, QueryRunner } from '../domain/ports.ts';
import type { Revocable } from '../domain/revocation.ts';
import type { MetricPages } from '../domain/sql-metrics.ts';
import { createCatalogBook } from './catalog-dump.pg.ts';
import { createCatalog } from './catalog.pg.ts';
import type { ChangeLog } from './changes-log.pg.ts';
import type { Changes } from './changes-and-channels.pg.ts';
import { createChanges } from './changes-and-channels.pg.ts';
import type { SubscriptionLimits } from './changes.pg.ts';
import { createCoordinatorBook } from './coordinator.pg.ts';
import { createHeldSessions } from './held-sessions.pg.ts';
import type { NeonLimits } from './neon-task.pg.ts';
import { createNeonRunner } from './neon.pg.ts';
import { measurePools, measureSockets, measureSubscriptions } from './pool-metrics.ts';
import type { RunnerLimits } from './query-runner.pg.ts';
import { createQueryRunner } from './query-runner.pg.ts';
import { createReadings } from './readings.pg.ts';
import { createDescribeRows } from './row-shapes.pg.ts';
import type { Sessions } from './sessions.pg.ts';
import { createMetricsBook } from './sql-metrics.pg.ts';
import type { OpenDesk, StatementsOptions } from './statements.fs.ts';
import { openDesk } from './statements.fs.ts';
import { createWireSessions } from './tunnel.pg.ts';
import { createYardstick } from './yardstick.pg.ts';

export interface ExecutorsOptions {
  readonly replicaId: string;
  /** Sessions of the service's own login. */
  readonly pool: pg.Pool;
  /** Sessions of people's logins. */
  readonly sessions: Sessions;
  readonly grammar: Grammar;
  readonly guard: Guard;
  readonly changeLog: ChangeLog;
  readonly clock: Clock;
  readonly limits: RunnerLimits & NeonLimits;
  readonly subscriptionLimits: SubscriptionLimits;
  /** Of asynchronous statements. */
  readonly desk: Pick<StatementsOptions, 'limits' | 'drainMs'>;
  /** Longest time of a whole reading. */
  readonly readingMs: number;
  readonly metricPages: MetricPages;
  /** As whoever has them open counts them. */
  readonly sockets: { count(): number; readonly census: Census };
  readonly log: Logger;
  readonly metrics: Registry;
}

/** What is to be disposed of ends what it has under way: the door says when. */
export interface Executors {
  readonly runner: QueryRunner;
  readonly neon: NeonRunner;
  readonly desk: OpenDesk;
  readonly changes: Changes;
  readonly held: HeldSessions;
  readonly wire: WireSessions;
  readonly catalog: CatalogBook;
  readonly coordinator: CoordinatorBook;
  readonly metricsBook: MetricsBook;
  /** All that a revocation ends, beside sessions and sockets. */
  readonly underWay: readonly Revocable[];
}

export function createExecutors(options: ExecutorsOptions): Executors {
  const { replicaId, pool, sessions, grammar, guard, changeLog, clock, limits, sockets, log, metrics } = options;
  const catalog = createCatalog(pool, clock.now);
  const yardstick = createYardstick(pool, clock.now);
  const running = { sessions, grammar, guard, yardstick, catalog };
  const runner = createQueryRunner({ ...running, limits });
  const neon = createNeonRunner({ ...running, limits });
  const readings = createReadings({ sessions, clock, guard, readingMs: options.readingMs });
  const changes = createChanges({
    ...running,
    replicaId,
    changeLog,
    describeRows: createDescribeRows(catalog),
    clock,
    wallClock: { now: () => Date.now() },
    limits: options.subscriptionLimits,
  });
  const desk = openDesk({
    ...options.desk,
    keeper: runner,
    replicaId,
    clock,
    space: limits.spoolSpace,
    failed: (error) => log.warn({ err: error }, 'an asynchronous statement failed'),
  });
  measurePools(metrics, sessions, runner);
  measureSubscriptions(metrics, changes.subscriptions);
  measureSockets(metrics, sockets);
  const censuses = {
    requests: runner.census,
    readings: readings.underWay,
    neon: neon.census,
    sockets: sockets.census,
    statements: () => desk.census(),
    subscriptions: () => changes.subscriptions.census(),
  };
  return {
    runner,
    neon,
    desk,
    changes,
    held: createHeldSessions({ ...running, subscriptions: changes.subscriptions, resultBytes: limits.resultBytes }),
    wire: createWireSessions(sessions),
    catalog: createCatalogBook({ readings, answers: limits }),
    coordinator: createCoordinatorBook({ replicaId, clock, readings, sessions, censuses, answers: limits }),
    metricsBook: createMetricsBook({ clock, readings, pages: options.metricPages, log, metrics }),
    underWay: [desk, runner, readings, neon, changes],
  };
}
