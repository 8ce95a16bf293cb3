import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Load {
  readonly url: string;
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  /** Lua expression of the body; may use `math.random`. */
  readonly bodyLua?: string;
  readonly connections: number;
  readonly seconds: number;
  /** The core the load generator is pinned to; not pinned if absent. */
  readonly core?: number;
}

export interface Measured {
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Answers that were not 2xx, and connections that broke. */
  readonly failures: number;
}

const WARM_SECONDS = 3;

/** Loads a URL with wrk (Debian package `wrk`), first for some seconds that do not count, so that code is compiled and caches are warm. */
export async function wrk(load: Load): Promise<Measured> {
  await loadOnce({ ...load, seconds: WARM_SECONDS });
  return loadOnce(load);
}

/** One run, read from wrk's own report through a Lua `done` hook. */
async function loadOnce(load: Load): Promise<Measured> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-wrk-'));
  try {
    const script = join(folder, 'load.lua');
    const headers = Object.entries(load.headers ?? {}).map(([name, value]) => `wrk.headers[${lua(name)}] = ${lua(value)}`);
    await writeFile(
      script,
      [
        `wrk.method = ${lua(load.method ?? 'GET')}`,
        ...headers,
        ...(load.bodyLua === undefined ? [] : [`request = function() return wrk.format(nil, nil, nil, ${load.bodyLua}) end`]),
        'done = function(summary, latency)',
        '  local e = summary.errors',
        '  io.write(string.format("\\nRESULT %f %f %f %d\\n", summary.requests / (summary.duration / 1e6),',
        '    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, e.connect + e.read + e.write + e.status + e.timeout))',
        'end',
      ].join('\n'),
      { mode: 0o600 },
    );
    const command = ['wrk', '-t1', `-c${load.connections}`, `-d${load.seconds}s`, '-s', script, load.url];
    const pinned = load.core === undefined ? command : ['taskset', '-c', String(load.core), ...command];
    const [program = '', ...rest] = pinned;
    const { stdout } = await run(program, rest);
    const match = /RESULT ([\d.]+) ([\d.]+) ([\d.]+) (\d+)/.exec(stdout);
    const [, requests, p50, p99, failures] = match ?? [];
    return { requestsPerSecond: Number(requests), p50Ms: Number(p50), p99Ms: Number(p99), failures: Number(failures) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const lua = (text: string): string => JSON.stringify(text);
