/** The folder a mesh keeps its state in: one supervisor at a time, and none of an earlier one's processes. */
import { randomUUID } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';

import type { ProcessIdentity } from './process-identity.ts';
import { identityOf, isRunning } from './process-identity.ts';
import { EXIT_CONFIG, StartMistake } from './start-mistake.ts';

export interface DataFolder extends AsyncDisposable {
  readonly path: string;
  /** Remembers the services' processes by replica, for the next start to end those that outlive this one. */
  remember(processes: readonly RememberedProcess[]): void;
}

interface RememberedProcess extends ProcessIdentity {
  readonly name: string;
  readonly ready: boolean;
}

const Identity = z.object({ pid: z.number(), started: z.string() });
const PREFIX = 'postern-ephemeral-';
const END_MS = 12_000;

/** Opens a folder for this process alone, and ends what an earlier supervisor left running. */
export async function openDataFolder(path: string): Promise<DataFolder> {
  // Servers that run as another user pass through; the folders in it are closed.
  await mkdir(path, { recursive: true, mode: 0o711 });
  const run = join(path, 'run');
  await mkdir(run, { recursive: true, mode: 0o700 });
  const lockFile = join(run, 'supervisor.json');
  const processesFile = join(run, 'processes.json');
  await lock(lockFile, path);
  await endLeftOvers(processesFile);
  return {
    path,
    remember(processes) {
      const draft = `${processesFile}.draft`;
      writeFileSync(draft, JSON.stringify(processes), { mode: 0o600 });
      renameSync(draft, processesFile);
    },
    async [Symbol.asyncDispose]() {
      await rm(processesFile, { force: true });
      await rm(lockFile, { force: true });
    },
  };
}

/** A folder that is removed when disposed. Those of supervisors that were killed are removed now. */
export async function openEphemeralFolder(): Promise<DataFolder> {
  await removeAbandoned();
  const path = await mkdtemp(join(tmpdir(), PREFIX));
  // Servers that run as another user pass through; the folders in it are closed.
  await chmod(path, 0o711);
  const folder = await openDataFolder(path);
  return { ...folder, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) };
}

async function removeAbandoned(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(PREFIX)) continue;
    const path = join(tmpdir(), name);
    const owner = await readIdentity(join(path, 'run', 'supervisor.json'));
    if (owner === undefined || isRunning(owner)) continue;
    await endLeftOvers(join(path, 'run', 'processes.json'));
    await rm(path, { recursive: true, force: true }).catch(() => {});
  }
}

async function lock(lockFile: string, path: string): Promise<void> {
  const own = JSON.stringify(identityOf(process.pid));
  for (let attempt = 0; attempt < 10; attempt += 1) {
    try {
      return await writeFile(lockFile, own, { flag: 'wx', mode: 0o600 });
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    const owner = await readIdentity(lockFile);
    if (owner !== undefined && isRunning(owner)) {
      throw new StartMistake(
        `${path} is in use by another start (process ${owner.pid}); stop it, or choose another folder with --data`,
        EXIT_CONFIG,
      );
    }
    await putAside(lockFile, owner);
  }
  throw new StartMistake(`${path} is being taken by several starts at once; try again`, EXIT_CONFIG);
}

/** Takes a dead owner's lock away; a lock that another start made meanwhile is put back. */
async function putAside(lockFile: string, dead: ProcessIdentity | undefined): Promise<void> {
  const aside = `${lockFile}.${randomUUID()}`;
  await rename(lockFile, aside).catch(() => {});
  const taken = await readIdentity(aside);
  if (taken !== undefined && (taken.pid !== dead?.pid || taken.started !== dead.started)) await rename(aside, lockFile);
  await rm(aside, { force: true });
}

async function endLeftOvers(processesFile: string): Promise<void> {
  const left = z.array(Identity).safeParse(await readJson(processesFile));
  const running = (left.success ? left.data : []).filter(isRunning);
  for (const { pid } of running) process.kill(pid, 'SIGTERM');
  const deadline = performance.now() + END_MS;
  while (running.some(isRunning)) {
    if (performance.now() > deadline) for (const { pid } of running.filter(isRunning)) process.kill(pid, 'SIGKILL');
    await delay(50);
  }
  await rm(processesFile, { force: true });
}

async function readIdentity(file: string): Promise<ProcessIdentity | undefined> {
  const parsed = Identity.safeParse(await readJson(file));
  return parsed.success ? parsed.data : undefined;
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch {
    return undefined;
  }
}
