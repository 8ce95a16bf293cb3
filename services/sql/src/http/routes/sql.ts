/** `POST /api/sql`. */
import { Failure } from '@postern/contracts/failure';
import type { Answer, Outcome, QueryRunner } from '../../domain/ports.ts';
import type { ServerResponse } from 'node:http';

import { checkContentType, takeBody } from '../middleware/body.ts';
import { presentSessionRefusal } from '../present.ts';
import { readBody, readOptions } from '../schemas.ts';
import type { Route, Visit } from '../server.ts';

/** A reader that takes nothing for this long is gone. */
const STALL_MS = 60_000;
/** One that takes less than this (1 Mbit/s) is not waited for: it keeps memory or a file for as long as it likes. */
const SLOWEST_BYTES_PER_MS = 128;
const ONE_WRITE_BYTES = 16_384;

export const sqlRoute = (runner: QueryRunner): Route => ({
  method: 'POST',
  path: '/api/sql',
  serve: (visit) => postSql(runner, visit),
});

async function postSql(runner: QueryRunner, { caller, request, response }: Visit): Promise<void> {
  checkContentType(request);
  const body = await takeBody(request);
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
  switch (outcome.kind) {
    case 'answered':
      return sendAnswer(outcome.answer, response);
    case 'notOneStatement': {
      const { query, count } = outcome;
      throw new Failure('SQL_NOT_ONE_STATEMENT', {
        detail: `each query must contain exactly 1 statement, but "${query}" contains ${count}`,
      });
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

/** Resolves when the piece has left this process and its memory may be used again; to false if the reader is gone. */
function written(response: ServerResponse, piece: Buffer): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const gone = (): void => resolve(false);
  if (response.destroyed) gone();
  response.once('close', gone);
  response.write(piece, (error) => {
    response.off('close', gone);
    resolve(error === undefined || error === null);
  });
  return promise;
}
