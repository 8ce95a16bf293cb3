/** One replica of a service as a supervised process: started again when it dies, stopped when asked. */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

import { EXIT_CONFIG, StartMistake } from './start-mistake.ts';

export interface ReplicaOptions {
  /** For messages and files: `sql`, `sql-2`. */
  readonly name: string;
  readonly args: readonly string[];
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: string;
  /** Answers 200 when the replica can work. */
  readonly readyUrl: string;
  /** How long a stop may take before it is forced. */
  readonly stopMs: number;
  readonly say: (message: string) => void;
  /** There is another process or none, or it became ready. */
  readonly onChange: () => void;
  /** It cannot work with this configuration, or never came up: the mesh is to stop. */
  readonly onHopeless: (mistake: StartMistake) => void;
}

export interface Replica {
  readonly name: string;
  /** Undefined while there is no process. */
  readonly pid: () => number | undefined;
  /** Whether this process has been able to work. */
  readonly isReady: () => boolean;
  /** Resolves when it first could work. */
  readonly ready: Promise<void>;
  /** Drains it; twice is no error. */
  stop(): Promise<void>;
  /** Ends it now. */
  kill(): void;
}

const PAUSE_MS_MIN = 250;
const PAUSE_MS_MAX = 10_000;
/** A process that lived this long was well: the next pause is the shortest again. */
const WELL_MS = 10_000;
const FIRST_STARTS_MAX = 5;
const READY_POLL_MS = 40;

export function startReplica(options: ReplicaOptions): Replica {
  const stopping = new AbortController();
  const ready = Promise.withResolvers<void>();
  ready.promise.catch(() => {});
  let child: ChildProcess | undefined;
  let isReady = false;
  let wasReady = false;

  const runOnce = async (): Promise<Ending> => {
    const startedAt = performance.now();
    const log = await LogMark.open(options.logFile);
    const started = spawn(process.execPath, options.args, {
      cwd: options.folder,
      env: options.env,
      // The channel tells the service when this process is gone (tether.ts); nothing is sent over it.
      stdio: ['ignore', log.descriptor, log.descriptor, 'ipc'],
      // A group of its own: a terminal's Ctrl-C goes to the supervisor, which stops all in order.
      detached: true,
    });
    log.release();
    child = started;
    options.onChange();
    const ended = Promise.withResolvers<{ code: number | null; signal: NodeJS.Signals | null }>();
    started.once('error', () => ended.resolve({ code: 1, signal: null }));
    started.once('exit', (code, signal) => ended.resolve({ code, signal }));
    const outcome = ended.promise.then((end) => {
      child = undefined;
      isReady = false;
      options.onChange();
      return end;
    });
    const working = untilReady(options.readyUrl, started).then(() => {
      isReady = true;
      wasReady = true;
      options.onChange();
      ready.resolve();
    });
    await Promise.race([outcome, working]);
    const { code, signal } = await outcome;
    return { code, signal, livedMs: performance.now() - startedAt, text: () => log.read() };
  };

  const keepRunning = async (): Promise<void> => {
    let pauseMs = PAUSE_MS_MIN;
    for (let start = 1; !stopping.signal.aborted; start += 1) {
      const ending = await runOnce();
      if (stopping.signal.aborted) return;
      const how = ending.signal === null ? `with exit code ${ending.code}` : `by ${ending.signal}`;
      if (ending.code === EXIT_CONFIG || (!wasReady && start >= FIRST_STARTS_MAX)) {
        const mistake = new StartMistake(
          `${options.name} ended ${how} and is not started again; it said:\n${await ending.text()}`,
          ending.code === EXIT_CONFIG ? EXIT_CONFIG : 1,
        );
        ready.reject(mistake);
        return options.onHopeless(mistake);
      }
      if (ending.livedMs > WELL_MS) pauseMs = PAUSE_MS_MIN;
      options.say(`${options.name} ended ${how}; it is started again in ${pauseMs} ms`);
      await delay(pauseMs, undefined, { signal: stopping.signal }).catch(() => {});
      pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
    }
  };

  const running = keepRunning().catch((error: unknown) => {
    const mistake = new StartMistake(
      `${options.name} cannot be started: ${error instanceof Error ? error.message : 'unknown'}`,
      1,
    );
    ready.reject(mistake);
    options.onHopeless(mistake);
  });

  return {
    name: options.name,
    pid: () => child?.pid,
    isReady: () => isReady,
    ready: ready.promise,
    async stop() {
      stopping.abort();
      child?.kill('SIGTERM');
      const force = setTimeout(() => {
        options.say(`${options.name} does not stop; it is killed`);
        child?.kill('SIGKILL');
      }, options.stopMs);
      await running;
      clearTimeout(force);
    },
    kill() {
      stopping.abort();
      child?.kill('SIGKILL');
    },
  };
}

interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly livedMs: number;
  /** What it said since it was started. */
  text(): Promise<string>;
}

async function untilReady(url: string, child: ChildProcess): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) {
    if (await isOk(url)) return;
    await delay(READY_POLL_MS);
  }
  // The end of the process settles the race; this side never does.
  await new Promise(() => {});
}

async function isOk(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await response.arrayBuffer();
    return response.status === 200;
  } catch {
    return false;
  }
}

const TEXT_BYTES_MAX = 16_384;

/** A log file that is appended to, and what was written to it since a moment. */
class LogMark {
  readonly descriptor: number;
  readonly #file: string;
  readonly #from: number;

  private constructor(file: string, from: number) {
    this.#file = file;
    this.#from = from;
    this.descriptor = openSync(file, 'a', 0o600);
  }

  static async open(file: string): Promise<LogMark> {
    await using handle = await open(file, 'a', 0o600);
    return new LogMark(file, (await handle.stat()).size);
  }

  release(): void {
    closeSync(this.descriptor);
  }

  async read(): Promise<string> {
    await using handle = await open(this.#file, 'r');
    const { size } = await handle.stat();
    const from = Math.max(this.#from, size - TEXT_BYTES_MAX);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.max(0, size - from)), 0, Math.max(0, size - from), from);
    return buffer.toString('utf8', 0, bytesRead).trimEnd().split('\n').flatMap(inWords).join('\n');
  }
}

/** A line for people: of the JSON lines only those that tell of a failure, and of these the words. */
function inWords(line: string): string[] {
  if (!line.startsWith('{')) return [`  ${line}`];
  try {
    const { level, msg, err } = JSON.parse(line) as { level?: number; msg?: string; err?: { message?: string } };
    if (level === undefined || level < 50) return [];
    return [`  ${msg ?? ''}${err?.message === undefined ? '' : `: ${err.message}`}`];
  } catch {
    return [`  ${line}`];
  }
}
