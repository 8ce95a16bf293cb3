/** What every route needs of a request. */
import assert from 'node:assert/strict';
import { Failure } from '@postern/contracts/failure';
import { issuesOf } from '@postern/rpc/wire';
import type { Request, RequestHandler, Response } from 'express';
import type { z } from 'zod';

import { createDeadlines } from '../domain/deadline.ts';
import type { Actor } from '../domain/people.ts';
import type { Deadline } from '../domain/ports.ts';

const DEADLINE_MS = 10_000;
const deadlineIn = createDeadlines(() => performance.now());

export const deadlineOf = (): Deadline => deadlineIn(DEADLINE_MS);

export function bodyOf<Schema extends z.ZodType>(request: Request, schema: Schema): z.output<Schema> {
  const body: unknown = request.body;
  if (body === undefined) throw new Failure('INVALID_REQUEST', { detail: 'a body of type application/json is needed' });
  return parsed(body, schema);
}

export const queryOf = <Schema extends z.ZodType>(request: Request, schema: Schema): z.output<Schema> =>
  parsed(request.query, schema);

function parsed<Schema extends z.ZodType>(value: unknown, schema: Schema): z.output<Schema> {
  const outcome = schema.safeParse(value);
  if (!outcome.success) throw new Failure('INVALID_REQUEST', { issues: issuesOf(outcome.error) });
  return outcome.data;
}

export const invalid = (pointer: string, message: string): Failure =>
  new Failure('INVALID_REQUEST', { issues: [{ pointer, message }] });

export const crowded = (kind: 'busy' | 'late'): Failure =>
  kind === 'busy' ? new Failure('UNAVAILABLE', { retryAfterSeconds: 1 }) : new Failure('TIMEOUT');

const actors = new WeakMap<Response, Actor>();

export const rememberActor = (response: Response, actor: Actor): void => {
  actors.set(response, actor);
};

/** Who asks; set before any route is reached. */
export function actorOf(response: Response): Actor {
  const actor = actors.get(response);
  assert(actor !== undefined, 'a route was reached without an actor');
  return actor;
}

/** Before anything is parsed or looked up, so that nothing can be learnt. */
export const adminsOnly: RequestHandler = (_request, response, next) => {
  if (!actorOf(response).isAdmin) throw new Failure('ADMIN_REQUIRED');
  next();
};

export const notAllowed =
  (...allowed: readonly string[]): RequestHandler =>
  (_request, response) => {
    response.setHeader('allow', allowed.join(', '));
    throw new Failure('METHOD_NOT_ALLOWED');
  };
