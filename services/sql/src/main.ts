import { authService, credentialRevoked } from '@postern/contracts/auth';
import { sqlService } from '@postern/contracts/sql';
import { announce } from '@postern/rpc/announce';
import { createClient } from '@postern/rpc/client';
import { connectBus, onReconnect } from '@postern/rpc/connect';
import { listen } from '@postern/rpc/events';
import { serve } from '@postern/rpc/serve';
import { createAssertionVerifier } from '@postern/service-kit/assertion';
import { openDoor } from '@postern/service-kit/door';
import { createReadiness, serveOps } from '@postern/service-kit/ops';
import { runService } from '@postern/service-kit/run';
import pg from 'pg';

import { createApp } from './app.ts';
import { createLogins } from './clients/auth.ts';
import { refine, settings } from './config.ts';
import { createCatalog } from './stores/catalog.pg.ts';
import { openGrammar } from './stores/grammar.libpg.ts';
import { measurePools } from './stores/pool-metrics.ts';
import { createQueryRunner } from './stores/query-runner.pg.ts';
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
    const runner = createQueryRunner({
      sessions,
      grammar,
      catalog: createCatalog(pool, clock.now),
      limits: {
        requestMs: config.requestTimeoutMs,
        resultBytes: config.resultBytesMax,
        spoolBytes: config.spoolBytes,
        spoolFolder: config.spoolDir,
        spoolSpace: createSpoolSpace(config.spoolTotalBytes),
      },
    });
    measurePools(metrics, sessions, runner);
    scope.use(
      listen(bus, credentialRevoked, log, ({ principalId, tokenId }) => {
        if (tokenId === undefined) sessions.revoke(principalId);
        runner.revoke(principalId, tokenId);
      }),
    );
    void onReconnect(bus, () => {
      sessions.revokeAll();
      runner.revokeAll();
    });

    const verify = createAssertionVerifier({ audience: 'sql', loadKeys: async () => (await auth.publishKeys({})).keys });
    const app = createApp({ runner, verify, log, metrics });
    const door = scope.use(
      await openDoor(app.request, {
        host: config.httpHost,
        port: config.httpPort,
        prepare: (server) => void server.on('upgrade', app.upgrade),
      }),
    );
    scope.use(serve(bus, sqlService, {}, { log, metrics, replicaId }));
    const isReady = createReadiness({ database: () => pool.query('select 1') });
    scope.use(await serveOps({ host: config.opsHost, port: config.opsPort, metrics, isReady }));
    scope.use(await announce(bus, 'sql', { replicaId, url: config.advertiseUrl ?? door.origin, isReady }));
  },
  { refine },
);
