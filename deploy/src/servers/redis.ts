/** A real redis-server or valkey-server as a child process: from PATH, from a Debian package, or from an image. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join, resolve } from 'node:path';

import type { Program } from './find-program.ts';
import { findProgram } from './find-program.ts';
import type { ServerProcess } from './server-process.ts';
import { onPort, startServerProcess } from './server-process.ts';

export interface RedisOptions {
  /** Made if it is not there. */
  readonly dataDir: string;
  /** Users and their rights, passwords as hashes or in the clear; a file, so that no secret is on a command line. */
  readonly aclFile: string;
  /** A free one if absent. */
  readonly port?: number | undefined;
  /** For data that nobody will miss: nothing is written to disk. */
  readonly ephemeral?: boolean | undefined;
  readonly databases?: number | undefined;
}

export interface RedisServer extends ServerProcess {
  readonly port: number;
  readonly logFile: string;
}

/** Starts Redis on 127.0.0.1 with the given users. */
export async function startRedis(options: RedisOptions): Promise<RedisServer> {
  const dataDir = resolve(options.dataDir);
  const aclFile = resolve(options.aclFile);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  return onPort(options.port, async (port) => {
    const program = await findRedis([dataDir, dirname(aclFile)], port);
    const configFile = join(dataDir, 'redis.conf');
    const listens = program.inContainer ? { bind: '0.0.0.0', port: 6379 } : { bind: '127.0.0.1', port };
    writeFileSync(configFile, configuration({ ...options, dataDir, aclFile }, listens), { mode: 0o600 });
    const logFile = join(dataDir, 'redis-server.log');
    const server = await startServerProcess({
      name: 'redis-server',
      command: program.command,
      args: [...program.args, configFile],
      env: program.env,
      cleanUp: program.cleanUp,
      logFile,
      pidFile: join(dataDir, 'redis-server.pid'),
      stopSignal: 'SIGTERM',
      isReady: () => answers(port),
    });
    return { ...server, port, logFile };
  });
}

/** Fetches redis-server if it is not on this machine; the first start is then quick. */
export const prepareRedis = async (): Promise<void> => void (await findRedis([], 0));

const findRedis = (folders: readonly string[], port: number): Promise<Program> =>
  findProgram({
    names: ['redis-server', 'valkey-server'],
    packageName: 'redis-server',
    image: process.env['REDIS_IMAGE'] || 'redis:8',
    folders,
    ports: [port, 6_379],
    setting: 'REDIS_URL=redis://user:…@host:6379',
  });

function configuration(options: RedisOptions, { bind, port }: { bind: string; port: number }): string {
  const lines = [
    `bind ${bind}`,
    // In a container every client comes from outside; its port is published on 127.0.0.1 only.
    `protected-mode ${bind === '127.0.0.1' ? 'yes' : 'no'}`,
    `port ${port}`,
    `dir ${quoted(options.dataDir)}`,
    `aclfile ${quoted(options.aclFile)}`,
    `databases ${options.databases ?? 16}`,
    `appendonly ${options.ephemeral === true ? 'no' : 'yes'}`,
    'save ""',
    'daemonize no',
    // Sessions and counters may not be thrown away to make room.
    'maxmemory-policy noeviction',
  ];
  return `${lines.join('\n')}\n`;
}

const quoted = (path: string): string => `"${path.replaceAll('\\', String.raw`\\`).replaceAll('"', String.raw`\"`)}"`;

/** A refusal of an unknown client is an answer too; only a server that still loads its data is not ready. */
async function answers(port: number): Promise<boolean> {
  const { promise, resolve: settle } = Promise.withResolvers<boolean>();
  const socket = connect({ port, host: '127.0.0.1', timeout: 2_000 });
  let answer = '';
  socket.setEncoding('utf8');
  socket.on('connect', () => socket.write('PING\r\n'));
  socket.on('data', (chunk: string) => {
    answer += chunk;
    if (answer.includes('\r\n')) settle(/^(\+PONG|-NOAUTH|-NOPERM)/.test(answer));
  });
  for (const event of ['error', 'close', 'timeout'] as const) socket.on(event, () => settle(false));
  const ready = await promise;
  socket.destroy();
  return ready;
}
