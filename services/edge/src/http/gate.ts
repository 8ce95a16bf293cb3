/** The one way in: every request of every listener is read, matched, identified and judged here, before anything else. */
import { Failure } from '@postern/contracts/failure';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';

import type { CorsRules } from '../domain/cors.ts';
import { corsHeaders, preflightHeaders } from '../domain/cors.ts';
import { asksForWebSocket, readHandshake, WEBSOCKET_VERSION } from '../domain/handshake.ts';
import { promisedBytes, readHead } from '../domain/head.ts';
import type { Claim, Identify } from '../domain/identity.ts';
import { believe, readShown } from '../domain/identity.ts';
import type { Replicas } from '../domain/replicas.ts';
import type { RolePolicy } from '../domain/role-policy.ts';
import type { Route } from '../domain/routes.ts';
import { policyOf } from '../domain/routes.ts';
import { readTarget } from '../domain/targets.ts';
import { send, sendDenial, sendError, sendFailure, text } from './answers.ts';
import { clientOf, requestIdOf } from './client.ts';
import { hasEnded, isTooLate } from './connection.ts';
import type { Entrance, Exchange, Upgrade } from './exchange.ts';
import { callOf, NOBODY_SHOWN } from './exchange.ts';
import { readNeon } from './neon.ts';
import type { Observe } from './observe.ts';
import { comesFromElsewhere, isForeignPage, isForeignToSocket, rulesOf } from './origins.ts';

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

export interface Arrival {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly expectsContinue?: boolean;
  /** The connection, if the request may take it over. */
  readonly upgrade?: Omit<Upgrade, 'key'>;
}

export type Gate = (entrance: Entrance, arrival: Arrival) => void;

/** A 401 of these asks a browser for a name and password. */
const CHALLENGE = [['www-authenticate', 'Basic realm=Postern']] as const;

const ignore = (): void => {};

export function createGate(options: GateOptions): Gate {
  const { observe, serve, log } = options;
  let order = 0;
  return (entrance, arrival) => {
    const { request, response } = arrival;
    if (hasEnded(request)) return void arrival.upgrade?.socket.destroy();
    order += 1;
    const exchange = openExchange(entrance, arrival, order);
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

function openExchange(
  entrance: Entrance,
  { request, response, expectsContinue = false, upgrade }: Arrival,
  order: number,
): Exchange {
  const key = request.headers['sec-websocket-key'] ?? '';
  const exchange: Exchange = {
    entrance,
    request,
    response,
    order,
    upgrade: upgrade === undefined ? undefined : { ...upgrade, key },
    shown: NOBODY_SHOWN,
    connection: undefined,
    tally: undefined,
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
  const isSocket = match.kind !== 'none' && match.route.socket !== undefined;
  if (match.kind === 'none' || (!isSocket && asksForWebSocket(read.head.get('upgrade'))))
    return turnAway(exchange, new Failure('ROUTE_NOT_FOUND'));
  exchange.route = match.route;
  if (match.route.cors !== 'none') {
    const rules = rulesOf(exchange, match.route, cors);
    const origin = read.head.get('origin');
    if (origin !== undefined && request.method === 'OPTIONS') {
      exchange.always = preflightHeaders(rules, origin, match.route.dialect);
      send(exchange, { status: 200 });
      return false;
    }
    exchange.always = corsHeaders(rules, origin);
  }
  if (match.kind === 'otherMethod') {
    sendFailure(exchange, new Failure('METHOD_NOT_ALLOWED'), [['allow', match.allow.join(', ')]]);
    return false;
  }
  exchange.params = match.params;
  if (isSocket) return readUpgrade(exchange);
  if ((promisedBytes(read.head) ?? 0) > match.route.bodyBytesMax) return turnAway(exchange, new Failure('BODY_TOO_LARGE'));
  return true;
}

const WEBSOCKET_OFFER = [
  ['upgrade', 'websocket'],
  ['sec-websocket-version', WEBSOCKET_VERSION],
] as const;

/** Upgrades to other protocols are ignored, as RFC 9110 7.8 allows. */
function readUpgrade(exchange: Exchange): boolean {
  const { request, head, upgrade } = exchange;
  const handshake = readHandshake(request.method, request.httpVersion, head);
  if (handshake.kind === 'upgradeRequired') {
    sendFailure(exchange, new Failure('SOCKET_REQUIRED'), WEBSOCKET_OFFER);
    return false;
  }
  if (handshake.kind === 'malformed') return refuse(exchange, new Failure('SOCKET_MALFORMED', { detail: handshake.reason }));
  if (upgrade === undefined) {
    return refuse(exchange, new Failure('SOCKET_MALFORMED', { detail: 'another request is under way on the connection' }));
  }
  return true;
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
  exchange.shown = readShown(head, { ...route, kind: listener.kind, cookieName: entrance.cookieName });
  if (route.dialect === 'neon') readNeon(exchange);
  if (listener.kind === 'None' && !needsPrincipal(route)) {
    const believed = believe({ shown: exchange.shown, policy });
    if (believed.kind === 'denied') send(exchange, text(401, believed.reason));
    return believed.kind === 'name';
  }
  if (!isServed(route, options)) {
    throw new Failure('UNAVAILABLE', { retryAfterSeconds: 1 });
  }
  if (route.socket !== undefined) return admitSocket(exchange, route, options);
  const identity = await options.identify(claimOf(exchange, policy));
  switch (identity.kind) {
    case 'principal':
      exchange.principal = identity.principal;
      exchange.identifiedBy = identity.by;
      if (isForeignPage(exchange, route, options.cors)) throw new Failure('ORIGIN_REFUSED');
      return true;
    case 'missing':
      sendDenial(exchange, 'unauthorized', route.challenge ? CHALLENGE : []);
      return false;
    case 'denied':
      sendDenial(exchange, identity.reason);
      return false;
    case 'expired':
      sendDenial(exchange, 'unauthorized');
      return false;
    case 'locked':
      throw new Failure('TOO_MANY_ATTEMPTS', { retryAfterSeconds: identity.retryAfterSeconds });
    case 'repeatedCookie':
      throw repeatedCookie();
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

const claimOf = (exchange: Exchange, policy: RolePolicy | undefined): Claim => ({
  call: callOf(exchange),
  kind: exchange.entrance.listener.kind,
  shown: exchange.shown,
  client: exchange.client,
  policy,
  verifier: exchange.entrance.verifier,
});

/** Whether the upgrade is answered at all; who it is by, the first words of the socket say. */
async function admitSocket(exchange: Exchange, route: Route, options: GateOptions): Promise<boolean> {
  const { entrance, shown } = exchange;
  // What an `Authorization` says does not count here: it would be one more place where a client could hide who it is.
  exchange.shown = { ...shown, credentials: { kind: 'none' } };
  if (shown.trusted.kind === 'refused') {
    sendDenial(exchange, 'unauthorized');
    return false;
  }
  if (shown.cookie.kind !== 'none') {
    const identity = await options.identify(claimOf(exchange, policyOf(route, entrance.listener)));
    if (identity.kind === 'repeatedCookie') throw repeatedCookie();
    if (identity.kind === 'expired') {
      sendDenial(exchange, 'unauthorized');
      return false;
    }
    if (identity.kind === 'principal' && comesFromElsewhere(exchange)) throw new Failure('ORIGIN_REFUSED');
  }
  if (isForeignToSocket(exchange, route, options.cors)) throw new Failure('ORIGIN_REFUSED');
  return true;
}

const repeatedCookie = (): Failure => new Failure('HEADER_MALFORMED', { detail: 'the session cookie is there twice' });
