/** What sockets hold of messages that have not come whole: bounded for each by the length of a message, and here for all. */
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';

import type { LiveSocket } from './lifetime.ts';
import { CloseCode } from './lifetime.ts';

export interface Receiver {
  readonly socket: Pick<Duplex, 'on' | 'once'>;
  readonly ws: Pick<WebSocket, 'pause'>;
  /** Takes and passes on nothing more once it was ended. */
  readonly owner: Pick<LiveSocket, 'end'>;
  /** The longest message that is taken. */
  readonly messageBytesMax: number;
}

/** Watches over a socket; the one with which it becomes too much is ended. */
export type Receiving = (receiver: Receiver) => void;

/** The bound is that of all sockets together, whatever they speak. */
export function createReceiving(bytesMax: number): Receiving {
  let total = 0;
  return ({ socket, ws, owner, messageBytesMax }) => {
    const watch = new MessageWatch();
    let held = 0;
    const hold = (bytes: number): void => {
      total += bytes - held;
      held = bytes;
    };
    const end = (code: number, reason: string): void => {
      owner.end(code, reason);
      // Until the peer has heard of it, it may send on.
      ws.pause();
    };
    socket.on('data', (chunk: Buffer) => {
      const { ended, isPart } = watch.pass(chunk);
      hold((ended > 0 ? 0 : held) + (isPart ? chunk.length : 0));
      // A part of a message keeps the whole chunk in which it came, whatever else is in that.
      if (held > messageBytesMax * 2) end(CloseCode.tooBig, 'too much came within one message');
      else if (total > bytesMax) end(CloseCode.tryAgain, 'too much is being received at a time');
    });
    socket.once('close', () => hold(0));
  };
}

const CONTROL = 0x8;
const MASK_BYTES = 4;
const HEAD_BYTES_MAX = 14;

/** Where messages of a client begin and end in bytes that pass by (RFC 6455, 5.2). What is out of order is not noticed here. */
export class MessageWatch {
  readonly #head = Buffer.alloc(HEAD_BYTES_MAX);
  #headBytes = 0;
  #payloadLeft = 0;
  #isControl = false;
  #isLast = false;
  #isOpen = false;

  /** Whether a message has begun and not ended. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** How many messages end in the chunk, and whether there is anything in it of the one that is open behind it. */
  pass(chunk: Buffer): { readonly ended: number; readonly isPart: boolean } {
    let ended = 0;
    let isPart = false;
    let at = 0;
    while (at < chunk.length) {
      if (this.#payloadLeft === 0) {
        this.#head[this.#headBytes] = chunk[at] ?? 0;
        this.#headBytes += 1;
        at += 1;
        if (!this.#readHead()) continue;
      }
      const taken = Math.min(this.#payloadLeft, chunk.length - at);
      this.#payloadLeft -= taken;
      at += taken;
      if (this.#isControl) continue;
      isPart = true;
      if (this.#payloadLeft > 0 || !this.#isLast) continue;
      this.#isOpen = false;
      isPart = false;
      ended += 1;
    }
    return { ended, isPart };
  }

  #readHead(): boolean {
    const [first = 0, second = 0] = this.#head;
    if (this.#headBytes < 2) return false;
    const short = second & 0x7f;
    const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
    if (this.#headBytes < 2 + extended + MASK_BYTES) return false;
    this.#headBytes = 0;
    this.#payloadLeft =
      extended === 0 ? short : extended === 2 ? this.#head.readUInt16BE(2) : Number(this.#head.readBigUInt64BE(2));
    this.#isControl = (first & CONTROL) !== 0;
    this.#isLast = (first & 0x80) !== 0;
    if (!this.#isControl) this.#isOpen = true;
    return true;
  }
}
