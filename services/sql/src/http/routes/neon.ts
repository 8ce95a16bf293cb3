/** `POST /sql`: what `neon()` of the Neon serverless driver sends. Answers are in its own protocol, errors of the database 400. */
import { noNeonFields } from '@postern/contracts/sql';
import type { IncomingMessage, ServerResponse } from 'node:http';

import type { BatchMode, NeonError, NeonRequest, NeonRunner } from '../../domain/neon.ts';
import { isIsolationLevel } from '../../domain/neon.ts';
import { takeBody } from '../middleware/body.ts';
import { readNeonBody, UnreadableBody } from '../neon-schemas.ts';
import type { Route, Visit } from '../server.ts';
import { sendAnswer } from './sql.ts';

export interface NeonRouteOptions {
  readonly neon: NeonRunner;
  /** The one database that is served. */
  readonly database: string;
}

export const neonRoute = (options: NeonRouteOptions): Route => ({
  method: 'POST',
  path: '/sql',
  serve: (visit) => postNeon(options, visit),
});

const LEVEL = 'neon-batch-isolation-level';
const READ_ONLY = 'neon-batch-read-only';
const DEFERRABLE = 'neon-batch-deferrable';

async function postNeon({ neon, database }: NeonRouteOptions, { caller, request, response }: Visit): Promise<void> {
  const body = await takeBody(request);
  const read = readRequest(request, body, database);
  if (read.kind === 'fault') return sendError(response, 400, read.error);
  const run = neon.run(caller, read.request);
  const leave = (): void => run.abandon();
  response.once('close', leave);
  if (response.closed) leave();
  const outcome = await run.outcome;
  response.off('close', leave);
  switch (outcome.kind) {
    case 'answered':
      echo(response, read.request.batch);
      return sendAnswer(outcome.answer, response);
    case 'failed':
      return sendError(response, 400, outcome.error);
    case 'tooLarge':
      return sendError(response, 507, outcome.error);
    case 'abandoned':
      response.destroy();
      return;
  }
}

type Read = { readonly kind: 'request'; readonly request: NeonRequest } | { readonly kind: 'fault'; readonly error: NeonError };

function readRequest(request: IncomingMessage, body: Buffer, database: string): Read {
  const asked = databaseOf(request);
  if (asked !== undefined && asked !== database) {
    const message = `database ${JSON.stringify(asked)} does not exist`;
    return { kind: 'fault', error: { message, severity: 'FATAL', code: '3D000' } };
  }
  const mode = batchMode(request);
  if (mode === undefined) return { kind: 'fault', error: { message: 'invalid isolation level' } };
  try {
    const { queries, isBatch } = readNeonBody(body, isTrue(request, 'neon-array-mode'));
    const isRawText = isTrue(request, 'neon-raw-text-output');
    return { kind: 'request', request: { queries, batch: isBatch ? mode : undefined, isRawText } };
  } catch (error) {
    if (error instanceof UnreadableBody) return { kind: 'fault', error: { message: error.message } };
    throw error;
  }
}

/** The name in the caller's connection string; the edge has taken it out of there. */
function databaseOf(request: IncomingMessage): string | undefined {
  const value = request.headers['x-postern-database'];
  if (typeof value !== 'string') return undefined;
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

/** Only the literal counts; everything else is false. */
const isTrue = (request: IncomingMessage, name: string): boolean => request.headers[name] === 'true';

function batchMode(request: IncomingMessage): BatchMode | undefined {
  const level = request.headers[LEVEL];
  if (level !== undefined && (typeof level !== 'string' || !isIsolationLevel(level))) return undefined;
  return { isolationLevel: level, isReadOnly: isTrue(request, READ_ONLY), isDeferrable: isTrue(request, DEFERRABLE) };
}

function echo(response: ServerResponse, batch: BatchMode | undefined): void {
  if (batch?.isolationLevel !== undefined) response.setHeader(LEVEL, batch.isolationLevel);
  if (batch?.isReadOnly === true) response.setHeader(READ_ONLY, 'true');
  if (batch?.isDeferrable === true) response.setHeader(DEFERRABLE, 'true');
}

/** What is told of an error of which nothing is known but its message. */
type NoFields = Readonly<Record<Exclude<keyof NeonError, 'message'>, null>>;

function sendError(response: ServerResponse, status: number, error: NeonError): void {
  const told = Object.fromEntries(Object.entries(error).filter(([, value]) => value !== undefined));
  const body = JSON.stringify({ message: error.message, ...(noNeonFields satisfies NoFields), ...told });
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body);
}
