/** What sockets hold of messages that have not come whole: bounded for each by the length of a message, and here for all. */
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';

import { CloseCode } from './lifetime.ts';

/** Watches over a socket; the one with which it becomes too much is closed. */
export type Receiving = (socket: Pick<Duplex, 'on' | 'once'>, ws: Pick<WebSocket, 'on' | 'close'>) => void;

export function createReceiving(bytesMax: number, messageBytesMax: number): Receiving {
  let total = 0;
  return (socket, ws) => {
    let held = 0;
    const hold = (bytes: number): void => {
      total += bytes - held;
      held = bytes;
    };
    socket.on('data', (chunk: Buffer) => {
      // Control frames are no part of a message, and not told from it here.
      hold(Math.min(held + chunk.length, messageBytesMax));
      if (total > bytesMax) ws.close(CloseCode.tryAgain, 'too much is being received at a time');
    });
    // What has come of the next one already is less than a chunk, and counts from the next on.
    ws.on('message', () => hold(0));
    socket.once('close', () => hold(0));
  };
}
