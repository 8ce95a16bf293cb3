/** Postgres, NATS and Redis for a mesh: those that are named, and embedded ones for the rest. */
import { ServiceName } from '@postern/contracts/mesh';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { startNats } from '../servers/nats.ts';
import { startPostgres } from '../servers/postgres.ts';
import { startRedis } from '../servers/redis.ts';
import { setUpNats } from '../setup/nats.ts';
import { REDIS_ADMIN, redisUrl, writeRedisAcl } from '../setup/redis.ts';
import type { Secrets } from '../setup/secrets.ts';
import { keepServer } from './kept-server.ts';
import { readFreePorts, writePorts } from './ports.ts';
import type { MeshAddresses } from './service-environment.ts';
import { ownRedisUrl } from './service-environment.ts';

export interface GivenServers {
  readonly postgresUrl: string | undefined;
  readonly redisUrl: string | undefined;
  readonly natsUrl: string | undefined;
  readonly natsCredsFolder: string | undefined;
}

export interface Servers extends MeshAddresses, AsyncDisposable {
  /** For a person who looks into it. */
  readonly adminRedisUrl: string;
}

interface ServersOptions {
  readonly folder: string;
  readonly secretsFolder: string;
  readonly secrets: Secrets;
  readonly ephemeral: boolean;
  readonly given: GivenServers;
  readonly say: (message: string) => void;
}

/** Variables that name servers, and what is wrong with them. */
export function readGivenServers(env: NodeJS.ProcessEnv): { readonly given: GivenServers; readonly mistakes: readonly string[] } {
  const given = {
    postgresUrl: env['POSTGRES_URL'] || undefined,
    redisUrl: env['REDIS_URL'] || undefined,
    natsUrl: env['NATS_URL'] || undefined,
    natsCredsFolder: env['NATS_CREDS_DIR'] || undefined,
  };
  const mistakes: string[] = [];
  const check = (name: string, value: string | undefined, protocols: RegExp): void => {
    const url = value === undefined ? undefined : URL.parse(value);
    if (url === null || (url !== undefined && !protocols.test(url.protocol)))
      mistakes.push(`${name}: is not such a server's URL`);
  };
  check('POSTGRES_URL', given.postgresUrl, /^postgres(ql)?:$/);
  check('REDIS_URL', given.redisUrl, /^rediss?:$/);
  check('NATS_URL', given.natsUrl, /^(nats|tls):$/);
  if ((given.natsUrl === undefined) !== (given.natsCredsFolder === undefined)) {
    mistakes.push('NATS_URL and NATS_CREDS_DIR: set both or neither');
  }
  for (const service of given.natsCredsFolder === undefined ? [] : ServiceName.options) {
    const file = join(given.natsCredsFolder ?? '', `${service}.creds`);
    if (!existsSync(file)) mistakes.push(`NATS_CREDS_DIR: there is no ${file}`);
  }
  return { given, mistakes };
}

/** Starts what is not given, all at once; if one fails, the others are stopped again. */
export async function openServers(options: ServersOptions): Promise<Servers> {
  const portsFile = join(options.folder, 'run', 'ports.json');
  const ports = options.ephemeral ? {} : await readFreePorts(portsFile);
  const outcomes = await Promise.allSettled([
    openPostgres(options, ports['postgres']),
    openRedis(options, ports['redis']),
    openNats(options, ports['nats']),
  ]);
  const stop = async (): Promise<void> => {
    const running = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? (outcome.value.server ?? []) : []));
    await Promise.all(running.map((server) => server.stop()));
  };
  const [postgres, redis, nats] = outcomes;
  if (postgres.status === 'rejected' || redis.status === 'rejected' || nats.status === 'rejected') {
    await stop();
    throw outcomes.find((outcome) => outcome.status === 'rejected')?.reason;
  }
  const taken = { postgres: postgres.value.server?.port, redis: redis.value.server?.port, nats: nats.value.server?.port };
  await writePorts(portsFile, taken);
  return {
    postgresUrl: postgres.value.url,
    sessionRedisUrl: redis.value.sessionUrl,
    adminRedisUrl: redis.value.adminUrl,
    natsUrl: nats.value.url,
    credsFile: nats.value.credsFile,
    [Symbol.asyncDispose]: stop,
  };
}

async function openPostgres({ folder, secrets, ephemeral, given, say }: ServersOptions, port: number | undefined) {
  if (given.postgresUrl !== undefined) return { url: given.postgresUrl, server: undefined };
  const dataDir = join(folder, 'postgres');
  const password = secrets.postgres.superuser;
  const server = await keepServer(
    'postgres',
    (again) => startPostgres({ dataDir, password, ephemeral, port: again ?? port }),
    say,
  );
  return { url: server.url, server };
}

async function openRedis({ folder, secretsFolder, secrets, ephemeral, given, say }: ServersOptions, port: number | undefined) {
  if (given.redisUrl !== undefined) return { sessionUrl: given.redisUrl, adminUrl: given.redisUrl, server: undefined };
  const aclFile = await writeRedisAcl(secretsFolder, secrets.redis);
  const dataDir = join(folder, 'redis');
  const server = await keepServer('redis', (again) => startRedis({ dataDir, aclFile, ephemeral, port: again ?? port }), say);
  const url = `redis://127.0.0.1:${server.port}`;
  return { sessionUrl: ownRedisUrl(url, secrets), adminUrl: redisUrl(url, REDIS_ADMIN, secrets.redis.admin), server };
}

async function openNats({ folder, secretsFolder, given, say }: ServersOptions, port: number | undefined) {
  const { natsUrl, natsCredsFolder } = given;
  if (natsUrl !== undefined && natsCredsFolder !== undefined) {
    return { url: natsUrl, credsFile: (service: ServiceName) => join(natsCredsFolder, `${service}.creds`), server: undefined };
  }
  const { configFile, credsFiles } = await setUpNats(secretsFolder);
  const stateDir = join(folder, 'nats');
  const server = await keepServer('nats', (again) => startNats({ configFile, stateDir, port: again ?? port }), say);
  return { url: server.url, credsFile: (service: ServiceName) => credsFiles[service], server };
}
