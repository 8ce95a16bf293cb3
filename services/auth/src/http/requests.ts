/** What every route needs of a request. */
import assert from 'node:assert/strict';
import { Failure } from '@postern/contracts/failure';
import { issuesOf } from '@postern/contracts/issues';
import type { Request, RequestHandler, Response } from 'express';
import type { z } from 'zod';

import { createDeadlines } from '../domain/deadline.ts';
import type { Actor } from '../domain/people.ts';
import type { Deadline } from '../domain/ports.ts';

const DEADLINE_MS = 10_000;
const deadlineIn = createDeadlines(() => performance.now());

export const deadlineOf = (): Deadline => deadlineIn(DEADLINE_MS);

export function bodyOf<Schema extends z.ZodType>(request: Request, schema: Schema): z.output<Schema> {
  const { 'content-type': type = '', 'content-length': length } = request.headers;
  if (!JSON_TYPE.test(type)) throw new Failure('AUTH_CONTENT_TYPE');
  const body: unknown = request.body;
  // The parser takes an empty body for an empty object.
  if (body === undefined || length === '0') throw new Failure('INVALID_REQUEST', { detail: 'the body is not JSON' });
  return parsed(body, schema, 'AUTH_BODY_SHAPE');
}

const JSON_TYPE = /^application\/json *(?:;|$)/i;

export const queryOf = <Schema extends z.ZodType>(request: Request, schema: Schema): z.output<Schema> =>
  parsed(request.query, schema, 'INVALID_REQUEST');

function parsed<Schema extends z.ZodType>(
  value: unknown,
  schema: Schema,
  code: 'AUTH_BODY_SHAPE' | 'INVALID_REQUEST',
): z.output<Schema> {
  const outcome = schema.safeParse(value);
  if (!outcome.success) throw new Failure(code, { issues: issuesOf(outcome.error) });
  return outcome.data;
}

/** A value in the body that a rule of the domain refuses. */
export const invalid = (pointer: string, message: string): Failure =>
  new Failure('AUTH_BODY_SHAPE', { issues: [{ pointer, message }] });

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
