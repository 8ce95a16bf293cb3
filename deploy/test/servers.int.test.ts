import { eventually } from '@postern/testkit/eventually';
import { temporaryFolder } from '@postern/testkit/temporary-folder';
import { Redis } from 'ioredis';
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { expect, test } from 'vitest';

import { findOnPath } from '../src/servers/find-on-path.ts';
import { freePort, givenBySystem } from '../src/servers/free-port.ts';
import { startPostgres } from '../src/servers/postgres.ts';
import { startRedis } from '../src/servers/redis.ts';

const given = givenBySystem();
/** Otherwise there is nothing else to choose from. */
const leavesOthers = 65_536 - 1_024 - (given.highest - given.lowest + 1) > 2_000;

const password = `a secret's "name"/%`;

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end().catch(() => {});
  }
}

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    // One that has ended and that nobody has asked about yet is not running.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};

test('PostgreSQL keeps its data over stops and over a kill, asks for the password, and listens on 127.0.0.1 only', async () => {
  await using folder = await temporaryFolder();
  const options = { dataDir: join(folder.path, 'postgres'), password };
  const first = await startPostgres(options);
  await query(first.url, 'CREATE TABLE kept AS SELECT 7 AS n');
  const [settings] = await query(
    first.url,
    `SELECT current_setting('listen_addresses') AS address, current_setting('unix_socket_directories') AS sockets,
            current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync`,
  );
  expect(settings).toEqual({ address: '127.0.0.1', sockets: '', encoding: 'UTF8', fsync: 'on' });
  const wrong = new URL(first.url);
  wrong.password = 'wrong';
  await expect(query(wrong.href, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
  process.kill(first.pid, 'SIGKILL');
  await first.exited;
  expect(existsSync(join(first.dataDir, 'postmaster.pid'))).toBe(true);
  const second = await startPostgres(options);
  await query(second.url, 'INSERT INTO kept VALUES (8)');
  await second.stop();
  await second.stop();
  const third = await startPostgres({ ...options, port: second.port });
  expect(await query(third.url, 'SELECT n FROM kept ORDER BY n')).toEqual([{ n: 7 }, { n: 8 }]);
  expect(third.port).toBe(second.port);
  await third.stop();
});

test('an ephemeral PostgreSQL leaves nothing behind', async () => {
  await using folder = await temporaryFolder();
  const server = await startPostgres({ dataDir: join(folder.path, 'postgres'), password, ephemeral: true });
  await query(server.url, 'SELECT 1');
  await server.stop();
  expect(isRunning(server.pid)).toBe(false);
  expect(readdirSync(folder.path)).toEqual([]);
  expect(existsSync(server.dataDir)).toBe(false);
});

test('a login that may replicate follows one database, and takes no copy of the cluster', async () => {
  await using folder = await temporaryFolder();
  await using server = await startPostgres({ dataDir: join(folder.path, 'postgres'), password, ephemeral: true });
  await query(server.url, "CREATE ROLE follower LOGIN REPLICATION PASSWORD 'follower'");
  const ask = async (replication: string): Promise<unknown> => {
    const url = new URL(server.url);
    [url.username, url.password] = ['follower', 'follower'];
    // The driver sends it as a start-up parameter; its types do not know it.
    const config: pg.ClientConfig & { readonly replication: string } = { connectionString: url.href, replication };
    const client = new pg.Client(config);
    client.on('error', () => {});
    try {
      await client.connect();
      await client.query('IDENTIFY_SYSTEM');
      return 'ok';
    } catch (error) {
      return error instanceof pg.DatabaseError ? error.code : error;
    } finally {
      await client.end().catch(() => {});
    }
  };
  expect(await ask('database')).toBe('ok');
  expect(await ask('true')).toBe('28000');
});

test('a password that is not the one the data was made with is said so, and nothing is left running', async () => {
  await using folder = await temporaryFolder();
  const dataDir = join(folder.path, 'postgres');
  const server = await startPostgres({ dataDir, password });
  await server.stop();
  await expect(startPostgres({ dataDir, password: 'another' })).rejects.toThrow(/password of the superuser/);
});

test('data that is in use is refused, with the process that uses it', async () => {
  await using folder = await temporaryFolder();
  const dataDir = join(folder.path, 'postgres');
  const server = await startPostgres({ dataDir, password });
  await expect(startPostgres({ dataDir, password })).rejects.toThrow(`in use by process ${process.pid}`);
  expect(await query(server.url, 'SELECT 1 AS n')).toEqual([{ n: 1 }]);
  await server.stop();
});

/** Between the choice and the start of the server anybody could be given it otherwise. */
test.runIf(leavesOthers)('a port that is free is none of those that the system gives to others', async () => {
  const ports = await Promise.all(Array.from({ length: 50 }, freePort));
  expect(ports.filter((port) => port >= given.lowest && port <= given.highest)).toEqual([]);
});

test('no secret is on a command line', async () => {
  await using folder = await temporaryFolder();
  const seen = new Set<string>();
  const looking = setInterval(() => {
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        seen.add(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
      } catch {
        // It has ended meanwhile.
      }
    }
  }, 5);
  const server = await startPostgres({
    dataDir: join(folder.path, 'postgres'),
    password: 'a-secret-to-look-for',
    ephemeral: true,
  });
  clearInterval(looking);
  await server.stop();
  expect([...seen].some((line) => line.includes('initdb'))).toBe(true);
  expect([...seen].filter((line) => line.includes('a-secret-to-look-for'))).toEqual([]);
});

test('Redis keeps its data over a stop and over a kill, and lets in only whom its users file names', async () => {
  await using folder = await temporaryFolder();
  const aclFile = join(folder.path, 'users.acl');
  await writeFile(aclFile, 'user default off\nuser keeper on >pass ~kept:* +@all\n');
  const options = { dataDir: join(folder.path, 'redis'), aclFile };
  const connect = (port: number): Redis => new Redis(`redis://keeper:pass@127.0.0.1:${port}`, { retryStrategy: () => null });
  const first = await startRedis(options);
  const stranger = new Redis(first.port, { retryStrategy: () => null });
  stranger.on('error', () => {});
  await expect(stranger.get('kept:a')).rejects.toThrow(/NOAUTH/);
  stranger.disconnect();
  const client = connect(first.port);
  client.on('error', () => {});
  await client.set('kept:a', '1');
  await expect(client.set('other', '1')).rejects.toThrow(/NOPERM/);
  await first.stop();
  const second = await startRedis({ ...options, port: first.port });
  const again = connect(second.port);
  again.on('error', () => {});
  expect(await again.get('kept:a')).toBe('1');
  await again.set('kept:b', '2');
  await again.config('SET', 'appendfsync', 'always');
  await again.set('kept:c', '3');
  process.kill(second.pid, 'SIGKILL');
  await second.exited;
  await using third = await startRedis(options);
  const last = connect(third.port);
  expect(await last.mget('kept:a', 'kept:b', 'kept:c')).toEqual(['1', '2', '3']);
  last.disconnect();
});

/** Where the kernel can end a child with its parent; elsewhere the next start does it. */
const canTether = process.platform === 'linux' && findOnPath('setpriv') !== undefined;

test.runIf(canTether)('servers end when the process that started them is killed', async () => {
  await using folder = await temporaryFolder();
  const owner = await startOwner(folder.path);
  process.kill(owner.pid, 'SIGKILL');
  await eventually(() => !isRunning(owner.postgres) && !isRunning(owner.redis), { timeoutMs: 10_000 });
  await using server = await startPostgres({ dataDir: join(folder.path, 'postgres'), password: 'a secret', ephemeral: true });
  expect(await query(server.url, 'SELECT 1 AS n')).toEqual([{ n: 1 }]);
});

test('a server that outlived its owner is ended by the next start', async () => {
  await using folder = await temporaryFolder();
  // Without setpriv on the path nothing tethers the servers, as on a Mac.
  const owner = await startOwner(folder.path, { PATH: dirname(process.execPath) });
  process.kill(owner.pid, 'SIGKILL');
  await eventually(() => !isRunning(owner.pid));
  await using server = await startPostgres({ dataDir: join(folder.path, 'postgres'), password: 'a secret', ephemeral: true });
  expect(isRunning(owner.postgres)).toBe(false);
  expect(await query(server.url, 'SELECT 1 AS n')).toEqual([{ n: 1 }]);
  if (isRunning(owner.redis)) process.kill(owner.redis, 'SIGTERM');
  // What it still writes would be in the way of whoever removes the folder.
  await eventually(() => !isRunning(owner.redis));
});

interface Owner {
  readonly pid: number;
  readonly postgres: number;
  readonly redis: number;
}

async function startOwner(folder: string, env: NodeJS.ProcessEnv = {}): Promise<Owner> {
  const script = new URL('owner.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, [script, folder], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const told = Promise.withResolvers<string>();
  child.stdout.setEncoding('utf8').once('data', told.resolve);
  child.once('exit', (code) => told.reject(new Error(`the owner ended with ${code}`)));
  const servers = JSON.parse(await told.promise) as Omit<Owner, 'pid'>;
  return { ...servers, pid: child.pid ?? 0 };
}

const isRoot = process.getuid?.() === 0;

test.runIf(isRoot)('where the user that PostgreSQL runs as cannot go, its data is kept elsewhere and found again', async () => {
  await using folder = await temporaryFolder();
  await chmod(folder.path, 0o700);
  const options = { dataDir: join(folder.path, 'postgres'), password };
  const first = await startPostgres(options);
  expect(first.dataDir.startsWith('/var/lib/postern/')).toBe(true);
  await query(first.url, 'CREATE TABLE kept AS SELECT 7 AS n');
  await first.stop();
  await chmod(folder.path, 0o711);
  const second = await startPostgres({ ...options, ephemeral: true });
  expect(await query(second.url, 'SELECT n FROM kept')).toEqual([{ n: 7 }]);
  await second.stop();
  expect(existsSync(first.dataDir)).toBe(false);
  expect(existsSync(`${first.dataDir}.log`)).toBe(false);
});
