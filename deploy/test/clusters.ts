/** Every PostgreSQL that this machine can run: the embedded one, and those of the system's packages. */
import { startPostgres } from '@postern/deploy/servers/postgres';
import { freePort } from '@postern/deploy/servers/free-port';
import { startServerProcess } from '@postern/deploy/servers/server-process';
import { unprivilegedUser } from '@postern/deploy/servers/unprivileged';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chown, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';

const PACKAGED = '/usr/lib/postgresql';
const PASSWORD = 'superuser-of-a-test';

export interface Cluster extends AsyncDisposable {
  readonly url: string;
}

export interface ClusterKind {
  readonly name: string;
  start(folder: string): Promise<Cluster>;
}

export async function findClusters(): Promise<readonly ClusterKind[]> {
  const installed = existsSync(PACKAGED) ? await readdir(PACKAGED) : [];
  return [
    {
      name: 'embedded',
      start: (folder) => startPostgres({ dataDir: join(folder, 'embedded'), password: PASSWORD, ephemeral: true }),
    },
    ...installed
      .filter((version) => Number(version) >= 15 && existsSync(join(PACKAGED, version, 'bin', 'initdb')))
      .map((version) => ({
        name: `packaged ${version}`,
        start: (folder: string) => startPackaged(version, join(folder, version)),
      })),
  ];
}

async function startPackaged(version: string, dataDir: string): Promise<Cluster> {
  const runAs = unprivilegedUser();
  await mkdir(dataDir, { mode: 0o700 });
  const passwordFile = `${dataDir}.password`;
  await writeFile(passwordFile, PASSWORD);
  if (runAs !== undefined) await Promise.all([dataDir, passwordFile].map((path) => chown(path, runAs.uid, runAs.gid)));
  const program = (name: string): string => join(PACKAGED, version, 'bin', name);
  const access = ['--username=postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`];
  await promisify(execFile)(program('initdb'), ['-D', dataDir, '--no-sync', ...access], { ...runAs, cwd: dataDir });
  const port = await freePort();
  const url = `postgres://postgres:${PASSWORD}@127.0.0.1:${port}/postgres`;
  const server = await startServerProcess({
    name: 'postgres',
    command: program('postgres'),
    args: ['-D', dataDir, '-c', `port=${port}`, '-c', 'unix_socket_directories=', '-c', 'fsync=off'],
    uid: runAs?.uid,
    gid: runAs?.gid,
    logFile: `${dataDir}.log`,
    pidFile: `${dataDir}.pid`,
    stopSignal: 'SIGINT',
    isReady: () => admits(url),
  });
  return {
    url,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** It listens before it lets anybody in. */
async function admits(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  return client.connect().then(
    async () => {
      await client.end();
      return true;
    },
    () => false,
  );
}
