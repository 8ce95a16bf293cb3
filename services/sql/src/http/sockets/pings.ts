/** Pings of both sides: the peer's are answered, and one that is gone is noticed by ours. */
import type { WebSocket } from 'ws';

import { DRAIN_PING } from './lifetime.ts';

/**
 * Answers the peer's pings, no faster than the answers are taken: of those that came meanwhile only the last one is answered
 * (RFC 6455, 5.5.3). `ws` itself would end a socket that sends many at a time.
 */
export function answerPings(ws: WebSocket, drain: () => void): void {
  let due: Buffer | undefined;
  let isUnderWay = false;
  const answer = (): void => {
    if (due === undefined || ws.readyState !== ws.OPEN) return;
    const payload = due;
    due = undefined;
    isUnderWay = true;
    ws.pong(payload, false, () => {
      isUnderWay = false;
      answer();
    });
  };
  ws.on('ping', (payload) => {
    if (payload.equals(DRAIN_PING)) drain();
    due = payload;
    if (!isUnderWay) answer();
  });
}

/** How often a peer is tried who is not read, or waits. */
export const PING_MS = 500;

/** A peer that is gone shows when it is sent something; what waits to be written already is enough of that. */
export function ping(ws: WebSocket): void {
  if (ws.readyState === ws.OPEN && ws.bufferedAmount === 0) ws.ping();
}
