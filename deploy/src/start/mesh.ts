/** The whole mesh on this machine: servers, set-up, services; and its end, in reverse. */
import { ServiceName } from '@postern/contracts/mesh';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { toolchainFolder } from '../servers/debian-package.ts';
import { freePort } from '../servers/free-port.ts';
import type { PostgresLogins } from '../setup/postgres.ts';
import {
  APP_DATABASE,
  CONTROL_DATABASE,
  databaseUrl,
  removeFromPostgres,
  setUpPostgres,
  takeInventory,
} from '../setup/postgres.ts';
import type { Secrets } from '../setup/secrets.ts';
import { keepSecrets } from '../setup/secrets.ts';
import type { DataFolder } from './data-folder.ts';
import type { EdgeFiles } from './edges.ts';
import { prepareEdges, settleEdge } from './edges.ts';
import type { StartOptions } from './options.ts';
import { identityOf } from './process-identity.ts';
import type { Replica } from './replica.ts';
import { startReplica } from './replica.ts';
import type { Report } from './report.ts';
import type { GivenServers, Servers } from './servers.ts';
import { openServers } from './servers.ts';
import { serviceEnvironment, writeServiceUrls } from './service-environment.ts';
import { EXIT_CONFIG, StartMistake } from './start-mistake.ts';

export interface MeshOptions {
  readonly options: StartOptions;
  readonly given: GivenServers;
  readonly folder: DataFolder;
  readonly env: NodeJS.ProcessEnv;
  readonly say: (message: string) => void;
  /** Rejects when the start is to be given up. */
  readonly stopped: Promise<never>;
  /** Takes what ends the services at once. */
  readonly onHurry: (hurry: () => void) => void;
  /** The mesh cannot go on. */
  readonly onHopeless: (mistake: StartMistake) => void;
}

export interface Mesh extends AsyncDisposable {
  readonly report: Report;
}

const READY_MS = 120_000;
const DRAIN_MS = 10_000;

/** Resolves when every replica can work; if that fails, nothing of it is left. */
export async function openMesh(mesh: MeshOptions): Promise<Mesh> {
  const { options, given, folder, env, say } = mesh;
  await using scope = new AsyncDisposableStack();
  const runFolder = join(folder.path, 'run');
  const secretsFolder = join(folder.path, 'secrets');
  await mkdir(join(folder.path, 'logs'), { recursive: true, mode: 0o700 });
  const edges = await prepareEdges({
    ...options,
    runFolder,
    replicas: options.services.includes('edge') ? options.replicas.edge : 0,
  });
  const secrets = await keepSecrets(secretsFolder);
  const serversOptions = { folder: folder.path, secretsFolder, secrets, ephemeral: options.ephemeral, given, say };
  const servers = scope.use(await openServers(serversOptions));
  if (given.postgresUrl !== undefined) await checkReach(given.postgresUrl);
  if (options.ephemeral && given.postgresUrl !== undefined) scope.use(await borrowCluster(given.postgresUrl));
  await setUpPostgres(servers.postgresUrl, loginsOf(secrets));
  await writeServiceUrls(secretsFolder, secrets, servers);

  const replicas: Replica[] = [];
  scope.defer(() => stopInOrder(replicas));
  const hopeless = Promise.withResolvers<never>();
  hopeless.promise.catch(() => {});
  const remember = (): void => {
    const running = replicas.map(({ name, pid, isReady }) => ({ name, pid: pid(), ready: isReady() }));
    folder.remember(running.flatMap(({ name, pid, ready }) => (pid === undefined ? [] : { name, ready, ...identityOf(pid) })));
  };
  for (const plan of planReplicas(options, edges)) {
    const replica = startReplica({
      name: plan.name,
      ...(await commandOf(plan, mesh, servers)),
      stopMs: (Number(env['DRAIN_TIMEOUT_MS']) || DRAIN_MS) + 3_000,
      say,
      onChange: remember,
      onHopeless: (mistake) => {
        hopeless.reject(mistake);
        mesh.onHopeless(mistake);
      },
    });
    replicas.push(replica);
    remember();
  }
  mesh.onHurry(() => replicas.forEach((replica) => replica.kill()));
  await Promise.race([allReady(replicas), hopeless.promise, mesh.stopped]);
  const listeners = Object.assign({}, ...(await Promise.all(edges.map(settleEdge)))) as Record<string, string>;
  const report: Report = {
    listeners,
    admin: { user: env['AUTH_FIRST_ADMIN_NAME'] || 'admin', password: secrets.firstAdmin.password },
    apiKey: secrets.firstAdmin.apiKey,
    databaseUrl: databaseUrl(servers.postgresUrl, {
      user: 'app_owner',
      password: secrets.postgres.appOwner,
      database: APP_DATABASE,
    }),
    natsUrl: servers.natsUrl,
    redisUrl: servers.adminRedisUrl,
    pids: pidsOf(options.services, replicas),
  };
  const open = scope.move();
  return { report, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

interface ReplicaPlan {
  readonly service: ServiceName;
  readonly name: string;
  readonly edge: EdgeFiles | undefined;
  /** Whether it can become ready without a service that is left out. */
  readonly complete: boolean;
}

function planReplicas({ services, replicas }: StartOptions, edges: readonly EdgeFiles[]): readonly ReplicaPlan[] {
  return services.flatMap((service) =>
    Array.from({ length: replicas[service] }, (_, index) => ({
      service,
      name: index === 0 ? service : `${service}-${index + 1}`,
      edge: service === 'edge' ? edges[index] : undefined,
      complete: service !== 'edge' || services.length === ServiceName.options.length,
    })),
  );
}

async function commandOf({ service, name, edge, complete }: ReplicaPlan, { folder, env }: MeshOptions, servers: Servers) {
  const opsPort = await freePort();
  return {
    folder: fileURLToPath(new URL(`../../../services/${service}`, import.meta.url)),
    args: [
      ...(env['POSTERN_WATCH'] === '1' ? ['--watch', '--watch-preserve-output'] : []),
      '--import',
      '@postern/service-kit/telemetry',
      '--import',
      new URL('tether.ts', import.meta.url).href,
      'src/main.ts',
    ],
    env: {
      ...serviceEnvironment(service, { secretsFolder: join(folder.path, 'secrets'), addresses: servers, given: env }),
      OPS_PORT: String(opsPort),
      // What was compiled once need not be again; all of it is code.
      NODE_COMPILE_CACHE: join(toolchainFolder(), 'compiled'),
      ...(service === 'sql' && { SQL_SPOOL_DIR: env['SQL_SPOOL_DIR'] || (await spoolFolder(folder.path)) }),
      ...(edge !== undefined && { EDGE_LISTENERS_FILE: edge.listenersFile, EDGE_PORTS_FILE: edge.portsFile }),
    },
    logFile: join(folder.path, 'logs', `${name}.log`),
    readyUrl: `http://127.0.0.1:${opsPort}/${complete ? 'readyz' : 'livez'}`,
  };
}

async function spoolFolder(path: string): Promise<string> {
  const spool = join(path, 'spool');
  await mkdir(spool, { recursive: true, mode: 0o700 });
  return spool;
}

async function allReady(replicas: readonly Replica[]): Promise<void> {
  const waiting = new Set(replicas);
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const names = [...waiting].map((replica) => replica.name).join(', ');
    late.reject(new StartMistake(`not ready after ${READY_MS / 1_000} s: ${names}`, 1));
  }, READY_MS);
  try {
    await Promise.race([Promise.all(replicas.map((replica) => replica.ready.then(() => waiting.delete(replica)))), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** The public door shuts first and finishes what it has let in; then the services behind it. */
async function stopInOrder(replicas: readonly Replica[]): Promise<void> {
  const isEdge = (replica: Replica): boolean => /^edge(-\d+)?$/.test(replica.name);
  await Promise.all(replicas.filter(isEdge).map((replica) => replica.stop()));
  await Promise.all(replicas.filter((replica) => !isEdge(replica)).map((replica) => replica.stop()));
}

async function checkReach(postgresUrl: string): Promise<void> {
  try {
    await takeInventory(postgresUrl);
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    throw new StartMistake(`POSTGRES_URL: the server cannot be asked: ${message || code || 'unknown'}`, 1);
  }
}

/** A cluster that is not ours, for a while: what the mesh makes in it goes again. */
async function borrowCluster(postgresUrl: string): Promise<AsyncDisposable> {
  const before = await takeInventory(postgresUrl);
  if (before.databases.includes(CONTROL_DATABASE)) {
    throw new StartMistake('--ephemeral: the cluster of POSTGRES_URL already holds a mesh, which would be removed', EXIT_CONFIG);
  }
  return { [Symbol.asyncDispose]: () => removeFromPostgres(postgresUrl, before) };
}

const loginsOf = ({ postgres }: Secrets): PostgresLogins => ({
  app_owner: postgres.appOwner,
  postern_auth: postgres.auth,
  postern_sql: postgres.sql,
  postern_changes: postgres.changes,
});

function pidsOf(services: readonly ServiceName[], replicas: readonly Replica[]): Report['pids'] {
  const own = (service: ServiceName): number[] =>
    replicas.filter(({ name }) => name.replace(/-\d+$/, '') === service).flatMap((replica) => replica.pid() ?? []);
  return Object.fromEntries(services.map((service) => [service, own(service)]));
}
