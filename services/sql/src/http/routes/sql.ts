/** `POST /api/sql`. */
import { Failure } from '@postern/contracts/failure';
import { answerForm } from '../../domain/accept.ts';
import { CsvScript } from '../../domain/csv.ts';
import { NdjsonScript } from '../../domain/ndjson.ts';
import { Flow } from '../../domain/outlet.ts';
import { notOneStatement } from '../../domain/plan.ts';
import type { Answer, Outcome, QueryRunner, Turned } from '../../domain/ports.ts';
import type { ServerResponse } from 'node:http';

import { checkContentType, takeBody } from '../middleware/body.ts';
import { STALL_MS, written } from '../reader.ts';
import { presentSessionRefusal } from '../present.ts';
import { createResponseOutlet } from '../response-outlet.ts';
import { Utf8Check } from '../../domain/utf8.ts';
import { readBody, readOptions } from '../schemas.ts';
import type { Route, Visit } from '../server.ts';

/** One that takes less than this (1 Mbit/s) is not waited for: it keeps memory or a file for as long as it likes. */
const SLOWEST_BYTES_PER_MS = 128;
const ONE_WRITE_BYTES = 16_384;

export interface SqlRouteOptions {
  /** Longest time of an answer that is sent while it is made. */
  readonly streamMs: number;
}

export const sqlRoute = (runner: QueryRunner, { streamMs }: SqlRouteOptions): Route => ({
  method: 'POST',
  path: '/api/sql',
  serve: (visit) => {
    const form = answerForm(visit.request.headers.accept);
    return form === 'json' ? postSql(runner, visit) : streamSql(runner, visit, { form, limitMs: streamMs });
  },
});

interface Streamed {
  readonly form: 'ndjson' | 'csv';
  readonly limitMs: number;
}

async function streamSql(runner: QueryRunner, visit: Visit, { form, limitMs }: Streamed): Promise<void> {
  const { caller, request, response } = visit;
  const body = await bodyOf(visit);
  const settings = readOptions(request.url ?? '');
  const isCsv = form === 'csv';
  const flow = new Flow(createResponseOutlet({ response, contentType: CONTENT_TYPES[form] }), new Utf8Check());
  const script = isCsv ? new CsvScript(flow) : new NdjsonScript(flow);
  const asked = { caller, request: readBody(body), settings, script, limitMs };
  const streaming = runner.stream({ ...asked, isText: isCsv, isRowsOnly: isCsv });
  const leave = (): void => streaming.abandon();
  response.once('close', leave);
  if (response.closed) leave();
  const outcome = await streaming.outcome;
  response.off('close', leave);
  if (outcome.kind !== 'streamed') sendTurned(outcome, response);
}

const CONTENT_TYPES = {
  ndjson: 'application/x-ndjson; charset=utf-8',
  csv: 'text/csv; charset=utf-8; header=present',
} as const;

async function bodyOf({ request, body }: Visit): Promise<Buffer> {
  if (body !== undefined) return body;
  checkContentType(request);
  return takeBody(request);
}

async function postSql(runner: QueryRunner, visit: Visit): Promise<void> {
  const { caller, request, response } = visit;
  const body = await bodyOf(visit);
  const settings = readOptions(request.url ?? '');
  const run = runner.run({ caller, request: readBody(body), settings });
  const leave = (): void => run.abandon();
  response.once('close', leave);
  if (response.closed) leave();
  const outcome = await run.outcome;
  response.off('close', leave);
  await send(outcome, response);
}

async function send(outcome: Outcome, response: ServerResponse): Promise<void> {
  if (outcome.kind === 'answered') await sendAnswer(outcome.answer, response);
  else sendTurned(outcome, response);
}

function sendTurned(outcome: Turned, response: ServerResponse): void {
  switch (outcome.kind) {
    case 'notOneStatement': {
      const { query, count } = outcome;
      throw new Failure('SQL_NOT_ONE_STATEMENT', { detail: notOneStatement(query, count) });
    }
    case 'sessionRefused': {
      const { status, headers, body } = presentSessionRefusal(outcome.error, outcome.isDenied);
      response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body);
      return;
    }
    case 'abandoned':
      response.destroy();
      return;
  }
}

export async function sendAnswer(answer: Answer, response: ServerResponse): Promise<void> {
  try {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': answer.length });
    if (answer.whole !== undefined && answer.whole.length <= ONE_WRITE_BYTES) {
      // As a string of bytes it goes out with the headers in one write, which costs a sixth less than two.
      response.end(answer.whole.toString('latin1'), 'latin1');
      return;
    }
    const late = setTimeout(() => response.destroy(), STALL_MS + answer.length / SLOWEST_BYTES_PER_MS);
    response.once('close', () => clearTimeout(late));
    response.setTimeout(STALL_MS, () => response.destroy());
    if (answer.whole !== undefined) {
      response.end(answer.whole);
      return;
    }
    for await (const piece of answer.pieces()) if (!(await written(response, piece))) return;
    response.end();
  } finally {
    await answer.dispose();
  }
}
