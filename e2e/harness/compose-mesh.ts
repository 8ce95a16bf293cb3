/** The stack of docker-compose.yml, running already: parts are stopped and started. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import type { MeshDescription } from './description.ts';
import { secretsIn } from './local-mesh.ts';
import type { Mesh, Replica, ServiceName } from './mesh.ts';

const run = promisify(execFile);
const cwd = fileURLToPath(new URL('../..', import.meta.url));
const OUTPUT_MAX = 256 * 1_048_576;

async function docker(...args: readonly string[]): Promise<string> {
  return (await run('docker', args, { cwd, maxBuffer: OUTPUT_MAX })).stdout.trim();
}

const compose = (...args: readonly string[]): Promise<string> => docker('compose', ...args);

const SERVICES: readonly ServiceName[] = ['edge', 'auth', 'session', 'sql'];

/** Reads where the running stack is, and its first admin, as the person who started it can. */
export async function describeComposeMesh(): Promise<MeshDescription> {
  const edges = (await compose('ps', '-q', 'edge')).split('\n').filter((id) => id !== '');
  if (edges.length === 0) throw new Error('no edge is running: docker compose up --wait');
  const ports = await Promise.all(edges.map((id) => docker('port', id, '6876/tcp')));
  const secret = (name: string): Promise<string> => compose('exec', '-T', 'auth', 'cat', `/run/secrets/${name}`);
  const database = await compose('ps', '-q', 'postgres');
  const address = await docker('inspect', '-f', '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}', database);
  const password = await compose('exec', '-T', 'postgres', 'cat', '/run/secrets/superuser-password');
  return {
    kind: 'compose',
    edges: ports.map((address) => `http://${address.split('\n')[0] ?? ''}`),
    admin: { user: 'admin', password: await secret('first-admin-password') },
    apiKey: await secret('first-admin-key'),
    // Published nowhere: reached on the containers' own network, which a Linux host is part of.
    databaseUrl: `postgres://postgres:${encodeURIComponent(password)}@${address.split(' ')[0] ?? ''}:5432/app`,
  };
}

export function createComposeMesh({ edges, admin, apiKey, databaseUrl }: MeshDescription): Mesh {
  const [first = '', ...others] = edges;
  const replicas = async (service: ServiceName): Promise<readonly Replica[]> => {
    const ids = (await compose('ps', '-q', service)).split('\n').filter((id) => id !== '');
    return Promise.all(
      ids.map(async (id) => {
        const [startedAt, health] = (await docker('inspect', '-f', '{{.State.StartedAt}} {{.State.Health.Status}}', id)).split(
          ' ',
        );
        return { name: id, process: `${id} ${startedAt}`, ready: health === 'healthy' };
      }),
    );
  };
  return {
    edges: [first, ...others],
    admin,
    apiKey,
    databaseUrl,
    replicas,
    async takeAway(part) {
      await compose('stop', part);
      return {
        async [Symbol.asyncDispose]() {
          await compose('start', part);
        },
      };
    },
    async terminate({ name }) {
      await docker('exec', name, 'sh', '-c', 'kill -TERM 1');
    },
    async kill({ name }) {
      // All but the first process, which nothing inside can kill; it ends with what it waits for. The shell may be first to go.
      await docker('exec', name, 'sh', '-c', 'kill -KILL -1').catch(() => {});
    },
    async residentBytes(service) {
      const texts = await Promise.all(
        (await replicas(service)).map(({ name }) => docker('exec', name, 'sh', '-c', 'cat /proc/[0-9]*/status')),
      );
      const sizes = texts.flatMap((text) => [...text.matchAll(/^VmRSS:\s+(\d+) kB/gm)].map(([, size]) => Number(size) * 1_024));
      return sizes.reduce((sum, size) => sum + size, 0);
    },
    logs: () => compose('logs', '--no-color'),
    async secrets() {
      const files = await Promise.all(
        SERVICES.map((service) =>
          compose('exec', '-T', service, 'sh', '-c', 'for f in /run/secrets/*; do cat "$f"; printf "\\0"; done'),
        ),
      );
      return files
        .flatMap((text) => text.split('\0'))
        .filter((text) => text.trim() !== '')
        .flatMap(secretsIn);
    },
  };
}
