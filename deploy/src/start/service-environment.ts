/** What each service is told, and no other: its own secrets as files, its own settings, the bus. */
import type { ServiceName } from '@postern/contracts/mesh';
import { join } from 'node:path';

import { APP_DATABASE, CONTROL_DATABASE, databaseUrl } from '../setup/postgres.ts';
import { REDIS_SESSION, redisUrl } from '../setup/redis.ts';
import { writeSecret } from '../setup/secret-files.ts';
import type { Secrets } from '../setup/secrets.ts';

export interface MeshAddresses {
  /** A superuser's URL; only its host, port and parameters reach a service. */
  readonly postgresUrl: string;
  /** As session is to use it. */
  readonly sessionRedisUrl: string;
  readonly natsUrl: string;
  readonly credsFile: (service: ServiceName) => string;
}

/** Writes the URLs that hold secrets to files that only their service is told of. */
export async function writeServiceUrls(folder: string, secrets: Secrets, addresses: MeshAddresses): Promise<void> {
  const { postgresUrl, sessionRedisUrl } = addresses;
  const { auth, sql, changes: changesSecret } = secrets.postgres;
  const control = { user: 'postern_auth', password: auth, database: CONTROL_DATABASE };
  const app = { user: 'postern_sql', password: sql, database: APP_DATABASE };
  const changes = { user: 'postern_changes', password: changesSecret, database: APP_DATABASE };
  await Promise.all([
    writeSecret(join(folder, 'auth', 'database-url'), databaseUrl(postgresUrl, control)),
    writeSecret(join(folder, 'sql', 'database-url'), databaseUrl(postgresUrl, app)),
    writeSecret(join(folder, 'sql', 'changes-url'), databaseUrl(postgresUrl, changes)),
    writeSecret(join(folder, 'session', 'redis-url'), sessionRedisUrl),
  ]);
}

/** The session service's own login at a Redis that was set up here. */
export const ownRedisUrl = (serverUrl: string, secrets: Secrets): string =>
  redisUrl(serverUrl, REDIS_SESSION, secrets.redis.session);

/** Secrets of each service: the variable, and the file in the service's own folder. */
const SECRET_FILES: Readonly<Record<ServiceName, Readonly<Record<string, string>>>> = {
  edge: {},
  auth: {
    AUTH_DATABASE_URL: 'database-url',
    AUTH_SEALING_KEY: 'sealing-key',
    AUTH_FIRST_ADMIN_PASSWORD: 'first-admin-password',
    AUTH_FIRST_ADMIN_KEY: 'first-admin-key',
  },
  session: { SESSION_REDIS_URL: 'redis-url' },
  sql: { SQL_DATABASE_URL: 'database-url', SQL_CHANGES_DATABASE_URL: 'changes-url' },
};

/** Of the caller's variables, those that every service may see. */
const SHARED = /^(PATH|TZ|TMPDIR|LOG_LEVEL|DRAIN_TIMEOUT_MS|NODE_EXTRA_CA_CERTS|OTEL_.*)$/;

export interface EnvironmentOptions {
  readonly secretsFolder: string;
  readonly addresses: MeshAddresses;
  /** The caller's own variables. */
  readonly given: NodeJS.ProcessEnv;
}

export function serviceEnvironment(service: ServiceName, options: EnvironmentOptions): NodeJS.ProcessEnv {
  const { secretsFolder, addresses, given } = options;
  const own = new RegExp(`^${service.toUpperCase()}_`);
  const passed = Object.fromEntries(Object.entries(given).filter(([name]) => SHARED.test(name) || own.test(name)));
  const files = Object.entries(SECRET_FILES[service])
    // A setting that the caller gives wins.
    .filter(([name]) => passed[name] === undefined && passed[`${name}_FILE`] === undefined)
    .map(([name, file]) => [`${name}_FILE`, join(secretsFolder, service, file)] as const);
  return {
    ...passed,
    ...Object.fromEntries(files),
    NATS_URL: addresses.natsUrl,
    NATS_CREDS_FILE: addresses.credsFile(service),
  };
}
