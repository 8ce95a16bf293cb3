import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import pg from 'pg';
import type { StartedTestContainer } from 'testcontainers';
import { GenericContainer, getContainerRuntimeClient, ImageName } from 'testcontainers';

import { eventually } from '../eventually.ts';
import type { ServerSource, SharedServersOptions, StartedServer } from './shared-servers.ts';
import { makeTestBus } from './test-bus.ts';

const images = {
  postgres: process.env['POSTGRES_IMAGE'] || 'postgres:17',
  redis: process.env['REDIS_IMAGE'] || 'redis:8',
  nats: process.env['NATS_IMAGE'] || 'nats:2.10-alpine',
};

const SETTINGS = [
  'fsync=off',
  'synchronous_commit=off',
  'max_connections=400',
  'wal_level=logical',
  'max_wal_senders=32',
  'max_replication_slots=32',
];

const CONFIG_PATH = '/etc/nats/postern.conf';

/** The servers as containers, from the images that the environment names. */
export function containerServers({ folder, workers }: SharedServersOptions): ServerSource {
  return {
    async prepare() {
      const { image } = await getContainerRuntimeClient();
      await Promise.allSettled(Object.values(images).map((name) => image.pull(ImageName.fromString(name))));
    },
    async postgres() {
      const password = randomBytes(16).toString('base64url');
      const container = await new GenericContainer(images.postgres)
        .withEnvironment({ POSTGRES_PASSWORD: password })
        .withCommand(SETTINGS.flatMap((setting) => ['-c', setting]))
        .withExposedPorts(5_432)
        .start();
      const url = `postgres://postgres:${password}@${container.getHost()}:${container.getMappedPort(5_432)}/postgres`;
      return ready(container, { url }, () => answersQuery(url));
    },
    async redis() {
      const container = await new GenericContainer(images.redis)
        .withCommand(['redis-server', '--databases', '256', '--save', '', '--appendonly', 'no'])
        .withExposedPorts(6_379)
        .start();
      return ready(container, { url: `redis://${container.getHost()}:${container.getMappedPort(6_379)}` });
    },
    async nats() {
      const bus = await makeTestBus(join(folder, 'nats'), workers, { host: '0.0.0.0' });
      const container = await new GenericContainer(images.nats)
        .withCopyContentToContainer([{ content: bus.config, target: CONFIG_PATH, mode: 0o644 }])
        .withCommand(['-c', CONFIG_PATH])
        .withExposedPorts(4_222)
        .start();
      const url = `nats://${container.getHost()}:${container.getMappedPort(4_222)}`;
      return ready(
        container,
        bus.credsDirs.map((credsDir) => ({ url, credsDir })),
      );
    },
  };
}

async function ready<Address>(
  container: StartedTestContainer,
  address: Address,
  check?: () => Promise<unknown>,
): Promise<StartedServer<Address>> {
  const stop = async (): Promise<void> => void (await container.stop({ timeout: 0, remove: true, removeVolumes: true }));
  try {
    if (check !== undefined) await eventually(check, { timeoutMs: 60_000 });
  } catch (error) {
    await stop();
    throw error;
  }
  return { address, [Symbol.asyncDispose]: stop };
}

/** The port is published before the server in the container listens on it. */
async function answersQuery(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('select 1');
  } finally {
    await client.end().catch(() => {});
  }
}
