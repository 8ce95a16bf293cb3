import { authService } from '@postern/contracts/auth';
import { cancelRequested } from '@postern/contracts/edge';
import { ANNOUNCE_INTERVAL_MS } from '@postern/contracts/mesh';
import { sessionService } from '@postern/contracts/session';
import { announce } from '@postern/rpc/announce';
import { createClient } from '@postern/rpc/client';
import { connectBus, isConnected } from '@postern/rpc/connect';
import { emitAndWait } from '@postern/rpc/events';
import { serveOps } from '@postern/service-kit/ops';
import { ConfigMistake, runService } from '@postern/service-kit/run';
import { Agent } from 'node:http';

import { createApp } from './app.ts';
import { createCredentials, createLogins, createMint, createSessionLives } from './clients/identity.ts';
import { createIssuers } from './clients/issuer.ts';
import { renewOnChange } from './clients/key-pair.ts';
import { hearMesh } from './clients/mesh.ts';
import { writePorts } from './clients/ports-file.ts';
import { createTunnels } from './clients/tunnels.ts';
import { createUpstream } from './clients/upstream.ts';
import { keyPairOf, readListeners, readVersion, refine, settings } from './config.ts';
import { openListeners } from './http/listeners.ts';

/** Longest wait for the replica that has a session to cancel what runs in it. */
const CANCEL_MS = 1_000;

await runService(
  'edge',
  settings,
  async ({ config, scope, log, metrics, replicaId }) => {
    const document = readListeners(config.listenersFile);
    if (document.kind === 'mistakes') throw new ConfigMistake('the listener document has changed since it was checked');
    for (const warning of document.warnings) log.warn({ warning }, 'listener document');

    const bus = scope.adopt(await connectBus('edge', { url: config.natsUrl, credsFile: config.natsCredsFile }), (open) =>
      open.drain(),
    );
    const auth = createClient(bus, authService, { metrics });
    const session = createClient(bus, sessionService, { metrics });
    const { upstreamConnectionsMax: socketsMax } = config;
    const app = createApp({
      credentials: createCredentials(auth, session),
      logins: createLogins(session),
      sessionLives: createSessionLives(session),
      mint: createMint(auth),
      upstream: scope.use(createUpstream({ socketsMax, waitingMax: 1_024, connectMs: 1_000, idleMs: 30_000 })),
      tunnels: scope.use(createTunnels({ connectMs: 1_000, answerMs: 30_000 })),
      socketLimits: { authMs: 10_000, perListener: config.socketsWaitingMax, perClient: config.socketsWaitingPerClientMax },
      cancel: async (key) => emitAndWait(bus, cancelRequested, key, CANCEL_MS),
      agent: scope.adopt(new Agent({ keepAlive: true, maxSockets: socketsMax, timeout: 30_000 }), (open) => open.destroy()),
      verifierFor: createIssuers(config, log),
      corsOrigins: config.corsOrigins,
      isBusUp: () => isConnected(bus),
      metrics,
      log,
      clock: { nowMs: () => Date.now() },
      stallMs: 60_000,
      build: { version: readVersion(), sha: config.buildSha, time: config.buildTime },
    });
    const isReady = async (): Promise<boolean> => app.isReady();
    scope.use(hearMesh(bus, log, app));
    scope.use(await serveOps({ host: config.opsHost, port: config.opsPort, metrics, isReady }));
    scope.use(await announce(bus, 'edge', { replicaId, isReady }));

    // Every replica says each second that it is there: doors that open before that is heard would answer 503.
    await app.whenReady(AbortSignal.timeout(1.5 * ANNOUNCE_INTERVAL_MS));
    const { connectionsMax, headMs, requestMs, drainNoticeMs } = config;
    // The process ends at its own deadline; the last words of sockets are said before.
    const socketDrainMs = Math.max(0, config.drainTimeoutMs - drainNoticeMs - 2_000);
    const limits = { connectionsMax, headMs, requestMs, drainNoticeMs, socketDrainMs };
    const open = scope.use(await openListeners(app, document.listeners, { keyPair: keyPairOf(config), log, ...limits }));
    scope.use(renewOnChange(config, log, () => keyPairOf(config), open.renew));
    log.info({ listeners: open.origins }, 'listening');
    if (config.portsFile !== undefined) await writePorts(config.portsFile, open.origins);
  },
  { refine },
);
