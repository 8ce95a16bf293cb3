/** One request on its way through the edge, and what is known of it so far. */
import type { Principal } from '@postern/contracts/common';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

import type { Headers } from '../domain/cors.ts';
import type { Shown } from '../domain/identity.ts';
import type { Head } from '../domain/head.ts';
import type { Listener } from '../domain/listeners.ts';
import type { Call, TokenVerifier } from '../domain/ports.ts';
import type { MatchRoute, Route } from '../domain/routes.ts';

/** A listener with all that follows from its document. */
export interface Entrance {
  readonly listener: Listener;
  readonly match: MatchRoute;
  readonly cookieName: string;
  readonly verifier: TokenVerifier | undefined;
  /** No new connection is taken soon: answers ask the client to go elsewhere. */
  isDraining(): boolean;
  /** The time in which that was only said is over: sockets are asked to end. */
  isClosing(): boolean;
}

export interface Exchange {
  readonly entrance: Entrance;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly requestId: string;
  /** Grows with every request. */
  readonly order: number;
  readonly startedAtMs: number;
  head: Head;
  client: string;
  /** Path and query, as they came. */
  target: string;
  route: Route | undefined;
  params: readonly string[];
  /** The connection, if the request asks to take it over. */
  readonly upgrade: Upgrade | undefined;
  /** What is said of who it is by, and what the identity and the origin are judged by. */
  shown: Shown;
  /** As a connection string names them. */
  connection: { readonly user: string; readonly database: string } | undefined;
  /** Once the connection has been taken over. */
  tally: Tally | undefined;
  /** Headers of whatever the answer is. */
  always: Headers;
  principal: Principal | undefined;
  identifiedBy: 'header' | 'cookie' | undefined;
  /** The client waits for `100 Continue` before it sends the body. */
  expectsContinue: boolean;
  /** The service broke off an answer that had begun. */
  brokenOff: boolean;
  /** Called when the answer has gone out, or the client has gone. */
  closed: (() => void) | undefined;
}

export interface Upgrade {
  readonly socket: Duplex;
  /** What came behind the handshake. */
  readonly head: Buffer;
  readonly key: string;
}

/** What is told of a socket when it has ended. */
export interface Tally {
  /** 101, or what a request would have been answered whose credentials were not good enough. */
  status: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export const NOBODY_SHOWN: Shown = { credentials: { kind: 'none' }, cookie: { kind: 'none' }, trusted: { kind: 'none' } };

export const pathOf = ({ target }: Exchange): string => target.split('?', 1)[0] ?? '';

export const callOf = ({ requestId, route }: Exchange): Call => ({ requestId, remainingMs: route?.deadlineMs ?? 0 });

const exchanges = new WeakMap<IncomingMessage, Exchange>();

export const remember = (exchange: Exchange): void => void exchanges.set(exchange.request, exchange);

/** The exchange of a request that Express holds. */
export function exchangeOf(request: IncomingMessage): Exchange {
  const exchange = exchanges.get(request);
  if (exchange === undefined) throw new TypeError('the request did not come through the gate');
  return exchange;
}
