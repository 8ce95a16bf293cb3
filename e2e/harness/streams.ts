/** Answers that are read while they come. */
import type { IncomingMessage } from 'node:http';
import { request as send } from 'node:http';

import type { Credential } from './client.ts';

export interface StreamOptions {
  readonly method?: string;
  readonly headers?: Credential;
  readonly json?: unknown;
}

export interface Stream extends AsyncDisposable {
  /** When the head is there; not for an answer that waits for its end. */
  readonly response: Promise<IncomingMessage>;
  /** Breaks the connection off, as a client that is gone. */
  leave(): void;
}

/** Each has a connection of its own. */
export function openStream(origin: string, path: string, options: StreamOptions = {}): Stream {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  promise.catch(() => {});
  const sent = send(new URL(path, origin), {
    agent: false,
    method: options.method ?? (options.json === undefined ? 'GET' : 'POST'),
    headers: { ...(options.json !== undefined && { 'content-type': 'application/json' }), ...options.headers },
  });
  sent.once('response', resolve);
  sent.on('error', reject);
  sent.end(options.json === undefined ? undefined : JSON.stringify(options.json));
  const leave = (): void => void sent.destroy();
  return {
    response: promise,
    leave,
    async [Symbol.asyncDispose]() {
      leave();
    },
  };
}

/** A line each, without those that have not ended. */
export async function* linesOf(response: IncomingMessage): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of response.setEncoding('utf8')) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}

export interface ServerEvent {
  readonly event: string;
  readonly data: unknown;
  readonly id: string | undefined;
}

/** Server-sent events, as they are collected in the background. */
export interface Events extends Stream {
  readonly events: readonly ServerEvent[];
}

export async function openEvents(origin: string, path: string, options: StreamOptions = {}): Promise<Events> {
  const stream = openStream(origin, path, { ...options, headers: { accept: 'text/event-stream', ...options.headers } });
  const response = await stream.response;
  if (response.statusCode !== 200) {
    const text = (await response.setEncoding('utf8').toArray()).join('');
    throw new Error(`${response.statusCode} ${text}`);
  }
  const events: ServerEvent[] = [];
  void collect(response, events).catch(() => {});
  return { ...stream, events };
}

async function collect(response: IncomingMessage, events: ServerEvent[]): Promise<void> {
  let fields = new Map<string, string>();
  for await (const line of linesOf(response)) {
    if (line === '') {
      const data = fields.get('data');
      if (data !== undefined) {
        events.push({ event: fields.get('event') ?? 'message', data: JSON.parse(data) as unknown, id: fields.get('id') });
      }
      fields = new Map();
      continue;
    }
    const [, name = '', value = ''] = /^([^:]*): ?(.*)$/.exec(line) ?? [];
    fields.set(name, value);
  }
}
