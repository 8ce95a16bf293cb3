/** Ports in, request handlers out: what all listeners share. */
import { isFailure } from '@postern/contracts/failure';
import type { ServiceName } from '@postern/contracts/mesh';
import { ANNOUNCE_EXPIRY_MS } from '@postern/contracts/mesh';
import type { Agent, IncomingMessage } from 'node:http';
import { ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';

import type { SessionLives } from './domain/attendance.ts';
import { createAttendance } from './domain/attendance.ts';
import { createCancels } from './domain/cancels.ts';
import { createCorsRules } from './domain/cors.ts';
import { cookieName } from './domain/credentials.ts';
import { createIdentify } from './domain/identity.ts';
import type { Listener } from './domain/listeners.ts';
import { asksForWebSocket } from './domain/handshake.ts';
import { createAssertionMemory, createIdentityMemory, createRevocationWatches } from './domain/memory.ts';
import type { Clock, Credentials, Logins, Mint, Revocation, TokenVerifier, Tunnels, Upstream } from './domain/ports.ts';
import { createReplicas } from './domain/replicas.ts';
import type { Replicas } from './domain/replicas.ts';
import { createMatcher } from './domain/routes.ts';
import type { Entrance } from './http/exchange.ts';
import { remember } from './http/exchange.ts';
import { canHold, forward } from './http/forward.ts';
import { createGate } from './http/gate.ts';
import { createLocal } from './http/local.ts';
import { endSoon } from './http/connection.ts';
import type { ListenerHandler, ListenerState } from './http/listen.ts';
import { createObserve } from './http/observe.ts';
import type { Cancel } from './http/postgres-socket.ts';
import { createPostgresSocket } from './http/postgres-socket.ts';
import { routeTable } from './http/route-table.ts';
import type { Build } from './http/routes/home.ts';
import { createReadiness } from './http/readiness.ts';
import type { SocketLimits } from './http/sockets.ts';
import { createSockets } from './http/sockets.ts';
import { sqlSocket } from './http/sql-socket.ts';

export interface AppOptions {
  readonly credentials: Credentials;
  readonly logins: Logins;
  readonly sessionLives: SessionLives;
  readonly mint: Mint;
  readonly upstream: Upstream;
  readonly tunnels: Tunnels<Duplex>;
  readonly socketLimits: SocketLimits;
  /** Tells the mesh that somebody asks to cancel what runs in a session; whether one that has it has done so. */
  readonly cancel: (key: Cancel) => Promise<boolean>;
  /** Connections of streamed bodies. */
  readonly agent: Agent;
  readonly verifierFor: (listener: Listener) => TokenVerifier | undefined;
  readonly corsOrigins: readonly string[];
  readonly isBusUp: () => boolean;
  readonly metrics: Registry;
  readonly log: Logger;
  readonly clock: Clock;
  /** A client that reads nothing of an answer for so long is given up. */
  readonly stallMs: number;
  readonly build: Build;
}

export interface App {
  readonly replicas: Pick<Replicas, 'hear'>;
  forget(revocation: Revocation): void;
  /** News may have been missed: nothing that is remembered counts any more. */
  forgetAll(): void;
  isReady(): boolean;
  /** Resolves when the edge can serve, or when the signal says to wait no longer. */
  whenReady(signal: AbortSignal): Promise<void>;
  /** Nobody waits for readiness any longer. */
  drain(): void;
  entrance(listener: Listener, state: ListenerState): ListenerHandler;
}

/** An answer of auth or session is remembered this long; revocations are heard sooner. */
const IDENTITY_MS = 5_000;
const REMEMBERED_MAX = 10_000;

/** SQL can be served when all of these can. */
const NEEDED: readonly ServiceName[] = ['auth', 'session', 'sql'];

export function createApp(options: AppOptions): App {
  const { clock, log, metrics, isBusUp, upstream, agent } = options;
  const identities = createIdentityMemory({ clock, ttlMs: IDENTITY_MS, max: REMEMBERED_MAX });
  const mint = forgettingMint(options.mint, (revocation) => forget(revocation));
  const assertions = createAssertionMemory(mint, { clock, max: REMEMBERED_MAX });
  const watches = createRevocationWatches();
  const replicas = createReplicas(clock, ANNOUNCE_EXPIRY_MS);
  const readiness = createReadiness(() => isBusUp() && NEEDED.every((service) => replicas.hasReady(service)));
  const forget = (revocation: Revocation): void => {
    identities.forget(revocation);
    assertions.forget(revocation);
    watches.hear(revocation);
  };
  const forwarding = { upstream, replicas, assertions, stallMs: options.stallMs };
  const local = createLocal({
    logins: forgettingLogins(options.logins, forget),
    metrics,
    readiness,
    routeTable,
    build: options.build,
    uploads: { replicas, assertions, agent, stallMs: options.stallMs },
    log,
  });
  const observe = createObserve(metrics, log);
  const identify = createIdentify(options.credentials, identities);
  const cancel = createCancels({ clock, wait: async (ms) => delay(ms), ask: options.cancel });
  const sockets = createSockets({
    protocols: {
      sql: sqlSocket,
      postgres: createPostgresSocket(async (key, { client }) => cancel(key, client)),
    },
    identify,
    assertions,
    watches,
    attend: createAttendance({ lives: options.sessionLives, clock, wait }),
    replicas,
    tunnels: options.tunnels,
    limits: options.socketLimits,
    observe,
    log,
  });
  const gate = createGate({
    cors: createCorsRules(options.corsOrigins),
    identify,
    replicas,
    isBusUp,
    observe,
    log,
    serve(exchange) {
      const { route, upgrade } = exchange;
      if (route?.socket !== undefined && upgrade !== undefined) return sockets.take(exchange, upgrade, route, route.socket);
      const target = route?.target;
      if (target !== undefined && 'service' in target && canHold(exchange)) {
        return forward(exchange, target.service, forwarding);
      }
      remember(exchange);
      return void local(exchange.request, exchange.response);
    },
  });
  return {
    replicas: {
      hear(announced) {
        replicas.hear(announced);
        readiness.changed();
      },
    },
    forget,
    forgetAll() {
      identities.clear();
      assertions.clear();
      watches.missed();
    },
    isReady: readiness.isReady,
    whenReady: readiness.whenReady,
    drain: readiness.drain,
    entrance(listener, state) {
      const entrance: Entrance = {
        listener,
        match: createMatcher(routeTable, listener),
        cookieName: cookieName(listener.tls),
        verifier: listener.kind === 'Oidc' ? options.verifierFor(listener) : undefined,
        ...state,
      };
      return {
        request: (request, response, expectsContinue) => gate(entrance, { request, response, expectsContinue }),
        takesUpgrade: (request) => isForSocket(entrance, request),
        upgrade: (request, socket, head) =>
          gate(entrance, { request, response: responseOn(request, socket), upgrade: { socket, head } }),
        drainSockets: (deadlineMs) => sockets.drain(entrance, deadlineMs),
      };
    },
  };
}

/** Whether the path is one that takes connections over; everything else about the request the gate judges. */
function isForSocket({ match }: Entrance, { method = '', url = '', headers }: IncomingMessage): boolean {
  if (!asksForWebSocket(headers.upgrade)) return false;
  const matched = match(method, url.split('?', 1)[0] ?? '');
  return matched.kind === 'route' && matched.route.socket !== undefined;
}

/** An upgrade that is refused is answered like any request; its connection ends with the answer. */
function responseOn(request: IncomingMessage, socket: Duplex): ServerResponse {
  const response = new ServerResponse(request);
  socket.on('error', () => {});
  if (!(socket instanceof Socket)) throw new TypeError('an upgrade comes over a socket');
  response.assignSocket(socket);
  response.once('finish', () => endSoon(socket));
  return response;
}

const wait = (ms: number, then: () => void): { cancel(): void } => {
  const timer = setTimeout(then, ms).unref();
  return { cancel: () => clearTimeout(timer) };
};

/** Auth signs no more for whom it has ended: what is remembered of them is older than that, and the news was not heard. */
const forgettingMint =
  (mint: Mint, forget: (revocation: Revocation) => void): Mint =>
  async (principal, audience, call) => {
    try {
      return await mint(principal, audience, call);
    } catch (error) {
      if (isFailure(error, 'ASSERTION_INVALID')) forget({ principalId: principal.id });
      throw error;
    }
  };

/** What is ended here is forgotten here at once, before the answer; other replicas hear of it on the bus. */
const forgettingLogins = (logins: Logins, forget: (revocation: Revocation) => void): Logins => ({
  ...logins,
  async revoke(principalId, id, call) {
    const ended = await logins.revoke(principalId, id, call);
    forget({ principalId, sessionId: id });
    return ended;
  },
  async revokeAll(principalId, call) {
    await logins.revokeAll(principalId, call);
    forget({ principalId });
  },
});
