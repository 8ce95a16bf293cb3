/** The one way in: every request of every listener is read, matched, identified and judged here, before anything else. */
import { Failure } from '@postern/contracts/failure';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';

import type { CorsRules } from '../domain/cors.ts';
import { corsHeaders, isForeign, preflightHeaders } from '../domain/cors.ts';
import { promisedBytes, readHead } from '../domain/head.ts';
import type { Identify } from '../domain/identity.ts';
import { believe } from '../domain/identity.ts';
import type { Replicas } from '../domain/replicas.ts';
import type { Route } from '../domain/routes.ts';
import { policyOf } from '../domain/routes.ts';
import { readTarget } from '../domain/targets.ts';
import { send, sendError, sendFailure, text } from './answers.ts';
import { clientOf, requestIdOf } from './client.ts';
import { hasEnded, isTooLate } from './connection.ts';
import type { Entrance, Exchange } from './exchange.ts';
import { callOf } from './exchange.ts';
import type { Observe } from './observe.ts';

export interface GateOptions {
  readonly cors: CorsRules;
  readonly identify: Identify;
  readonly replicas: Replicas;
  /** Whether the bus is there: without it, nothing that was known still holds. */
  readonly isBusUp: () => boolean;
  readonly observe: Observe;
  readonly log: Logger;
  /** Answers an admitted request. */
  readonly serve: (exchange: Exchange) => Promise<void> | void;
}

export type Gate = (entrance: Entrance, request: IncomingMessage, response: ServerResponse, expectsContinue?: boolean) => void;

/** A 401 of these asks a browser for a name and password. */
const CHALLENGE = [['www-authenticate', 'Basic realm=Postern']] as const;

const ignore = (): void => {};

export function createGate(options: GateOptions): Gate {
  const { observe, serve, log } = options;
  let order = 0;
  return (entrance, request, response, expectsContinue = false) => {
    if (hasEnded(request)) return;
    order += 1;
    const exchange = openExchange({ entrance, request, response, order, expectsContinue });
    // A client that leaves in the middle of its body is told nothing; `close` says the rest.
    request.on('error', ignore);
    response.on('error', ignore);
    const isRouted = readRequest(exchange, options);
    observe.began(exchange);
    response.once('close', () => {
      exchange.closed?.();
      observe.ended(exchange);
    });
    if (!isRouted) return;
    admit(exchange, options)
      .then((admitted) => {
        // There is no connection that its response could close with.
        if (isTooLate(exchange)) return void response.emit('close');
        return admitted && !response.destroyed ? serve(exchange) : undefined;
      })
      .catch((error: unknown) => {
        sendError(exchange, error, log);
      });
  };
}

function openExchange({
  entrance,
  request,
  response,
  order,
  expectsContinue,
}: Pick<Exchange, 'entrance' | 'request' | 'response' | 'order' | 'expectsContinue'>): Exchange {
  const exchange: Exchange = {
    entrance,
    request,
    response,
    order,
    requestId: requestIdOf(entrance, request),
    startedAtMs: performance.now(),
    head: new Map(),
    client: '',
    target: '',
    route: undefined,
    params: [],
    always: [],
    principal: undefined,
    identifiedBy: undefined,
    expectsContinue,
    brokenOff: false,
    closed: undefined,
  };
  return exchange;
}

/** Reads head and target and finds the route; what is ambiguous or not there is answered at once. */
function readRequest(exchange: Exchange, { cors }: GateOptions): boolean {
  const { entrance, request } = exchange;
  const read = readHead(request.rawHeaders, request.httpVersion);
  if (read.kind === 'mistake') return refuse(exchange, new Failure(read.code, { detail: read.reason }));
  exchange.head = read.head;
  exchange.client = clientOf(entrance.listener, request, read.head);
  const expectation = read.head.get('expect');
  if (expectation !== undefined && expectation.toLowerCase() !== '100-continue') {
    return refuse(exchange, new Failure('EXPECTATION_FAILED'));
  }
  const target = readTarget(request.url ?? '');
  if (target.kind === 'malformed') return refuse(exchange, new Failure('TARGET_MALFORMED', { detail: target.reason }));
  exchange.target = target.path + target.query;
  const match = entrance.match(request.method ?? '', target.path);
  if (match.kind === 'none' || asksForWebSocket(exchange)) return turnAway(exchange, new Failure('ROUTE_NOT_FOUND'));
  exchange.route = match.route;
  if (match.route.cors === 'configured') {
    const origin = read.head.get('origin');
    if (origin !== undefined && request.method === 'OPTIONS') {
      exchange.always = preflightHeaders(cors, origin);
      send(exchange, { status: 200 });
      return false;
    }
    exchange.always = corsHeaders(cors, origin);
  }
  if (match.kind === 'otherMethod') {
    sendFailure(exchange, new Failure('METHOD_NOT_ALLOWED'), [['allow', match.allow.join(', ')]]);
    return false;
  }
  exchange.params = match.params;
  if ((promisedBytes(read.head) ?? 0) > match.route.bodyBytesMax) return turnAway(exchange, new Failure('BODY_TOO_LARGE'));
  return true;
}

/** No route takes an upgrade to WebSocket yet; upgrades to other protocols are ignored, as RFC 9110 7.8 allows. */
function asksForWebSocket({ head }: Exchange): boolean {
  const upgrade = head.get('upgrade');
  return upgrade !== undefined && upgrade.toLowerCase().includes('websocket');
}

/** The connection may be out of step with its client. */
function refuse(exchange: Exchange, failure: Failure): false {
  sendFailure(exchange, failure, [], true);
  return false;
}

function turnAway(exchange: Exchange, failure: Failure): false {
  sendFailure(exchange, failure);
  return false;
}

async function admit(exchange: Exchange, options: GateOptions): Promise<boolean> {
  const { entrance, head } = exchange;
  const { listener } = entrance;
  const route = exchange.route;
  if (route === undefined || route.auth !== 'principal') return route !== undefined;
  const policy = policyOf(route, listener);
  if (listener.kind === 'None' && !needsPrincipal(route)) {
    const believed = believe({ head, trustedHeader: route.trustedHeader, policy });
    if (believed.kind === 'denied') send(exchange, text(401, believed.reason));
    return believed.kind === 'name';
  }
  if (!isServed(route, options)) {
    throw new Failure('UNAVAILABLE', { retryAfterSeconds: 1 });
  }
  const identity = await options.identify({
    call: callOf(exchange),
    kind: listener.kind,
    head,
    client: exchange.client,
    cookieName: entrance.cookieName,
    trustedHeader: route.trustedHeader && listener.kind === 'None',
    cookie: route.cookie && listener.kind !== 'None',
    policy,
    verifier: entrance.verifier,
  });
  switch (identity.kind) {
    case 'principal':
      exchange.principal = identity.principal;
      exchange.identifiedBy = identity.by;
      if (isForeignPage(exchange, route, options)) throw new Failure('ORIGIN_REFUSED');
      return true;
    case 'missing':
      send(exchange, text(401, 'unauthorized', route.challenge ? CHALLENGE : []));
      return false;
    case 'denied':
      send(exchange, text(401, identity.reason));
      return false;
    case 'locked':
      throw new Failure('TOO_MANY_ATTEMPTS', { retryAfterSeconds: identity.retryAfterSeconds });
    case 'repeatedCookie':
      throw new Failure('HEADER_MALFORMED', { detail: 'the session cookie is there twice' });
  }
}

/** Whether the route acts for somebody; a page of the edge itself only asks whether one may see it. */
const needsPrincipal = ({ target }: Route): boolean =>
  'service' in target || target.local === 'sessions' || target.local === 'session';

function isServed({ target }: Route, { isBusUp, replicas }: GateOptions): boolean {
  return (
    isBusUp() &&
    replicas.hasReady('auth') &&
    replicas.hasReady('session') &&
    (!('service' in target) || replicas.hasReady(target.service))
  );
}

/** A page of another site asks, and what vouches for it is sent by the browser itself: the cookie, or where the listener is. */
function isForeignPage(exchange: Exchange, route: Route, { cors }: GateOptions): boolean {
  const { request, entrance, head, identifiedBy } = exchange;
  const isGuarded = isUnsafe(request.method) || route.ownPagesOnly === true;
  if (identifiedBy === 'cookie') return isGuarded && comesFromElsewhere(exchange);
  if (entrance.listener.kind !== 'None' || route.ownPagesOnly !== true) return false;
  return comesFromElsewhere(exchange) && !cors.allows(head.get('origin') ?? '');
}

const isUnsafe = (method: string | undefined): boolean => method !== 'GET' && method !== 'HEAD';

export function comesFromElsewhere({ entrance: { listener }, head }: Exchange): boolean {
  return isForeign({ host: head.get('host') ?? '', tls: listener.tls, behindTrustedProxy: listener.behindTrustedProxy }, head);
}
