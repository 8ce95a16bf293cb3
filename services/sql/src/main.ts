import { authService } from '@postern/contracts/auth';
import { sqlService } from '@postern/contracts/sql';
import { announce } from '@postern/rpc/announce';
import { createClient } from '@postern/rpc/client';
import { connectBus } from '@postern/rpc/connect';
import { serve } from '@postern/rpc/serve';
import { createAssertionVerifier } from '@postern/service-kit/assertion';
import { openDoor } from '@postern/service-kit/door';
import { createReadiness, serveOps } from '@postern/service-kit/ops';
import { runService } from '@postern/service-kit/run';
import pg from 'pg';

import { createApp } from './app.ts';
import { createLogins } from './clients/auth.ts';
import { hearCancels } from './clients/edge.ts';
import { refine, settings } from './config.ts';
import { createCancelKeys } from './domain/cancel-keys.ts';
import { createLifetimes } from './http/sockets/lifetime.ts';
import { hearRevocations } from './nats/revocations.ts';
import { createCatalogBook } from './stores/catalog-dump.pg.ts';
import { createCatalog } from './stores/catalog.pg.ts';
import { createCoordinatorBook } from './stores/coordinator.pg.ts';
import { readDocuments } from './stores/documents.fs.ts';
import { readMetricPages } from './stores/metrics-file.fs.ts';
import { createMetricsBook } from './stores/sql-metrics.pg.ts';
import { shippedMetrics } from './domain/shipped-metrics.ts';
import { noChangeLog, openChangeLog } from './stores/changes-log.pg.ts';
import { createChanges } from './stores/changes-services.pg.ts';
import { openGrammar } from './stores/grammar.libpg.ts';
import { createHeldSessions } from './stores/held-sessions.pg.ts';
import { openGuard } from './stores/limits-file.fs.ts';
import { createNeonRunner } from './stores/neon.pg.ts';
import { measurePools, measureSockets, measureSubscriptions } from './stores/pool-metrics.ts';
import { createQueryRunner } from './stores/query-runner.pg.ts';
import { createReadings } from './stores/readings.pg.ts';
import { createDescribeRows } from './stores/row-shapes.pg.ts';
import { createSessions } from './stores/sessions.pg.ts';
import { createSpoolSpace } from './stores/spool.fs.ts';
import { openDesk } from './stores/statements.fs.ts';
import { createWireSessions } from './stores/tunnel.pg.ts';
import { createYardstick } from './stores/yardstick.pg.ts';

await runService(
  'sql',
  settings,
  async ({ config, scope, log, metrics, replicaId }) => {
    const clock = { now: () => performance.now() };
    const bus = scope.adopt(await connectBus('sql', { url: config.natsUrl, credsFile: config.natsCredsFile }), (open) =>
      open.drain(),
    );
    const own = { connectionString: config.databaseUrl, application_name: 'postern-sql', max: 3, connectionTimeoutMillis: 2_000 };
    const pool = scope.adopt(new pg.Pool(own), (open) => open.end());
    pool.on('error', (error) => log.warn({ err: error }, 'own session lost'));
    const grammar = scope.use(await openGrammar());
    const auth = createClient(bus, authService, { metrics });

    const sessions = scope.use(
      createSessions({
        databaseUrl: config.databaseUrl,
        statementTimeoutMs: config.statementTimeoutMs,
        limits: {
          perRole: config.poolPerRoleMax,
          total: config.poolMax,
          waiting: config.poolWaitersMax,
          idleMs: config.poolIdleSeconds * 1_000,
        },
        heldLimits: { perRole: config.heldPerRoleMax, total: config.heldMax },
        waitMs: config.poolWaitMs,
        clock,
        logins: await createLogins(auth),
        runaway: ({ role, processId, error }) => log.warn({ role, processId, err: error }, 'a backend could not be ended'),
      }),
    );
    const guard = scope.use(
      await openGuard({
        path: config.limitsFile,
        changed: () => log.info('the limits have changed'),
        mistaken: (mistakes) => log.error({ mistakes }, 'the new limits cannot be used; the old ones stay'),
      }),
    );
    const yardstick = createYardstick(pool, clock.now);
    const spoolSpace = createSpoolSpace(config.spoolTotalBytes);
    const types = createCatalog(pool, clock.now);
    const runner = createQueryRunner({
      sessions,
      grammar,
      guard,
      yardstick,
      catalog: createCatalog(pool, clock.now),
      limits: {
        requestMs: config.requestTimeoutMs,
        resultBytes: config.resultBytesMax,
        spoolBytes: config.spoolBytes,
        spoolFolder: config.spoolDir,
        spoolSpace,
      },
    });
    const neon = createNeonRunner({
      sessions,
      grammar,
      guard,
      yardstick,
      catalog: types,
      limits: {
        requestMs: config.requestTimeoutMs,
        answerBytes: config.neonAnswerBytesMax,
        spoolBytes: config.spoolBytes,
        spoolFolder: config.spoolDir,
        spoolSpace,
      },
    });
    const logUrl = config.changesDatabaseUrl;
    const changes = createChanges({
      replicaId,
      sessions,
      grammar,
      changeLog: scope.use(logUrl === undefined ? noChangeLog : openChangeLog({ databaseUrl: logUrl, log })),
      describeRows: createDescribeRows(types),
      clock,
      wallClock: { now: () => Date.now() },
      guard,
      yardstick,
      limits: {
        backlogBytes: config.changesBacklogBytes,
        totalBytes: config.changesTotalBytes,
        resumeMs: config.changesResumeSeconds * 1_000,
        pollMs: config.changesPollMs,
      },
    });
    const drainMs = Math.max(config.drainTimeoutMs - 2_000, 0);
    const desk = openDesk({
      keeper: runner,
      replicaId,
      clock,
      limits: {
        perPrincipal: config.statementsPerPrincipalMax,
        total: config.statementsMax,
        keptMs: config.statementKeptSeconds * 1_000,
        runMs: config.statementTimeMs,
        bytes: config.statementsBytes,
        bytesPerPrincipal: config.statementsBytesPerPrincipal,
      },
      space: spoolSpace,
      drainMs,
      failed: (error) => log.warn({ err: error }, 'an asynchronous statement failed'),
    });
    measurePools(metrics, sessions, runner);
    measureSubscriptions(metrics, changes.subscriptions);
    const readings = createReadings({ sessions, clock, guard, readingMs: config.statementTimeoutMs });
    const answers = { spoolBytes: config.spoolBytes, spoolFolder: config.spoolDir, spoolSpace };
    const cancelKeys = createCancelKeys();
    const lifetimes = createLifetimes({ drainMs, now: () => Date.now() });
    measureSockets(metrics, lifetimes);
    const held = createHeldSessions({
      sessions,
      grammar,
      guard,
      yardstick,
      subscriptions: changes.subscriptions,
      catalog: types,
      resultBytes: config.resultBytesMax,
    });
    scope.use(hearRevocations(bus, log, { sessions, sockets: lifetimes, underWay: [desk, runner, readings, neon, changes] }));
    scope.use(hearCancels(bus, log, cancelKeys));

    const verify = createAssertionVerifier({ audience: 'sql', loadKeys: async () => (await auth.publishKeys({})).keys });
    const catalog = createCatalogBook({ readings, answers });
    const read = readMetricPages(config.metricsFile);
    // It was read and found good when the settings were.
    const metricPages = read.kind === 'pages' ? read.pages : shippedMetrics;
    const censuses = {
      requests: runner.census,
      readings: readings.underWay,
      neon: neon.census,
      sockets: () => lifetimes.census(),
      statements: () => desk.census(),
      subscriptions: () => changes.subscriptions.census(),
    };
    const coordinator = createCoordinatorBook({ replicaId, clock, readings, sessions, censuses, answers });
    const database = new pg.Client(own).database ?? '';
    const app = createApp({
      runner,
      desk,
      streamMs: config.streamTimeMs,
      catalog,
      coordinator,
      documents: readDocuments(),
      metricsBook: createMetricsBook({ clock, readings, pages: metricPages, log, metrics }),
      neon: { neon, database },
      changes,
      sqlSockets: { sessions: held, cancelKeys, lifetimes },
      tunnel: { sessions: createWireSessions(sessions), cancelKeys, lifetimes, guard, database },
      verify,
      log,
      metrics,
    });
    const door = scope.use(
      await openDoor(app.request, {
        host: config.httpHost,
        port: config.httpPort,
        prepare: (server) => void server.on('upgrade', app.upgrade),
      }),
    );
    scope.use(desk);
    // After the door, which cuts the sockets off that are left when it shuts.
    scope.use(lifetimes);
    // Its answers end before the door waits for answers to end.
    scope.use(changes);
    scope.defer(() => desk.startDraining());
    scope.use(serve(bus, sqlService, {}, { log, metrics, replicaId }));
    const isReady = createReadiness({ database: () => pool.query('select 1') });
    scope.use(await serveOps({ host: config.opsHost, port: config.opsPort, metrics, isReady }));
    scope.use(await announce(bus, 'sql', { replicaId, url: config.advertiseUrl ?? door.origin, isReady }));
  },
  { refine },
);
