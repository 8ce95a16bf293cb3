/** The Express app behind the gate: the edge's own answers, and streamed bodies on their way to services. */
import type { ErrorRequestHandler, Express, RequestHandler } from 'express';
import express from 'express';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';

import type { Logins } from '../domain/ports.ts';
import type { LocalRoute, Route } from '../domain/routes.ts';
import { sendError } from './answers.ts';
import { exchangeOf } from './exchange.ts';
import type { Build } from './routes/home.ts';
import { createHome } from './routes/home.ts';
import { createLogin, createLogout } from './routes/login.ts';
import type { Readiness } from './routes/probes.ts';
import { createMetrics, createReadyz, livez } from './routes/probes.ts';
import { createSession, createSessions } from './routes/sessions.ts';
import type { UploadOptions } from './uploads.ts';
import { createUploads } from './uploads.ts';

export interface LocalOptions {
  readonly logins: Logins;
  readonly metrics: Registry;
  readonly readiness: Readiness;
  readonly routeTable: readonly Route[];
  readonly build: Build;
  readonly uploads: UploadOptions;
  readonly log: Logger;
}

export function createLocal(options: LocalOptions): Express {
  const routes: Readonly<Record<LocalRoute, RequestHandler>> = {
    home: createHome(options.routeTable, options.build),
    login: createLogin(options.logins),
    logout: createLogout(options.logins),
    sessions: createSessions(options.logins),
    session: createSession(options.logins),
    livez,
    readyz: createReadyz(options.readiness),
    metrics: createMetrics(options.metrics),
  };
  // The route was found before Express came in: paths are read once, by one reader.
  const dispatch: RequestHandler = (request, response, next) => {
    const target = exchangeOf(request).route?.target;
    return target !== undefined && 'local' in target ? routes[target.local](request, response, next) : next();
  };
  return express()
    .disable('x-powered-by')
    .disable('etag')
    .use(dispatch, createUploads(options.uploads), presentErrors(options.log));
}

/** Express 5 brings every rejected handler here. */
function presentErrors(log: Logger): ErrorRequestHandler {
  return (error: unknown, request, _response, _next) => sendError(exchangeOf(request), error, log);
}
