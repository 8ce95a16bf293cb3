/** One request on its way through the edge, and what is known of it so far. */
import type { Principal } from '@postern/contracts/common';
import type { IncomingMessage, ServerResponse } from 'node:http';

import type { Headers } from '../domain/cors.ts';
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

export const callOf = ({ requestId, route }: Exchange): Call => ({ requestId, remainingMs: route?.deadlineMs ?? 0 });

const exchanges = new WeakMap<IncomingMessage, Exchange>();

export const remember = (exchange: Exchange): void => void exchanges.set(exchange.request, exchange);

/** The exchange of a request that Express holds. */
export function exchangeOf(request: IncomingMessage): Exchange {
  const exchange = exchanges.get(request);
  if (exchange === undefined) throw new TypeError('the request did not come through the gate');
  return exchange;
}
