/** A real nats-server as a child process: from PATH, from a Debian package, or from an image. */
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join, resolve } from 'node:path';

import type { Program } from './find-program.ts';
import { findProgram } from './find-program.ts';
import type { ServerProcess } from './server-process.ts';
import { onPort, startServerProcess } from './server-process.ts';

export interface NatsOptions {
  /** Written by `setup/nats`; its port is overruled. */
  readonly configFile: string;
  /** A free one if absent. */
  readonly port?: number | undefined;
  /** For the log and the process id; beside the configuration if absent. */
  readonly stateDir?: string | undefined;
}

export interface NatsServer extends ServerProcess {
  readonly port: number;
  readonly url: string;
  readonly logFile: string;
}

/** Starts nats-server on 127.0.0.1. */
export async function startNats(options: NatsOptions): Promise<NatsServer> {
  const configFile = resolve(options.configFile);
  const stateDir = options.stateDir ?? dirname(configFile);
  mkdirSync(stateDir, { recursive: true });
  return onPort(options.port, async (port) => {
    const name = `postern-${crypto.randomUUID()}`;
    const program = await findNats([dirname(configFile)], port);
    const address = program.inContainer ? ['-a', '0.0.0.0', '-p', '4222'] : ['-a', '127.0.0.1', '-p', String(port)];
    const logFile = join(stateDir, 'nats-server.log');
    const server = await startServerProcess({
      name: 'nats-server',
      command: program.command,
      args: [...program.args, '-c', configFile, '-n', name, ...address],
      env: program.env,
      cleanUp: program.cleanUp,
      logFile,
      pidFile: join(stateDir, 'nats-server.pid'),
      stopSignal: 'SIGTERM',
      isReady: () => greets(port, name),
    });
    return { ...server, port, url: `nats://127.0.0.1:${port}`, logFile };
  });
}

/** Fetches nats-server if it is not on this machine; the first start is then quick. */
export const prepareNats = async (): Promise<void> => void (await findNats([], 0));

const findNats = (folders: readonly string[], port: number): Promise<Program> =>
  findProgram({
    names: ['nats-server'],
    packageName: 'nats-server',
    image: process.env['NATS_IMAGE'] || 'nats:2.10-alpine',
    folders,
    ports: [port, 4_222],
    setting: 'NATS_URL=nats://host:4222',
  });

/** The first line of a NATS server names it: another server on the port is not taken for ours. */
async function greets(port: number, name: string): Promise<boolean> {
  const { promise, resolve: settle } = Promise.withResolvers<boolean>();
  const socket = connect({ port, host: '127.0.0.1', timeout: 2_000 });
  let greeting = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    greeting += chunk;
    if (greeting.includes('\r\n')) settle(greeting.startsWith('INFO ') && greeting.includes(`"${name}"`));
  });
  for (const event of ['error', 'close', 'timeout'] as const) socket.on(event, () => settle(false));
  const answer = await promise;
  socket.destroy();
  return answer;
}
