/** Reads server-sent events as they come. */
import { setTimeout as after } from 'node:timers/promises';

import type { Person, RunningSql } from './sql-test.ts';

export interface ReadEvent {
  readonly event: string;
  readonly data: unknown;
  readonly id: string | undefined;
}

export interface EventReader extends Disposable {
  readonly status: number;
  /** All events so far. */
  readonly events: ReadEvent[];
  /** The rows so far. */
  rows(): unknown[][];
  /** Resolves with them when there are that many. */
  until(count: number, event?: string): Promise<ReadEvent[]>;
  /** Resolves when the stream has ended. */
  readonly ended: Promise<void>;
  /** Begins to take what comes, if it was stuck. */
  unstick(): Promise<void>;
  /** Of an answer that is no stream. */
  readonly body: unknown;
}

const PATIENCE_MS = 60_000;

export interface ReadOptions {
  readonly query?: string;
  readonly lastEventId?: string | undefined;
  readonly path?: string;
  /** Of a POST. */
  readonly body?: unknown;
  /** Ends the request, even before it is answered. */
  readonly signal?: AbortSignal;
  /** Takes nothing until it is told to. */
  readonly isStuck?: boolean;
}

export async function readEvents(sql: RunningSql, person: Person, options: ReadOptions): Promise<EventReader> {
  const abort = new AbortController();
  const { query = '', lastEventId, path = `/api/sql/subscribe?query=${encodeURIComponent(query)}`, isStuck = false } = options;
  const response = await fetch(`${sql.origin}${path}`, {
    ...(options.body !== undefined && { method: 'POST', body: JSON.stringify(options.body) }),
    signal: options.signal === undefined ? abort.signal : AbortSignal.any([abort.signal, options.signal]),
    headers: {
      ...(await sql.headers(person)),
      accept: 'text/event-stream',
      ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
    },
  });
  const events: ReadEvent[] = [];
  let changed = Promise.withResolvers<void>();
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
  const body: unknown = isStream ? undefined : await response.text().then(parse);
  let isOver = !isStream;
  const read = async (): Promise<void> => {
    let text = '';
    try {
      for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
        text += chunk;
        const parts = text.split('\n\n');
        text = parts.pop() ?? '';
        for (const part of parts) if (!part.startsWith(':')) events.push(readEvent(part));
        changed.resolve();
        changed = Promise.withResolvers();
      }
    } catch {
      // Aborted, or cut off: what came is there.
    }
    isOver = true;
    changed.resolve();
  };
  const ended = isStream && !isStuck ? read() : Promise.resolve();
  return {
    status: response.status,
    events,
    body,
    ended,
    unstick: read,
    rows: () => events.filter(({ event }) => event === 'row').map(({ data }) => data as unknown[]),
    async until(count, event = 'row') {
      const late = after(PATIENCE_MS, 'late' as const, { ref: false });
      for (;;) {
        const found = events.filter((one) => one.event === event);
        if (found.length >= count) return found;
        const outcome = isOver ? 'over' : await Promise.race([changed.promise, late]);
        if (outcome !== undefined) {
          throw new Error(`${found.length} of ${count} events "${event}" (${outcome}): ${JSON.stringify(events.slice(-5))}`);
        }
      }
    },
    [Symbol.dispose]: () => abort.abort(),
  };
}

function readEvent(part: string): ReadEvent {
  const fields = new Map(part.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));
  return { event: fields.get('event') ?? '', data: parse(fields.get('data') ?? 'null'), id: fields.get('id') };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
