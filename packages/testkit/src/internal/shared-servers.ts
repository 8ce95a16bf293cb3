/** The servers of one test run: each started when the first test asks for it, and stopped at the end of the run. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { containerServers } from './container-servers.ts';
import { dockerAnswers } from './docker.ts';
import { embeddedServers } from './embedded-servers.ts';

interface PostgresAddress {
  /** Of a superuser. */
  readonly url: string;
}

interface RedisAddress {
  /** Of a user who may do everything. */
  readonly url: string;
}

interface NatsAddress {
  readonly url: string;
  /** Holds `<user>.creds` of each service, and of the observer. */
  readonly credsDir: string;
}

export interface StartedServer<Address> extends AsyncDisposable {
  readonly address: Address;
}

/** One way to have the servers. Postgres and Redis answer an address; NATS one for each worker's own account. */
export interface ServerSource {
  readonly postgres: () => Promise<StartedServer<PostgresAddress>>;
  readonly redis: () => Promise<StartedServer<RedisAddress>>;
  readonly nats: () => Promise<StartedServer<readonly NatsAddress[]>>;
  /** Brings what the servers are started from, so that no test waits for a download; what fails shows at the start. */
  readonly prepare: () => Promise<unknown>;
}

type ServerKind = Exclude<keyof ServerSource, 'prepare'>;

export interface SharedServers extends AsyncDisposable {
  prepare(): Promise<void>;
  ask(server: ServerKind, worker: number): Promise<PostgresAddress | RedisAddress | NatsAddress>;
}

export interface SharedServersOptions {
  readonly folder: string;
  readonly workers: number;
}

/** Servers that the environment names, else containers where a Docker engine answers, else child processes. */
export function createSharedServers(options: SharedServersOptions): SharedServers {
  const scope = new AsyncDisposableStack();
  const embedded = embeddedServers(options);
  let source: Promise<ServerSource> | undefined;
  const choose = async (): Promise<ServerSource> =>
    (await dockerAnswers()) ? orElse(containerServers(options), embedded) : embedded;
  const start = async <K extends ServerKind>(server: K): Promise<Awaited<ReturnType<ServerSource[K]>>['address']> => {
    source ??= choose();
    const started = await (await source)[server]();
    return scope.use(started).address;
  };
  const started: { -readonly [K in ServerKind]?: ReturnType<typeof start<K>> } = {};
  return {
    async prepare() {
      source ??= choose();
      await (await source).prepare();
    },
    async ask(server, worker) {
      const named = namedServer(server);
      if (named !== undefined) return named;
      if (server === 'postgres') return (started.postgres ??= start('postgres'));
      if (server === 'redis') return (started.redis ??= start('redis'));
      const accounts = await (started.nats ??= start('nats'));
      const account = accounts[(worker - 1) % accounts.length];
      if (account === undefined) throw new Error('the bus has no account');
      return account;
    },
    async [Symbol.asyncDispose]() {
      // A start under way is waited for: otherwise its server would outlive the run.
      await Promise.allSettled(Object.values(started));
      await scope.disposeAsync();
    },
  };
}

function namedServer(server: ServerKind): PostgresAddress | RedisAddress | NatsAddress | undefined {
  const variable = `TEST_${server.toUpperCase()}_URL`;
  const url = process.env[variable] || undefined;
  if (url === undefined || server !== 'nats') return url === undefined ? undefined : { url };
  const credsDir = process.env['TEST_NATS_CREDS_DIR'] ?? '';
  if (!existsSync(join(credsDir, 'edge.creds'))) {
    throw new Error('TEST_NATS_URL needs TEST_NATS_CREDS_DIR, a folder with <service>.creds of each service');
  }
  return { url, credsDir };
}

/** An engine that answers may still have no way to an image. */
function orElse(first: ServerSource, second: ServerSource): ServerSource {
  const attempt = async <T>(name: string, wanted: () => Promise<T>, other: () => Promise<T>): Promise<T> => {
    try {
      return await wanted();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      process.stderr.write(`testkit: no container for ${name} (${reason.split('\n')[0]}); using an embedded server\n`);
      return other();
    }
  };
  return {
    postgres: () => attempt('postgres', first.postgres, second.postgres),
    redis: () => attempt('redis', first.redis, second.redis),
    nats: () => attempt('nats', first.nats, second.nats),
    // Tests that want a server for themselves start the second kind.
    prepare: () => Promise.all([first.prepare(), second.prepare()]),
  };
}
