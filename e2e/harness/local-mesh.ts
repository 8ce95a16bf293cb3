/** A mesh that `npm start` runs on this machine: parts are frozen and thawed, which is the nastiest way to be away. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

import type { MeshDescription } from './description.ts';
import type { Mesh, Replica, ServerName, ServiceName } from './mesh.ts';
import { residentBytesOf, treeOf } from './processes.ts';

const Processes = z.array(z.object({ name: z.string(), pid: z.number(), ready: z.boolean() }));
const PidFile = z.object({ pid: z.number() });

const PID_FILES: Readonly<Record<ServerName, string>> = {
  postgres: 'postgres.pid',
  redis: 'redis/redis-server.pid',
  nats: 'nats/nats-server.pid',
};

export function createLocalMesh(description: Extract<MeshDescription, { kind: 'local' }>): Mesh {
  const { edges, admin, apiKey, databaseUrl, folder } = description;
  const [first = '', ...others] = edges;
  const replicas = async (service: ServiceName): Promise<readonly Replica[]> => {
    const running = Processes.parse(JSON.parse(await readFile(join(folder, 'run', 'processes.json'), 'utf8')));
    return running
      .filter(({ name }) => name.replace(/-\d+$/, '') === service)
      .map(({ name, pid, ready }) => ({ name, process: String(pid), ready }));
  };
  const pidsOf = async (part: ServerName | ServiceName): Promise<readonly number[]> => {
    if (part in PID_FILES) return treeOf(await serverPid(folder, part as ServerName));
    return (await replicas(part as ServiceName)).map(({ process: pid }) => Number(pid));
  };
  return {
    edges: [first, ...others],
    admin,
    apiKey,
    databaseUrl,
    replicas,
    async takeAway(part) {
      const frozen = await pidsOf(part);
      for (const pid of frozen) process.kill(pid, 'SIGSTOP');
      return {
        async [Symbol.asyncDispose]() {
          for (const pid of frozen) process.kill(pid, 'SIGCONT');
        },
      };
    },
    async terminate({ process: pid }) {
      process.kill(Number(pid), 'SIGTERM');
    },
    async kill({ process: pid }) {
      process.kill(Number(pid), 'SIGKILL');
    },
    residentBytes: async (service) => (await pidsOf(service)).reduce((sum, pid) => sum + residentBytesOf(pid), 0),
    async logs() {
      const names = await readdir(folder, { recursive: true });
      const texts = await Promise.all(
        names.filter((name) => name.endsWith('.log')).map((name) => readFile(join(folder, name), 'utf8')),
      );
      return texts.join('\n');
    },
    secrets: () => readSecrets(join(folder, 'secrets')),
  };
}

/** The same place and database, as the superuser that the first start made. */
export async function superuserUrl(ownerUrl: string, folder: string): Promise<string> {
  const url = new URL(ownerUrl);
  url.username = 'postgres';
  url.password = (await readFile(join(folder, 'secrets', 'postgres', 'superuser-password'), 'utf8')).trim();
  return url.href;
}

export async function serverPid(folder: string, server: ServerName): Promise<number> {
  return PidFile.parse(JSON.parse(await readFile(join(folder, PID_FILES[server]), 'utf8'))).pid;
}

/** Whole files, and of those that hold more than one secret each line that looks like one. */
async function readSecrets(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && !entry.name.endsWith('.conf') && entry.name !== 'users.acl');
  const texts = await Promise.all(files.map((entry) => readFile(join(entry.parentPath, entry.name), 'utf8')));
  return texts.flatMap(secretsIn);
}

/** A secret by itself, the password of a URL, the seeds of the bus. */
export function secretsIn(text: string): string[] {
  const trimmed = text.trim();
  const seeds = trimmed.match(/\bS[A-Z][A-Z2-7]{56}\b/g) ?? [];
  if (seeds.length > 0) return [...seeds];
  const url = URL.parse(trimmed);
  return [url === null ? trimmed : decodeURIComponent(url.password)];
}
