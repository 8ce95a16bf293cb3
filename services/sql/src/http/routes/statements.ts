/** `/api/sql/statements`: statements that run without anybody waiting, and pages of their results. */
import { Failure } from '@postern/contracts/failure';
import type { IncomingMessage, ServerResponse } from 'node:http';

import { FIRST_PLACE, pageOf, readPlace } from '../../domain/pages.ts';
import type { PagePlace } from '../../domain/pages.ts';
import { notOneStatement } from '../../domain/plan.ts';
import type { Desk, Statement, StatementState } from '../../domain/statements-desk.ts';
import type { EntryMark } from '../../domain/marks.ts';
import { checkContentType, takeBody } from '../middleware/body.ts';
import { STALL_MS, written } from '../reader.ts';
import { readBody, readOptions } from '../schemas.ts';
import type { Route, Visit } from '../server.ts';

const PATH = '/api/sql/statements';
/** `Prefer: wait` asks for no more than this. */
const WAIT_MAX_SECONDS = 60;
const PAGE_ROWS = 1_000;
const PAGE_ROWS_MAX = 100_000;

export const statementRoutes = (desk: Desk): readonly Route[] => [
  { method: 'POST', path: PATH, serve: (visit) => begin(desk, visit) },
  { method: 'GET', path: PATH, serve: (visit) => list(desk, visit) },
  { method: 'GET', path: `${PATH}/{id}`, serve: (visit) => look(desk, visit) },
  { method: 'DELETE', path: `${PATH}/{id}`, serve: (visit) => end(desk, visit) },
  { method: 'GET', path: `${PATH}/{id}/results`, serve: (visit) => page(desk, visit) },
];

async function begin(desk: Desk, { caller, request, response }: Visit): Promise<void> {
  checkContentType(request);
  const body = await takeBody(request);
  const settings = readOptions(request.url ?? '');
  const beginning = await desk.begin({ caller, request: readBody(body), settings });
  switch (beginning.kind) {
    case 'full':
      throw new Failure('SQL_STATEMENTS_FULL', { detail: beginning.reason });
    case 'draining':
      throw new Failure('UNAVAILABLE', { detail: 'this replica is being stopped' });
    case 'notOneStatement':
      throw new Failure('SQL_NOT_ONE_STATEMENT', { detail: notOneStatement(beginning.query, beginning.count) });
    case 'begun': {
      const { statement } = beginning;
      await preferredWait(statement, request, response);
      response.setHeader('location', `${PATH}/${statement.state.id}`);
      return sendState(response, statement.state);
    }
  }
}

async function list(desk: Desk, { caller, response }: Visit): Promise<void> {
  const statements = desk.list(caller.principal.id).map(({ state }) => present(state));
  sendJson(response, 200, { statements });
}

async function look(desk: Desk, { caller, params, request, response }: Visit): Promise<void> {
  const statement = found(desk, caller.principal.id, params);
  await preferredWait(statement, request, response);
  sendState(response, statement.state, 200);
}

async function end(desk: Desk, { caller, params, response }: Visit): Promise<void> {
  const statement = found(desk, caller.principal.id, params);
  if (statement.state.status === 'running') {
    statement.cancel();
    return sendState(response, statement.state);
  }
  desk.forget(caller.principal.id, statement.state.id);
  response.writeHead(204).end();
}

/** One that is somebody else's is as unknown as one that never was. */
function found(desk: Desk, principalId: string, [id = '']: readonly string[]): Statement {
  const statement = desk.find(principalId, id);
  if (statement === undefined) throw new Failure('SQL_STATEMENT_UNKNOWN', { detail: 'there is no such statement' });
  return statement;
}

async function page(desk: Desk, { caller, params, request, response }: Visit): Promise<void> {
  const statement = found(desk, caller.principal.id, params);
  const asked = new URL(request.url ?? '', 'http://sql').searchParams;
  const rowsMax = readLimit(asked.get('limit'));
  const { status, error } = statement.state;
  if (status === 'running') throw new Failure('SQL_STATEMENT_RUNNING', { detail: 'the statement has not ended' });
  const opened = statement.open();
  if (opened === undefined) return sendJson(response, 200, { results: error === undefined ? [] : [{ error, notices: [] }] });
  const { answer, done } = opened;
  try {
    const from = placeOf(asked.get('page'), answer.entries);
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
    response.setTimeout(STALL_MS, () => response.destroy());
    for await (const piece of pageOf(answer, from, rowsMax)) if (!(await written(response, piece))) return;
    response.end();
  } finally {
    done();
  }
}

function readLimit(text: string | null): number {
  if (text === null) return PAGE_ROWS;
  const limit = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= PAGE_ROWS_MAX) return limit;
  throw new Failure('SQL_PAGE_MALFORMED', { detail: `limit must be a number from 1 to ${PAGE_ROWS_MAX}` });
}

function placeOf(token: string | null, entries: readonly EntryMark[]): PagePlace {
  const place = token === null ? FIRST_PLACE : readPlace(token, entries);
  if (place === undefined) throw new Failure('SQL_PAGE_MALFORMED', { detail: 'there is no such page' });
  return place;
}

/** `Prefer: wait=5` (RFC 7240): the answer is the final state, if that is there in time. */
async function preferredWait(statement: Statement, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const asked = /(?:^|[,;\s])wait\s*=\s*"?(\d{1,9})"?\s*(?:$|[,;])/i.exec(request.headers['prefer']?.toString() ?? '')?.[1];
  if (asked === undefined) return;
  const seconds = Math.min(Number(asked), WAIT_MAX_SECONDS);
  response.setHeader('preference-applied', `wait=${seconds}`);
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, seconds * 1_000);
  response.once('close', resolve);
  await Promise.race([promise, statement.ended]);
  clearTimeout(timer);
  response.off('close', resolve);
}

/** 202 as long as it runs, if not said otherwise. */
function sendState(response: ServerResponse, state: StatementState, status = state.status === 'running' ? 202 : 200): void {
  sendJson(response, status, present(state));
}

const present = ({ id, status, createdAt, endedAt, expiresAt, error, results }: StatementState): object => ({
  id,
  status,
  createdAt: new Date(createdAt).toISOString(),
  ...(endedAt !== undefined && { endedAt: new Date(endedAt).toISOString() }),
  expiresAt: new Date(expiresAt).toISOString(),
  ...(error !== undefined && { error }),
  ...(results !== undefined && { results }),
});

function sendJson(response: ServerResponse, status: number, value: object): void {
  const body = JSON.stringify(value);
  response
    .writeHead(status, {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'content-length': Buffer.byteLength(body),
    })
    .end(body);
}
