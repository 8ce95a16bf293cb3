/** The administration door, for callers that the edge has signed for this service. */
import { Failure } from '@postern/contracts/failure';
import type { VerifyAssertion } from '@postern/service-kit/assertion';
import { accessMiddleware } from '@postern/service-kit/access';
import { callerOf, requirePrincipal } from '@postern/service-kit/assertion';
import { problemMiddleware } from '@postern/service-kit/problem';
import type { ErrorRequestHandler, Express, RequestHandler } from 'express';
import express from 'express';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';

import type { Keys } from '../domain/keys.ts';
import type { Actor, People } from '../domain/people.ts';
import type { Deadline } from '../domain/ports.ts';
import type { Principal } from '@postern/contracts/common';
import { failureOf, present } from './present.ts';
import { deadlineOf, rememberActor } from './requests.ts';
import { keyRoutes } from './routes/keys.ts';
import { meRoutes } from './routes/me.ts';
import { peopleRoutes } from './routes/people.ts';

export interface HttpOptions {
  readonly people: People;
  readonly keys: Keys;
  readonly judge: (deadline: Deadline, principal: Principal) => Promise<Actor | undefined>;
  readonly verifyAssertion: VerifyAssertion;
  readonly log: Logger;
  readonly metrics: Registry;
}

const BODY_LIMIT = '64kb';

export function createHttp({ people, keys, judge, verifyAssertion, log, metrics }: HttpOptions): Express {
  const app = express().disable('x-powered-by').disable('etag').set('query parser', 'simple').set('case sensitive routing', true);
  const admit: RequestHandler = async (_request, response, next) => {
    const actor = await judge(deadlineOf(), callerOf(response).principal);
    if (actor === undefined) throw new Failure('ASSERTION_INVALID');
    rememberActor(response, actor);
    next();
  };
  app.use(accessMiddleware({ log, metrics }));
  app.use(requirePrincipal(verifyAssertion), admit, noStore);
  app.use(express.json({ limit: BODY_LIMIT, inflate: false, strict: false }));
  app.use(peopleRoutes(people), keyRoutes(keys), meRoutes(people));
  app.use(() => {
    throw new Failure('ROUTE_NOT_FOUND');
  });
  app.use(translate, problemMiddleware(present, log));
  return app;
}

const noStore: RequestHandler = (_request, response, next) => {
  response.setHeader('cache-control', 'no-store');
  next();
};

const translate: ErrorRequestHandler = (error: unknown, _request, _response, next) => next(failureOf(error));
