/** `/api/sessions`: a person's own browser sessions, on every device. */
import { Failure } from '@postern/contracts/failure';
import type { RequestHandler } from 'express';
import type { z } from 'zod';

import type { Logins } from '../../domain/ports.ts';
import { send } from '../answers.ts';
import { endedCookie } from '../cookies.ts';
import type { Exchange } from '../exchange.ts';
import { callOf, exchangeOf } from '../exchange.ts';
import type { SessionList } from '../schemas.ts';

const NO_STORE = ['cache-control', 'no-store'] as const;

const principalOf = ({ principal }: Exchange) => {
  if (principal === undefined) throw new TypeError('the route needs a principal');
  return principal;
};

/** GET lists; DELETE ends all, also the one that asks. */
export function createSessions(logins: Logins): RequestHandler {
  return async (request) => {
    const exchange = exchangeOf(request);
    const principal = principalOf(exchange);
    if (request.method === 'DELETE') {
      await logins.revokeAll(principal.id, callOf(exchange));
      return send(exchange, { status: 204, headers: [...clearing(exchange), NO_STORE] });
    }
    const sessions = await logins.list(principal.id, callOf(exchange));
    const body: z.output<typeof SessionList> = {
      sessions: sessions.map((session) => ({ ...session, current: session.id === principal.sessionId })),
    };
    send(exchange, { status: 200, headers: [['content-type', 'application/json'], NO_STORE], body: JSON.stringify(body) });
  };
}

/** DELETE ends one; another person's is not found. */
export function createSession(logins: Logins): RequestHandler {
  return async (request) => {
    const exchange = exchangeOf(request);
    const principal = principalOf(exchange);
    const id = decodeURIComponent(exchange.params[0] ?? '');
    const ended = await logins.revoke(principal.id, id, callOf(exchange));
    if (!ended) throw new Failure('SESSION_NOT_FOUND');
    const headers = id === principal.sessionId ? clearing(exchange) : [];
    send(exchange, { status: 204, headers: [...headers, NO_STORE] });
  };
}

const clearing = (exchange: Exchange): [string, string][] =>
  exchange.identifiedBy === 'cookie' ? [['set-cookie', endedCookie(exchange)]] : [];
