import { authService } from '@postern/contracts/auth';
import { sqlService } from '@postern/contracts/sql';
import { announce } from '@postern/rpc/announce';
import { createClient } from '@postern/rpc/client';
import { connectBus } from '@postern/rpc/connect';
import { serve } from '@postern/rpc/serve';
import { createAssertionVerifier } from '@postern/service-kit/assertion';
import { createReadiness, serveOps } from '@postern/service-kit/ops';
import { runService } from '@postern/service-kit/run';
import pg from 'pg';

import { openApp } from './app.ts';
import { createLogins } from './clients/auth.ts';
import { hearCancels } from './clients/edge.ts';
import { refine, settings } from './config.ts';
import { createCancelKeys } from './domain/cancel-keys.ts';
import { createLifetimes } from './http/sockets/lifetime.ts';
import { hearRevocations } from './nats/revocations.ts';
import { readDocuments } from './stores/documents.fs.ts';
import { readMetricPages } from './stores/metrics-file.fs.ts';
import { shippedMetrics } from './domain/shipped-metrics.ts';
import { noChangeLog, openChangeLog } from './stores/changes-log.pg.ts';
import { openGrammar } from './stores/grammar.libpg.ts';
import { openGuard } from './stores/limits-file.fs.ts';
import { createExecutors } from './stores/executors.pg.ts';
import { createSessions } from './stores/sessions.pg.ts';
import { createSpoolSpace } from './stores/spool.fs.ts';

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
    const logUrl = config.changesDatabaseUrl;
    const changeLog = scope.use(logUrl === undefined ? noChangeLog : openChangeLog({ databaseUrl: logUrl, log }));
    const drainMs = Math.max(config.drainTimeoutMs - 2_000, 0);
    const lifetimes = createLifetimes({ drainMs, now: () => Date.now() });
    const cancelKeys = createCancelKeys();
    const read = readMetricPages(config.metricsFile);
    const executors = createExecutors({
      replicaId,
      pool,
      sessions,
      grammar,
      guard,
      changeLog,
      clock,
      limits: {
        requestMs: config.requestTimeoutMs,
        resultBytes: config.resultBytesMax,
        answerBytes: config.neonAnswerBytesMax,
        spoolBytes: config.spoolBytes,
        spoolFolder: config.spoolDir,
        spoolSpace: createSpoolSpace(config.spoolTotalBytes),
      },
      subscriptionLimits: {
        backlogBytes: config.changesBacklogBytes,
        totalBytes: config.changesTotalBytes,
        resumeMs: config.changesResumeSeconds * 1_000,
        pollMs: config.changesPollMs,
      },
      desk: {
        limits: {
          perPrincipal: config.statementsPerPrincipalMax,
          total: config.statementsMax,
          keptMs: config.statementKeptSeconds * 1_000,
          runMs: config.statementTimeMs,
          bytes: config.statementsBytes,
          bytesPerPrincipal: config.statementsBytesPerPrincipal,
        },
        drainMs,
      },
      readingMs: config.statementTimeoutMs,
      // It was read and found good when the settings were.
      metricPages: read.kind === 'pages' ? read.pages : shippedMetrics,
      sockets: lifetimes,
      log,
      metrics,
    });
    scope.use(hearRevocations(bus, log, { sessions, sockets: lifetimes, underWay: executors.underWay }));
    scope.use(hearCancels(bus, log, cancelKeys));
    const door = scope.use(
      await openApp(
        {
          ...executors,
          streamMs: config.streamTimeMs,
          documents: readDocuments(),
          lifetimes,
          cancelKeys,
          guard,
          database: new pg.Client(own).database ?? '',
          verify: createAssertionVerifier({ audience: 'sql', loadKeys: async () => (await auth.publishKeys({})).keys }),
          log,
          metrics,
        },
        { host: config.httpHost, port: config.httpPort },
      ),
    );
    scope.use(serve(bus, sqlService, {}, { log, metrics, replicaId }));
    const isReady = createReadiness({ database: () => pool.query('select 1') });
    scope.use(await serveOps({ host: config.opsHost, port: config.opsPort, metrics, isReady }));
    scope.use(await announce(bus, 'sql', { replicaId, url: config.advertiseUrl ?? door.origin, isReady }));
  },
  { refine },
);
