import type { DestinationStream, Logger } from 'pino';
import { pino, stdSerializers } from 'pino';

/** Paths that are never printed, whoever logs them. */
const REDACTED = ['password', 'secret', 'token', 'key', 'authorization', 'cookie', 'assertion', 'params', 'query', 'body'];

const paths = REDACTED.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]);

export interface LoggerOptions {
  readonly service: string;
  readonly level: string;
  readonly destination?: DestinationStream;
}

/** The one logger of a process: JSON lines on standard output, secrets removed. */
export function createLogger({ service, level, destination }: LoggerOptions): Logger {
  const options = {
    base: { service, pid: process.pid },
    level,
    redact: { paths, censor: '[redacted]' },
    serializers: { err: serializeError },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}

/** Errors of drivers carry whole requests and connection settings; only what names the fault is kept. */
function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return typeof error === 'string' ? error : { type: typeof error };
  const { type, message, stack } = stdSerializers.err(error);
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  const cause = error.cause === undefined ? undefined : serializeError(error.cause);
  return { type, message, stack, ...(code !== undefined && { code }), ...(cause !== undefined && { cause }) };
}
