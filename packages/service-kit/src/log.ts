import type { DestinationStream, Logger } from 'pino';
import { pino, stdSerializers } from 'pino';

/** Names whose values are never printed, whoever logs them. */
const REDACTED = new Set([
  'password',
  'secret',
  'token',
  'key',
  'authorization',
  'cookie',
  'assertion',
  'params',
  'query',
  'body',
]);

const DEPTH_MAX = 3;
const CENSOR = '[redacted]';

/**
 * Removes secrets at the depths that log lines have; what is deeper is not printed at all. (pino's own redaction by path
 * costs twenty times as much as the line itself.)
 */
function redact(fields: Record<string, unknown>, depth = 1): Record<string, unknown> {
  const shown: Record<string, unknown> = {};
  for (const name of Object.keys(fields)) {
    const value = fields[name];
    if (REDACTED.has(name)) shown[name] = CENSOR;
    else if (typeof value !== 'object' || value === null || value instanceof Error) shown[name] = value;
    else if (depth === DEPTH_MAX) shown[name] = '[deeper]';
    else shown[name] = Array.isArray(value) ? value.map((item) => redactItem(item, depth)) : redact({ ...value }, depth + 1);
  }
  return shown;
}

const redactItem = (item: unknown, depth: number): unknown =>
  typeof item === 'object' && item !== null ? redact({ ...item }, depth + 1) : item;

export interface LoggerOptions {
  readonly service: string;
  readonly level: string;
  readonly destination?: DestinationStream;
}

/** Lines are written together when they are this many bytes, or this old: a write for each would cost as much as a request. */
const TOGETHER_BYTES = 8_192;
const TOGETHER_MS = 50;

let shared: DestinationStream | undefined;

/** One for the process, whoever logs. */
function standardOutput(): DestinationStream {
  if (shared !== undefined) return shared;
  const lines = pino.destination({ dest: 1, sync: true, minLength: TOGETHER_BYTES });
  setInterval(() => lines.flushSync(), TOGETHER_MS).unref();
  process.on('exit', () => lines.flushSync());
  shared = lines;
  return lines;
}

/** The one logger of a process: JSON lines on standard output, secrets removed. */
export function createLogger({ service, level, destination }: LoggerOptions): Logger {
  const options = {
    base: { service, pid: process.pid },
    level,
    formatters: { log: (fields: Record<string, unknown>) => redact(fields) },
    serializers: { err: serializeError },
  };
  return pino(options, destination ?? standardOutput());
}

/** Errors of drivers carry whole requests and connection settings; only what names the fault is kept. */
function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return typeof error === 'string' ? error : { type: typeof error };
  const { type, message, stack } = stdSerializers.err(error);
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  const cause = error.cause === undefined ? undefined : serializeError(error.cause);
  return { type, message, stack, ...(code !== undefined && { code }), ...(cause !== undefined && { cause }) };
}
