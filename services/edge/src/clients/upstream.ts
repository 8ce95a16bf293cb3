/** Keep-alive connections to inner doors, one request at a time on each. */
import type { Socket } from 'node:net';
import { connect } from 'node:net';

import { createAnswerReader } from '../domain/answer-reader.ts';
import type { AnswerSink, Broken, Sending, Upstream, UpstreamRequest } from '../domain/ports.ts';

export interface UpstreamOptions {
  /** Connections per replica; beyond it requests wait. */
  readonly socketsMax: number;
  /** Requests that wait per replica; one more is broken at once. */
  readonly waitingMax: number;
  readonly connectMs: number;
  /** An idle connection is closed well before its server would. */
  readonly idleMs: number;
}

interface Line {
  send(order: Order): void;
  readonly usable: boolean;
  idleSinceMs: number;
  destroy(): void;
}

interface Order {
  readonly request: UpstreamRequest;
  readonly sink: AnswerSink;
  line: Socket | undefined;
  keep: (() => void) | undefined;
  over: boolean;
}

interface Pool {
  readonly free: Line[];
  readonly all: Set<Line>;
  /** Lines of answers without an end; they are never free again. */
  readonly kept: Set<Line>;
  readonly waiting: Order[];
}

const SWEEP_MS = 5_000;
/** A body up to this size is written together with its head. */
const JOINED_BYTES_MAX = 16_384;

export function createUpstream(options: UpstreamOptions): Upstream & Disposable {
  const pools = new Map<string, Pool>();

  const release = (origin: string, line: Line): void => {
    const pool = pools.get(origin);
    if (pool === undefined || !line.usable || pool.kept.has(line)) return line.destroy();
    const next = pool.waiting.shift();
    if (next !== undefined) return line.send(next);
    line.idleSinceMs = performance.now();
    pool.free.push(line);
  };
  const lost = (origin: string, line: Line): void => {
    const pool = pools.get(origin);
    if (pool === undefined) return;
    if (pool.kept.delete(line)) return forgetIfEmpty(origin, pool);
    pool.all.delete(line);
    const index = pool.free.indexOf(line);
    if (index !== -1) pool.free.splice(index, 1);
    const next = pool.waiting.shift();
    if (next !== undefined) start(origin, pool, next);
    else forgetIfEmpty(origin, pool);
  };
  const forgetIfEmpty = (origin: string, { all, kept }: Pool): void => {
    if (all.size === 0 && kept.size === 0) pools.delete(origin);
  };
  const keep = (origin: string, line: Line): void => {
    const pool = pools.get(origin);
    if (pool === undefined || !pool.all.delete(line)) return;
    pool.kept.add(line);
    const next = pool.waiting.shift();
    if (next !== undefined) start(origin, pool, next);
  };
  const start = (origin: string, pool: Pool, order: Order): void => {
    const line = pool.free.pop();
    if (line !== undefined) return line.send(order);
    if (pool.all.size >= options.socketsMax) {
      if (pool.waiting.length < options.waitingMax) pool.waiting.push(order);
      else queueMicrotask(() => breakOff(order, { kind: 'busy', cause: 'too many requests wait for the replica' }));
      return;
    }
    const fresh: Line = openLine(origin, options.connectMs, {
      release: () => release(origin, fresh),
      lost: () => lost(origin, fresh),
      keep: () => keep(origin, fresh),
    });
    pool.all.add(fresh);
    fresh.send(order);
  };

  const sweep = setInterval(() => {
    const before = performance.now() - options.idleMs;
    for (const { free } of pools.values())
      for (const line of free.filter(({ idleSinceMs }) => idleSinceMs < before)) line.destroy();
  }, SWEEP_MS).unref();

  return {
    send(request, sink) {
      const order: Order = { request, sink, line: undefined, keep: undefined, over: false };
      const pool = pools.get(request.origin) ?? { free: [], all: new Set(), kept: new Set(), waiting: [] };
      pools.set(request.origin, pool);
      start(request.origin, pool, order);
      return sendingOf(order, pool);
    },
    [Symbol.dispose]() {
      clearInterval(sweep);
      for (const { all, kept } of pools.values()) for (const line of [...all, ...kept]) line.destroy();
    },
  };
}

function sendingOf(order: Order, pool: Pool): Sending {
  return {
    abort() {
      if (order.over) return;
      order.over = true;
      if (order.line !== undefined) return void order.line.destroy();
      const index = pool.waiting.indexOf(order);
      if (index !== -1) pool.waiting.splice(index, 1);
    },
    pause: () => void order.line?.pause(),
    resume: () => void order.line?.resume(),
    keep: () => order.keep?.(),
  };
}

function breakOff(order: Order, what: Broken): void {
  if (order.over) return;
  order.over = true;
  order.sink.broken(what);
}

interface LineEvents {
  release(): void;
  lost(): void;
  keep(): void;
}

function openLine(origin: string, connectMs: number, events: LineEvents): Line {
  const { hostname, port } = new URL(origin);
  const socket = connect({
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || 80),
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
  });
  const reader = createAnswerReader();
  let current: Order | undefined;
  let busy = false;
  let connected = false;
  let fault: unknown;
  const slow = setTimeout(() => socket.destroy(new Error('the replica does not take connections')), connectMs);

  const sinkOf = (order: Order): Parameters<typeof reader.expect>[0] => ({
    head: (head) => void (order.over || order.sink.head(head)),
    data: (chunk, last) => void (order.over || order.sink.data(chunk, last)),
    end() {
      if (order.over) return;
      order.over = true;
      current = undefined;
      order.sink.end();
    },
  });
  /** Not before all that came with the end of an answer has been read: surplus bytes are never the next answer. */
  const releaseIfOver = (): void => {
    if (current !== undefined || !busy) return;
    busy = false;
    if (socket.isPaused()) socket.resume();
    events.release();
  };

  socket.once('connect', () => {
    connected = true;
    clearTimeout(slow);
  });
  socket.on('data', (chunk) => {
    try {
      reader.push(chunk);
      releaseIfOver();
    } catch (error) {
      socket.destroy(error instanceof Error ? error : new Error('the answer is malformed'));
    }
  });
  socket.on('end', () => {
    if (reader.finish()) releaseIfOver();
  });
  socket.on('error', (error) => (fault = error));
  socket.on('close', () => {
    clearTimeout(slow);
    if (current !== undefined) {
      const kind = connected ? 'reached' : 'unreached';
      breakOff(current, { kind, cause: fault ?? 'the replica closed the connection' });
    }
    current = undefined;
    events.lost();
  });

  return {
    idleSinceMs: 0,
    get usable() {
      return reader.keepsAlive && !socket.destroyed && socket.writable;
    },
    destroy: () => void socket.destroy(),
    send(order) {
      current = order;
      busy = true;
      order.line = socket;
      order.keep = events.keep;
      reader.expect(sinkOf(order), order.request.method === 'HEAD');
      writeRequest(socket, order.request);
    },
  };
}

function writeRequest(socket: Socket, { method, target, headers, body }: UpstreamRequest): void {
  let head = `${method} ${target} HTTP/1.1\r\n`;
  for (const [name, value] of headers) head += `${name}: ${value}\r\n`;
  if (body !== undefined) head += `content-length: ${body.length}\r\n`;
  if (body === undefined || body.length === 0) return void socket.write(`${head}\r\n`, 'latin1');
  if (body.length <= JOINED_BYTES_MAX) return void socket.write(`${head}\r\n${body.toString('latin1')}`, 'latin1');
  socket.cork();
  socket.write(`${head}\r\n`, 'latin1');
  socket.write(body);
  socket.uncork();
}
