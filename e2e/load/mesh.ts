/** The mesh under measurement: `npm start`'s own supervisor with data of its own. */
import { connectBus } from '@postern/rpc/connect';
import { announce } from '@postern/rpc/announce';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';

const Ready = z.object({
  event: z.literal('ready'),
  listeners: z.record(z.string(), z.url()),
  apiKey: z.string(),
  databaseUrl: z.string(),
  natsUrl: z.string(),
  pids: z.record(z.string(), z.array(z.number())),
});

export interface Mesh extends AsyncDisposable {
  readonly url: string;
  readonly apiKey: string;
  readonly databaseUrl: string;
  readonly natsUrl: string;
  readonly pids: Readonly<Record<string, readonly number[]>>;
  readonly folder: string;
}

export async function startMesh(services: readonly string[]): Promise<Mesh> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-bench-'));
  const start = new URL('../../deploy/src/start.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, [start, '--json', '--data', folder, '--port', '0', '--only', services.join(',')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = new Promise<never>((_, reject) =>
    child.once('exit', (code) => reject(new Error(`the mesh ended with ${code}`))),
  );
  exited.catch(() => {});
  const line = new Promise<string>((resolve) => createInterface({ input: child.stdout }).once('line', resolve));
  const { listeners, apiKey, databaseUrl, natsUrl, pids } = Ready.parse(JSON.parse(await Promise.race([line, exited])));
  return {
    url: listeners['external'] ?? '',
    apiKey,
    databaseUrl,
    natsUrl,
    pids,
    folder,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await exited.catch(() => {});
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Announces any HTTP server as the sql service, with the sql service's own bus user. */
export async function announceCanary(mesh: Mesh, url: string): Promise<AsyncDisposable> {
  const bus = await connectBus('sql', { url: mesh.natsUrl, credsFile: join(mesh.folder, 'secrets', 'sql', 'nats.creds') });
  const announced = await announce(bus, 'sql', { replicaId: crypto.randomUUID(), url, isReady: async () => true });
  return {
    async [Symbol.asyncDispose]() {
      await announced[Symbol.asyncDispose]();
      await bus.close();
    },
  };
}
