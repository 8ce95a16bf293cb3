/** A WebSocket with a client, before it is known who that is: read part by part, no faster than parts are asked for. */
import type { Duplex } from 'node:stream';

import type { Part } from '../domain/frames.ts';
import { CLOSE, closeFrame, createFrameReader, OPCODE, serverFrame } from '../domain/frames.ts';
import { endSoon } from './connection.ts';

export type ClientPart =
  | Extract<Part, { kind: 'payload' | 'fault' }>
  /** The client has closed or left, or the socket was closed here. */
  | { readonly kind: 'gone' }
  /** The client has not said enough in time. */
  | { readonly kind: 'late' };

export interface ClientSocket {
  readonly socket: Duplex;
  readonly isOver: boolean;
  /** The next part of a message; pings are answered meanwhile. */
  read(): Promise<ClientPart>;
  write(payload: Buffer): void;
  close(code: number, reason: string): void;
  /** Gives the connection away, with what has come and was not read; nothing here touches it any more. */
  release(): { readonly bytes: Buffer; readonly isOpen: boolean };
}

export interface ClientSocketOptions {
  readonly socket: Duplex;
  /** What came with the handshake. */
  readonly head: Buffer;
  readonly messageBytesMax: number;
  readonly waitMs: number;
}

export function createClientSocket({ socket, head, messageBytesMax, waitMs }: ClientSocketOptions): ClientSocket {
  const reader = createFrameReader(messageBytesMax);
  reader.push(head);
  let isOver = false;
  let isLate = false;
  let wake = (): void => {};
  const hear = (chunk: Buffer): void => {
    socket.pause();
    reader.push(chunk);
    wake();
  };
  const left = (): void => {
    isOver = true;
    clearTimeout(late);
    wake();
  };
  const late = setTimeout(() => {
    isLate = true;
    wake();
  }, waitMs);
  // A client that sends no more, and no Close, has left: there is nothing to answer it.
  const ended = (): void => {
    left();
    socket.destroy();
  };
  socket.pause();
  socket.on('data', hear);
  socket.once('end', ended);
  socket.once('close', left);

  const untilDrained = async (): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    wake = resolve;
    socket.once('drain', resolve);
    await promise;
    socket.off('drain', resolve);
  };
  const letGo = (): void => {
    clearTimeout(late);
    socket.pause();
    socket.off('data', hear);
    socket.off('end', ended);
    socket.off('close', left);
  };
  const close = (code: number, reason: string): void => {
    if (isOver) return;
    isOver = true;
    letGo();
    wake();
    endSoon(socket, closeFrame(code, reason));
  };

  return {
    socket,
    get isOver() {
      return isOver;
    },
    async read() {
      for (;;) {
        if (isOver) return { kind: 'gone' };
        if (isLate) return { kind: 'late' };
        // Pongs that the client does not read are not heaped up.
        if (socket.writableNeedDrain) {
          await untilDrained();
          continue;
        }
        const part = reader.next();
        if (part === undefined) {
          await new Promise<void>((resolve) => {
            wake = resolve;
            socket.resume();
          });
        } else if (part.kind === 'ping') socket.write(serverFrame(OPCODE.pong, part.payload));
        else if (part.kind === 'close') close(CLOSE.normal, '');
        else if (part.kind !== 'pong') return part;
      }
    },
    write(payload) {
      if (!isOver) socket.write(serverFrame(OPCODE.binary, payload));
    },
    close,
    release() {
      letGo();
      return reader.rest();
    },
  };
}
