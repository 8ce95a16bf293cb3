/** The login cookie: opaque, and out of reach for scripts and other sites. */
import type { Exchange } from './exchange.ts';

const ATTRIBUTES = 'Path=/; HttpOnly; SameSite=Strict';

const attributesOf = ({ entrance }: Exchange): string => (entrance.listener.tls ? `${ATTRIBUTES}; Secure` : ATTRIBUTES);

export const sessionCookie = (exchange: Exchange, token: string): string =>
  `${exchange.entrance.cookieName}=${token}; ${attributesOf(exchange)}`;

export const endedCookie = (exchange: Exchange): string => `${sessionCookie(exchange, '')}; Max-Age=0`;
