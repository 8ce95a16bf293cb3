/** Pages of other sites: which of them may ask, where a browser sends what vouches for a request by itself. */
import type { CorsRules } from '../domain/cors.ts';
import { createCorsRules, isFixedHost, isForeign } from '../domain/cors.ts';
import type { Route } from '../domain/routes.ts';
import type { Exchange } from './exchange.ts';

/** Of the route: a None listener cannot tell a page from a person, so that there only pages count that were named. */
export const rulesOf = ({ entrance }: Exchange, { cors }: Route, configured: CorsRules): CorsRules =>
  cors === 'any' && entrance.listener.kind !== 'None' ? ANY_ORIGIN : configured;

const ANY_ORIGIN = createCorsRules(['*']);

/** imm-078: the same-origin policy does not hold for sockets, so that it is kept here. */
export function isForeignToSocket(exchange: Exchange, route: Route, cors: CorsRules): boolean {
  const { entrance, head } = exchange;
  const origin = head.get('origin');
  if (origin !== undefined && cors.allows(origin)) return false;
  // Who speaks the wire protocol has shown a secret in it; a page has none that was not given to it.
  if (entrance.listener.kind !== 'None') return route.socket === 'sql' && comesFromElsewhere(exchange);
  return origin !== undefined && (comesFromElsewhere(exchange) || !isFixedHost(head.get('host') ?? ''));
}

/** A page of another site asks, and what vouches for it is sent by the browser itself: the cookie, or where the listener is. */
export function isForeignPage(exchange: Exchange, route: Route, cors: CorsRules): boolean {
  const { request, entrance, head, identifiedBy } = exchange;
  const isGuarded = isUnsafe(request.method) || route.ownPagesOnly === true;
  if (identifiedBy === 'cookie') return isGuarded && comesFromElsewhere(exchange);
  if (entrance.listener.kind !== 'None' || (route.ownPagesOnly !== true && route.dialect !== 'neon')) return false;
  if (cors.allows(head.get('origin') ?? '')) return false;
  return comesFromElsewhere(exchange) || (head.has('origin') && !isFixedHost(head.get('host') ?? ''));
}

const isUnsafe = (method: string | undefined): boolean => method !== 'GET' && method !== 'HEAD';

export function comesFromElsewhere({ entrance: { listener }, head }: Exchange): boolean {
  return isForeign({ host: head.get('host') ?? '', tls: listener.tls, behindTrustedProxy: listener.behindTrustedProxy }, head);
}
