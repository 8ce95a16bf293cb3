/** Sockets from the handshake to their end: who opens one is known before a service hears of it; then bytes pass both ways. */
import type { Principal } from '@postern/contracts/common';
import { Failure } from '@postern/contracts/failure';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';

import type { Attended } from '../domain/attendance.ts';
import { forwardedHeaders } from '../domain/forwarding.ts';
import { acceptOf } from '../domain/handshake.ts';
import type { Identify } from '../domain/identity.ts';
import type { AssertionMemory, RevocationWatch, RevocationWatches } from '../domain/memory.ts';
import type { TunnelOutcome, Tunnels } from '../domain/ports.ts';
import type { Replicas, Taken } from '../domain/replicas.ts';
import type { Route, SocketKind } from '../domain/routes.ts';
import { policyOf } from '../domain/routes.ts';
import { sendFailure } from './answers.ts';
import type { ClientSocket } from './client-socket.ts';
import { createClientSocket } from './client-socket.ts';
import type { Entrance, Exchange, Tally, Upgrade } from './exchange.ts';
import { callOf } from './exchange.ts';
import type { Observe } from './observe.ts';
import type { Opening, Refusal, SocketProtocol } from './socket-protocol.ts';
import {
  AWAY,
  BROKEN,
  DRAINING,
  ENDED,
  refusalOfError,
  refusalOfIdentity,
  refusalOfService,
  UNAUTHORIZED,
} from './socket-protocol.ts';
import type { Splice } from './splice.ts';
import { splice } from './splice.ts';
import type { WaitingLimits } from './waiting.ts';
import { createWaiting } from './waiting.ts';

export interface SocketOptions {
  readonly protocols: Readonly<Record<SocketKind, SocketProtocol>>;
  readonly identify: Identify;
  readonly assertions: AssertionMemory;
  readonly watches: RevocationWatches;
  /** Watches over a socket that a login session opened, until the answer is called. */
  readonly attend: (attended: Attended) => () => void;
  readonly replicas: Replicas;
  readonly tunnels: Tunnels<Duplex>;
  readonly limits: SocketLimits;
  readonly observe: Observe;
  readonly log: Logger;
}

export interface SocketLimits extends WaitingLimits {
  /** Longest time for a client to say who it is. */
  readonly authMs: number;
}

export interface Sockets {
  /** Takes an admitted upgrade over. */
  take(exchange: Exchange, upgrade: Upgrade, route: Route, kind: SocketKind): Promise<void>;
  /** Ends the sockets of a listener: each when what is under way on it is done, all when the time is over. */
  drain(entrance: Entrance, deadlineMs: number): void;
}

/** What can be done with a socket, whatever it is doing. */
interface Open {
  readonly entrance: Entrance;
  /** Asks it to end soon. */
  drain(): void;
  close(refusal: Refusal): void;
}

/** News of an end may come to the edge a little later than to the service, which did not know the socket yet when it came. */
const NEWS_LATE_MS = 2_000;
const IDENTIFY_ATTEMPTS = 3;

export function createSockets(options: SocketOptions): Sockets {
  const { protocols, limits, observe, log } = options;
  const waiting = createWaiting(limits);
  const all = new Set<Open>();

  const converse = async (
    exchange: Exchange,
    route: Route,
    client: ClientSocket,
    protocol: SocketProtocol,
  ): Promise<Splice | undefined> => {
    const refuse = (refusal: Refusal, user = ''): undefined => {
      if (exchange.tally !== undefined) exchange.tally.status = refusal.status;
      protocol.refuse(client, refusal, user);
    };
    let user = '';
    try {
      const opening = await protocol.open(client, exchange);
      if (opening === undefined) return undefined;
      if (opening.kind === 'refusal') return refuse(opening);
      ({ user } = opening);
      using watch = options.watches.begin();
      const admitted = await identifyFor(exchange, route, opening, watch, options);
      if (admitted.kind === 'refusal') return refuse(admitted, user);
      exchange.principal = admitted.principal;
      const tunnel = await connect(exchange, route, opening.target, admitted.assertion, options);
      if (tunnel.kind === 'refusal') return refuse(tunnel, user);
      if (client.isOver) {
        tunnel.abandon();
        return undefined;
      }
      if (watch.concerns(admitted.principal)) {
        tunnel.abandon();
        return refuse(ENDED, user);
      }
      const joined = tunnel.join(client.socket, opening.release(client));
      watchOn(options.watches, client.socket, admitted.principal, joined);
      attendTo(options.attend, client.socket, admitted.principal, opening, joined);
      return joined;
    } catch (error) {
      const refusal = refusalOfError(error);
      if (refusal === undefined) log.error({ err: error, requestId: exchange.requestId }, 'socket failed');
      return refuse(refusal ?? BROKEN, user);
    }
  };

  return {
    async take(exchange, upgrade, route, kind) {
      // Sockets have been asked to end already: one more would not hear of it.
      if (exchange.entrance.isClosing()) return sendFailure(exchange, new Failure('UNAVAILABLE', { retryAfterSeconds: 1 }));
      const admission = waiting(exchange.entrance, exchange.client);
      if (admission.kind === 'full') {
        const code = admission.of === 'client' ? 'SOCKET_LIMIT' : 'UNAVAILABLE';
        return sendFailure(exchange, new Failure(code, { retryAfterSeconds: 1 }));
      }
      const { socket } = upgrade;
      const protocol = protocols[kind];
      takeOver(exchange, upgrade);
      const client = createClientSocket({
        socket,
        head: upgrade.head,
        messageBytesMax: protocol.messageBytesMax,
        waitMs: limits.authMs,
      });
      /** Once both sides are known to each other. */
      const state: { joined?: Splice | undefined } = {};
      const tally: Tally = {
        status: 101,
        get bytesIn() {
          return state.joined?.bytesIn ?? 0;
        },
        get bytesOut() {
          return state.joined?.bytesOut ?? 0;
        },
      };
      exchange.tally = tally;
      observe.upgraded(exchange);
      const close = ({ code, reason, status }: Refusal): void => {
        if (state.joined !== undefined) return state.joined.close(code, reason);
        tally.status = status;
        client.close(code, reason);
      };
      const open: Open = {
        entrance: exchange.entrance,
        drain: () => (state.joined === undefined ? close(DRAINING) : state.joined.drain()),
        close,
      };
      all.add(open);
      socket.once('close', () => {
        all.delete(open);
        admission.leave();
      });
      state.joined = await converse(exchange, route, client, protocol);
      admission.leave();
    },
    drain(entrance, deadlineMs) {
      const own = [...all].filter((open) => open.entrance === entrance);
      for (const open of own) open.drain();
      setTimeout(() => {
        for (const open of own) open.close(DRAINING);
      }, deadlineMs).unref();
    },
  };
}

/** Answers the handshake. From here on the connection is no HTTP any more. */
function takeOver({ response, requestId }: Exchange, { socket, key }: Upgrade): void {
  response.detachSocket(response.socket ?? neverAttached());
  socket.once('close', () => response.emit('close'));
  const lines = ['HTTP/1.1 101 Switching Protocols', 'upgrade: websocket', 'connection: Upgrade'];
  lines.push(`sec-websocket-accept: ${acceptOf(key)}`, `x-request-id: ${requestId}`);
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
}

function neverAttached(): never {
  throw new TypeError('the response has no connection');
}

type Admitted = { readonly kind: 'admitted'; readonly principal: Principal; readonly assertion: string };

/** Who it is, signed. What ended meanwhile is asked about again; it may have ended for somebody else's reason. */
async function identifyFor(
  exchange: Exchange,
  route: Route,
  { shown }: Opening,
  watch: RevocationWatch,
  { identify, assertions }: SocketOptions,
): Promise<Admitted | Refusal> {
  const { entrance, client } = exchange;
  const { listener, verifier } = entrance;
  const call = callOf(exchange);
  for (let attempt = 0; attempt < IDENTIFY_ATTEMPTS; attempt += 1) {
    watch.forget();
    const policy = policyOf(route, listener);
    const identity = await identify({ call, kind: listener.kind, shown, client, policy, verifier });
    if (identity.kind !== 'principal') return refusalOfIdentity(identity);
    const { principal } = identity;
    const assertion = await assertions.assertionFor(principal, 'sql', call);
    if (!watch.concerns(principal)) return { kind: 'admitted', principal, assertion };
  }
  return UNAUTHORIZED;
}

interface Connected {
  readonly kind: 'connected';
  join(client: Duplex, toUpstream: Buffer): Splice;
  abandon(): void;
}

/** Tries replicas until one takes the socket; none has seen anything of it but who it is by. */
async function connect(
  exchange: Exchange,
  route: Route,
  target: string,
  assertion: string,
  { replicas, tunnels }: SocketOptions,
): Promise<Connected | Refusal> {
  const { head, requestId } = exchange;
  const tried = new Set<string>();
  let last: Refusal = AWAY;
  for (;;) {
    const taken = replicas.take('sql', tried);
    if (taken === undefined) return last;
    tried.add(taken.replicaId);
    const attached = { host: taken.host, requestId, assertion, deadlineMs: route.deadlineMs };
    const outcome = await tunnels.open({ origin: taken.url, target, headers: forwardedHeaders(head, attached) });
    if (outcome.kind === 'open') return connected(outcome, taken);
    taken.release();
    if (outcome.kind === 'broken') {
      if (!outcome.isReached) taken.suspect();
      continue;
    }
    last = outcome.status === 401 ? UNAUTHORIZED : refusalOfService(outcome.status, outcome.body);
    // One that is going away, or has no room; another may have.
    if (outcome.status !== 503) return last;
  }
}

function connected({ stream, head }: Extract<TunnelOutcome<Duplex>, { kind: 'open' }>, taken: Taken): Connected {
  stream.once('close', () => taken.release());
  return {
    kind: 'connected',
    join: (client, toUpstream) => splice({ client, upstream: stream, toUpstream, toClient: head }),
    abandon: () => void stream.destroy(),
  };
}

/** What a cookie opened ends when the cookie's session does, also by standing idle. */
function attendTo(
  attend: SocketOptions['attend'],
  socket: Duplex,
  { id: principalId, sessionId }: Principal,
  { shown: { cookie } }: Opening,
  joined: Splice,
): void {
  if (sessionId === undefined || cookie.kind !== 'token') return;
  const { token } = cookie;
  const ended = (): void => joined.close(ENDED.code, ENDED.reason);
  socket.once('close', attend({ token, principalId, sessionId, heard: () => joined.bytesIn, ended }));
}

/** Until the service must have heard what the edge has. */
function watchOn(watches: RevocationWatches, socket: Duplex, principal: Principal, joined: Splice): void {
  const watch = watches.begin();
  const end = (): void => {
    clearTimeout(late);
    watch[Symbol.dispose]();
  };
  const late = setTimeout(end, NEWS_LATE_MS);
  socket.once('close', end);
  watch.onceConcerned(principal, () => joined.close(ENDED.code, ENDED.reason));
}
