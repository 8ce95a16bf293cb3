/** Connections that end with an answer: what a client sends behind it is never looked at (imm-009). */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

import type { Exchange } from './exchange.ts';

/** By the request whose answer ends it; one that came before it is still answered. */
const ends = new WeakMap<Socket, number>();

/** The answer of this exchange is the last one of its connection. */
export function endConnection({ request: { socket }, order }: Exchange): void {
  ends.set(socket, Math.min(order, ends.get(socket) ?? Infinity));
}

export const hasEnded = ({ socket }: IncomingMessage): boolean => ends.has(socket);

/** Whether the answer of an earlier request has meanwhile ended the connection. */
export const isTooLate = ({ request: { socket }, order }: Exchange): boolean => (ends.get(socket) ?? Infinity) < order;

const LINGER_MS = 1_000;

/** Writes the last words and ends the connection. What is still coming is thrown away, so that they are not lost to a reset. */
export function endSoon(socket: Duplex, words?: string | Buffer): void {
  socket.on('error', () => {});
  if (words === undefined) socket.end();
  else socket.end(words);
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once('close', () => clearTimeout(timer));
}
