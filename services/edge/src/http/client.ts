/** Who the other end of a connection is, and what its request is called. */
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';

import type { Head } from '../domain/head.ts';
import type { Listener } from '../domain/listeners.ts';
import type { Entrance } from './exchange.ts';

/** The connection's own address; behind a trusted proxy the one that the proxy itself has added, the last. */
export function clientOf({ behindTrustedProxy }: Listener, { socket }: IncomingMessage, head: Head): string {
  const address = (socket.remoteAddress ?? '').replace(/^::ffff:(?=[\d.]+$)/, '');
  if (!behindTrustedProxy) return address;
  const last = head.get('x-forwarded-for')?.split(',').at(-1)?.trim() ?? '';
  return isIP(last) === 0 ? address : last;
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Names are given out here; only a trusted proxy may have named the request already. */
export function requestIdOf({ listener }: Entrance, { headers }: IncomingMessage): string {
  if (!listener.behindTrustedProxy) return crypto.randomUUID();
  const given = headers['x-request-id'];
  return typeof given === 'string' && UUID.test(given) ? given : crypto.randomUUID();
}
