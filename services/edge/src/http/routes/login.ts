/** `POST /api/login` and `POST /api/logout`: a browser's cookie for a name and password. */
import { Failure } from '@postern/contracts/failure';
import type { RequestHandler } from 'express';
import type { z } from 'zod';

import { readSessionCookie } from '../../domain/credentials.ts';
import type { Logins } from '../../domain/ports.ts';
import { send } from '../answers.ts';
import { readBody } from '../body.ts';
import { endedCookie, sessionCookie } from '../cookies.ts';
import type { Exchange } from '../exchange.ts';
import { callOf, exchangeOf } from '../exchange.ts';
import { comesFromElsewhere } from '../origins.ts';
import { LoginBody } from '../schemas.ts';

export function createLogin(logins: Logins): RequestHandler {
  return async (request) => {
    const exchange = exchangeOf(request);
    const { username, password } = await readLogin(exchange);
    const cookie = readSessionCookie(exchange.head, exchange.entrance.cookieName);
    const replaces = cookie.kind === 'token' ? cookie.token : undefined;
    const outcome = await logins.login({ name: username, password, client: exchange.client, replaces }, callOf(exchange));
    switch (outcome.kind) {
      case 'opened':
        return send(exchange, { status: 200, headers: [['set-cookie', sessionCookie(exchange, outcome.token)], NO_STORE] });
      case 'refused':
        return send(exchange, { status: 401, headers: [NO_STORE] });
      case 'locked':
        throw new Failure('TOO_MANY_ATTEMPTS', { retryAfterSeconds: outcome.retryAfterSeconds });
    }
  };
}

const NO_STORE = ['cache-control', 'no-store'] as const;

export function createLogout(logins: Logins): RequestHandler {
  return async (request) => {
    const exchange = exchangeOf(request);
    const cookie = readSessionCookie(exchange.head, exchange.entrance.cookieName);
    if (cookie.kind === 'repeated') throw new Failure('HEADER_MALFORMED', { detail: 'the session cookie is there twice' });
    if (cookie.kind === 'token') {
      if (comesFromElsewhere(exchange)) throw new Failure('ORIGIN_REFUSED');
      await logins.logout(cookie.token, callOf(exchange));
    }
    send(exchange, { status: 200, headers: [['set-cookie', endedCookie(exchange)], NO_STORE] });
  };
}

async function readLogin(exchange: Exchange): Promise<z.output<typeof LoginBody>> {
  const type = exchange.head.get('content-type') ?? '';
  if (!/^application\/(?:[a-z0-9.+-]+\+)?json *(?:;.*)?$/i.test(type) || exchange.head.has('content-encoding')) {
    throw new Failure('LOGIN_CONTENT_TYPE');
  }
  const bytes = await readBody(exchange, exchange.route?.bodyBytesMax ?? 0);
  const parsed = LoginBody.safeParse(parseJson(bytes ?? Buffer.alloc(0)));
  if (!parsed.success) throw new Failure('LOGIN_BODY_SHAPE');
  return parsed.data;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch {
    throw new Failure('LOGIN_BODY_NOT_JSON');
  }
}
