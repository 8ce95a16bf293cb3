/** One server as a child process: started, awaited until it answers, stopped, and never left behind. */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

import { findOnPath } from './find-on-path.ts';
import { freePort } from './free-port.ts';
import { ServerMistake } from './server-mistake.ts';

export interface ServerProcess extends AsyncDisposable {
  readonly pid: number;
  /** Resolves when the process has ended, wanted or not. */
  readonly exited: Promise<void>;
  /** Stops it gently, then by force; twice is no error. */
  readonly stop: () => Promise<void>;
}

export interface ServerCommand {
  /** For messages. */
  readonly name: string;
  readonly command: string;
  /** Never a secret: any local user can read them. */
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  /** Where standard output and error go; overwritten at each start. */
  readonly logFile: string;
  /** Remembers the process, so that the next start finds one that outlived a killed owner. */
  readonly pidFile: string;
  /** The signal that stops this server quickly and cleanly. */
  readonly stopSignal: 'SIGINT' | 'SIGTERM';
  /** Whether it answers as itself; asked until true. */
  readonly isReady: () => Promise<boolean>;
  /** Done before the start, once it is certain that no living owner has the server. */
  readonly cleanUp?: (() => Promise<void>) | undefined;
}

const READY_MS = 60_000;
const POLL_MS = 20;
const STOP_MS = 8_000;

/** Starts the process and resolves once it answers; a process that ends before is a mistake with the end of its log. */
export async function startServerProcess(server: ServerCommand): Promise<ServerProcess> {
  await endLeftOver(server);
  await server.cleanUp?.();
  const log = openSync(server.logFile, 'w', 0o600);
  const { command, args } = dyingWithParent(server);
  const child = spawn(command, args, {
    stdio: ['ignore', log, log],
    // A group of its own: a terminal's Ctrl-C goes to the owner, which stops its servers in order.
    detached: true,
    env: { ...cleanEnvironment(), ...server.env },
    ...(server.uid !== undefined && { uid: server.uid }),
    ...(server.gid !== undefined && { gid: server.gid }),
  });
  closeSync(log);
  const ended = Promise.withResolvers<void>();
  child.once('error', () => ended.resolve());
  child.once('exit', () => ended.resolve());
  const stop = async (): Promise<void> => {
    await stopChild(child, ended.promise, server.stopSignal);
    rmSync(server.pidFile, { force: true });
  };
  try {
    const { pid } = child;
    if (pid === undefined) throw new ServerMistake(`${server.name} cannot be started: ${command}`);
    writeFileSync(
      server.pidFile,
      JSON.stringify({ pid, started: startOf(pid), owner: process.pid, ownerStarted: startOf(process.pid) }),
    );
    await untilReady(server, child);
    return { pid, exited: ended.promise, stop, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Starts on the given port, or on a free one; another process may take a free one first, so that is tried again. */
export async function onPort<T>(port: number | undefined, start: (port: number) => Promise<T>): Promise<T> {
  if (port !== undefined && port !== 0) return start(port);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await start(await freePort());
    } catch (error) {
      if (attempt === 3 || !(error instanceof Error && /in use|bind/i.test(error.message))) throw error;
    }
  }
}

/** On Linux the kernel ends the server when its owner is killed; elsewhere the next start ends what was left over. */
function dyingWithParent({ command, args, stopSignal }: ServerCommand): { command: string; args: string[] } {
  const setpriv = process.platform === 'linux' ? findOnPath('setpriv') : undefined;
  if (setpriv === undefined) return { command, args: [...args] };
  return { command: setpriv, args: ['--pdeathsig', stopSignal.slice(3), '--', command, ...args] };
}

/** Servers take settings, and their clients secrets, from variables of these names; none of the caller's may reach them. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(PG|NATS_|REDIS|NODE_|npm_)/i.test(name)));
}

async function untilReady(server: ServerCommand, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + READY_MS;
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) {
      throw new ServerMistake(`${server.name} ended at once; the end of ${server.logFile}:\n${tailOf(server.logFile)}`);
    }
    if (await server.isReady()) return;
    if (performance.now() > deadline) {
      throw new ServerMistake(`${server.name} does not answer; the end of ${server.logFile}:\n${tailOf(server.logFile)}`);
    }
    await delay(POLL_MS);
  }
}

function tailOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-15).join('\n');
  } catch {
    return '';
  }
}

async function stopChild(child: ChildProcess, ended: Promise<void>, signal: NodeJS.Signals): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  child.kill(signal);
  const force = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await ended;
  clearTimeout(force);
}

/** Ends a server that outlived its owner; one whose owner lives is somebody's and is left alone. */
async function endLeftOver(server: ServerCommand): Promise<void> {
  const left = readPidFile(server.pidFile);
  if (left === undefined || !isSame(left.pid, left.started)) return;
  if (isSame(left.owner, left.ownerStarted)) {
    throw new ServerMistake(`${server.name} is in use by process ${left.owner} (${server.pidFile}); stop that first`);
  }
  process.kill(left.pid, server.stopSignal);
  const deadline = performance.now() + STOP_MS;
  while (isSame(left.pid, left.started)) {
    if (performance.now() > deadline) process.kill(left.pid, 'SIGKILL');
    await delay(POLL_MS);
  }
}

interface Remembered {
  readonly pid: number;
  readonly started: string;
  readonly owner: number;
  readonly ownerStarted: string;
}

function readPidFile(file: string): Remembered | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Remembered;
  } catch {
    return undefined;
  }
}

const isSame = (pid: number, started: string): boolean => isAlive(pid) && startOf(pid) === started;

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** When a process was started, in the kernel's own words, so that a reused id is not taken for it; empty if unknown. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command in parentheses may hold anything; the start time is the 20th field after it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? 'ended' : (fields[19] ?? '');
  } catch {
    return '';
  }
}
