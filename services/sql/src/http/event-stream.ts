/** Server-sent events on one response. */
import type { IncomingMessage, ServerResponse } from 'node:http';

const HEAD = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store',
  'x-accel-buffering': 'no',
};
const HEARTBEAT_MS = 15_000;
const HEARTBEAT = ': still here\n\n';

export class EventStream {
  readonly response: ServerResponse;
  #held: Buffer[] = [];
  #heartbeat: NodeJS.Timeout | undefined;
  #isOpen = false;

  constructor(response: ServerResponse) {
    this.response = response;
  }

  /** The head of the answer is sent. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** To be sent with the first event. */
  hold(event: string, data: Buffer): void {
    if (this.#isOpen) this.send(event, data);
    else this.#held.push(frame(event, data, undefined));
  }

  /** `data` is one line: JSON has no line ends but escaped ones. */
  send(event: string, data: Buffer, id?: string): void {
    this.#open();
    this.#write(frame(event, data, id));
  }

  #open(): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.response.writeHead(200, HEAD);
    this.#heartbeat = setInterval(() => this.#write(HEARTBEAT), HEARTBEAT_MS);
    this.response.once('close', () => clearInterval(this.#heartbeat));
    this.response.flushHeaders();
    for (const held of this.#held) this.#write(held);
    this.#held = [];
  }

  #write(bytes: Buffer | string): void {
    if (!this.response.destroyed && !this.response.writableEnded) this.response.write(bytes);
  }

  /** Bytes that the reader has not taken yet. */
  get waitingBytes(): number {
    return this.response.writableLength;
  }

  /** Resolves when the reader takes more, or is gone. */
  flush(): Promise<void> | undefined {
    const { response } = this;
    if (response.destroyed || !response.writableNeedDrain) return undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.once('drain', done);
    response.once('close', done);
    return promise;
  }

  end(): void {
    clearInterval(this.#heartbeat);
    if (!this.response.destroyed) this.response.end();
  }
}

/** Answers HEAD, if that is what was asked: a stream has no end, and is not begun for it. */
export function isHeadAnswered({ method }: IncomingMessage, response: ServerResponse): boolean {
  if (method !== 'HEAD') return false;
  response.writeHead(200, HEAD).end();
  return true;
}

function frame(event: string, data: Buffer, id: string | undefined): Buffer {
  const head = id === undefined ? `event: ${event}\ndata: ` : `id: ${id}\nevent: ${event}\ndata: `;
  return Buffer.concat([Buffer.from(head), oneLine(data), Buffer.from('\n\n')]);
}

/** Values of type json keep the space they were written with, line ends among it. */
function oneLine(data: Buffer): Buffer {
  if (!data.includes(0x0a) && !data.includes(0x0d)) return data;
  return Buffer.from(data.map((code) => (code === 0x0a || code === 0x0d ? 0x20 : code)));
}
