/** `npm start` as a child process: its one line, its words, its end. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { Ready } from './description.ts';

const START = fileURLToPath(new URL('../../deploy/src/start.ts', import.meta.url));

export interface Supervisor extends AsyncDisposable {
  readonly pid: number;
  /** What it printed when it was ready; rejects with its words if it ends before. */
  readonly ready: Promise<Ready>;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  readonly output: () => string;
  readonly errors: () => string;
  signal(signal: NodeJS.Signals): void;
}

/** Starts the supervisor itself, without npm between. */
export const startSupervisor = (args: readonly string[], env: NodeJS.ProcessEnv = {}): Supervisor =>
  superviseCommand(process.execPath, [START, ...args], env);

export function superviseCommand(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Supervisor {
  const child = spawn(command, args, {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: { ...environment(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let errors = '';
  const ended = Promise.withResolvers<{ code: number | null; signal: NodeJS.Signals | null }>();
  const ready = Promise.withResolvers<Ready>();
  ready.promise.catch(() => {});
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    output += chunk;
    if (!output.includes('\n')) return;
    try {
      ready.resolve(Ready.parse(JSON.parse(output.slice(0, output.indexOf('\n')))));
    } catch (error) {
      ready.reject(error);
    }
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk));
  child.once('error', ready.reject);
  child.once('close', (code, signal) => {
    ready.reject(new Error(`the start ended with ${code ?? signal}:\n${errors}`));
    ended.resolve({ code, signal });
  });
  return {
    pid: child.pid ?? 0,
    ready: ready.promise,
    ended: ended.promise,
    output: () => output,
    errors: () => errors,
    signal: (signal) => void child.kill(signal),
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await ended.promise;
    },
  };
}

/** Ours, without what would name servers or configure services. */
function environment(): NodeJS.ProcessEnv {
  const foreign = /^(POSTGRES_URL|REDIS_URL|NATS_|EDGE_|AUTH_|SESSION_|SQL_|TEST_|E2E_|VITEST|NODE_OPTIONS|npm_)/i;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign.test(name)));
}
