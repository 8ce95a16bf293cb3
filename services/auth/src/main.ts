import { authService } from '@postern/contracts/auth';
import { announce } from '@postern/rpc/announce';
import { connectBus } from '@postern/rpc/connect';
import { serve } from '@postern/rpc/serve';
import { openDoor } from '@postern/service-kit/door';
import { createReadiness, serveOps } from '@postern/service-kit/ops';
import { ConfigMistake, runService } from '@postern/service-kit/run';
import { availableParallelism } from 'node:os';

import { createApp, deadlineIn } from './app.ts';
import { refine, settings } from './config.ts';
import { createGate } from './domain/gate.ts';
import { createPasswordDesk } from './domain/password-desk.ts';
import { openVault } from './domain/vault.ts';
import { createRevocations } from './nats/revocations.ts';
import { createMappedLogins, readRoleMap } from './stores/database-logins.map.ts';
import { createPgDatabaseLogins } from './stores/database-logins.pg.ts';
import { openDatabase } from './stores/database.pg.ts';
import { createPgDirectory } from './stores/directory.pg.ts';
import { createPgRootStore, createPgSigningKeyStore } from './stores/key-stores.pg.ts';
import { migrate, readMigrations } from './stores/migrations.pg.ts';
import { createArgon2Hasher } from './stores/password-hasher.argon2.ts';

const START_DEADLINE_MS = 60_000;
const READY_DEADLINE_MS = 2_000;
/** Of password checks; the rest is turned away after a wait of about a second. */
const WAITING_MAX = 64;

await runService(
  'auth',
  settings,
  async ({ config, scope, log, metrics, replicaId }) => {
    const onIdleError = (err: Error): void => log.warn({ err }, 'an idle database connection broke');
    const database = scope.use(openDatabase({ url: config.databaseUrl, connectionsMax: 10, onIdleError }));
    const rolesUrl = config.rolesDatabaseUrl ?? config.databaseUrl;
    const rolesDatabase = scope.use(openDatabase({ url: rolesUrl, connectionsMax: 4, onIdleError }));
    const bus = scope.adopt(await connectBus('auth', { url: config.natsUrl, credsFile: config.natsCredsFile }), (open) =>
      open.drain(),
    );

    const starting = deadlineIn(START_DEADLINE_MS);
    const migrated = await migrate(database, await readMigrations(), starting);
    if (migrated.kind === 'refused') throw new ConfigMistake(`AUTH_DATABASE_URL: ${migrated.reason}`);
    if (migrated.applied.length > 0) log.info({ applied: migrated.applied }, 'migrated');
    const sealingKeys = { current: config.sealingKey, previous: config.previousSealingKey };
    const opened = await openVault(createPgRootStore(database), sealingKeys, starting);
    if (opened.kind === 'mismatch') {
      throw new ConfigMistake('AUTH_SEALING_KEY: it is not the key that the secrets in this database were sealed with');
    }
    const { vault } = opened;
    const mapped = config.roleMapFile === undefined ? undefined : await readRoleMap(config.roleMapFile);
    if (mapped?.kind === 'mistakes') throw new ConfigMistake(`AUTH_ROLE_MAP_FILE: ${mapped.mistakes.join('; ')}`);

    const gate = createGate({ atOnce: Math.min(availableParallelism(), 4), waiting: WAITING_MAX });
    const app = createApp({
      directory: createPgDirectory(database),
      logins: mapped === undefined ? createPgDatabaseLogins(rolesDatabase, vault.meshId) : createMappedLogins(mapped.logins),
      signingKeyStore: createPgSigningKeyStore(database),
      rotationMs: config.keyRotationSeconds * 1_000,
      desk: await createPasswordDesk(createArgon2Hasher(), gate),
      gate,
      vault,
      clock: { now: () => Date.now() },
      revocations: createRevocations(bus, log),
      trustedRoles: config.trustedRoles,
      externalRoles: config.externalRoles,
      externalGroupRoles: config.externalGroupRoles,
      log,
      metrics,
    });
    await app.prepare({ name: config.firstAdminName, password: config.firstAdminPassword, apiKey: config.firstAdminKey });
    scope.use(app.startUpkeep());

    const door = scope.use(await openDoor(app.http, { host: config.httpHost, port: config.httpPort }));
    scope.use(serve(bus, authService, app.handlers, { log, metrics, replicaId }));
    const isReady = createReadiness({ database: () => database.query(deadlineIn(READY_DEADLINE_MS), 'SELECT 1') });
    scope.use(await serveOps({ host: config.opsHost, port: config.opsPort, metrics, isReady }));
    const url = config.advertiseUrl ?? door.origin;
    scope.use(await announce(bus, 'auth', { replicaId, url, isReady }));
  },
  { refine },
);
