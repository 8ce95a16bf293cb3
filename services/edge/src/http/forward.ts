/** Forwards a request whose body fits into memory, or that has none; the hot path, below Express. */
import { Failure } from '@postern/contracts/failure';
import type { ServerResponse } from 'node:http';

import type { AssertionMemory } from '../domain/memory.ts';
import { forwardedHeaders, isAnswerHeader } from '../domain/forwarding.ts';
import { promisedBytes } from '../domain/head.ts';
import type { AnswerHead, Broken, Sending, Upstream } from '../domain/ports.ts';
import type { Replicas, Taken } from '../domain/replicas.ts';
import type { Route } from '../domain/routes.ts';
import { madeBy } from '../domain/routes.ts';
import { commonHeaders, sendFailure } from './answers.ts';
import { readBody } from './body.ts';
import type { Exchange } from './exchange.ts';
import { callOf } from './exchange.ts';

export interface ForwardOptions {
  readonly upstream: Upstream;
  readonly replicas: Replicas;
  readonly assertions: AssertionMemory;
  /** A client that reads nothing of an answer for so long is given up. */
  readonly stallMs: number;
}

/** Bodies up to this size are held until they are whole; they can be sent again if a replica cannot be reached. */
const HELD_BYTES_MAX = 65_536;

const JOINED_BYTES_MAX = 16_384;

/** Methods whose content has no meaning (RFC 9110 9.3): it is read and left behind. */
const isBodiless = (method: string | undefined): boolean => method === 'GET' || method === 'HEAD' || method === 'DELETE';

export const canHold = ({ head, request }: Exchange): boolean => {
  const promised = promisedBytes(head);
  return isBodiless(request.method) || (promised !== undefined && promised <= HELD_BYTES_MAX);
};

export async function forward(exchange: Exchange, service: 'auth' | 'sql', options: ForwardOptions): Promise<void> {
  const { request, response, route, principal } = exchange;
  if (route === undefined || principal === undefined) throw new TypeError('only an admitted request is forwarded');
  const reading = readBody(exchange, route.bodyBytesMax);
  const signing = options.assertions.assertionFor(principal, service, callOf(exchange));
  const read = reading === undefined ? undefined : await reading;
  const assertion = typeof signing === 'string' ? signing : await signing;
  if (response.destroyed) return;
  const body = isBodiless(request.method) ? undefined : (read ?? Buffer.alloc(0));
  createAttempts({ exchange, service, route, assertion, body }, options).next();
}

interface Errand {
  readonly exchange: Exchange;
  readonly service: 'auth' | 'sql';
  readonly route: Route;
  readonly assertion: string;
  readonly body: Buffer | undefined;
}

/** Tries replicas until one has been reached. What one may have seen is sent again only if the method allows it. */
function createAttempts(errand: Errand, { replicas, upstream, stallMs }: ForwardOptions): { next(): void } {
  const { exchange, service, route, assertion, body } = errand;
  const { request, response, head, requestId, target } = exchange;
  const method = request.method ?? '';
  const tried = new Set<string>();
  let repeats = isBodiless(method) && method !== 'DELETE' ? 1 : 0;
  let current: { readonly sending: Sending; readonly taken: Taken } | undefined;
  let over = false;

  const finish = (): void => {
    over = true;
    clearTimeout(late);
    current?.taken.release();
  };
  const fail = (failure: Failure): void => {
    if (over) return;
    finish();
    current?.sending.abort();
    sendFailure(exchange, failure);
  };
  const late = setTimeout(() => fail(new Failure('TIMEOUT')), route.deadlineMs);
  exchange.closed = () => {
    if (over) return;
    finish();
    current?.sending.abort();
  };

  const preferred = preferredReplica(exchange, route);
  const next = (): void => {
    const taken = replicas.take(service, tried, preferred);
    if (taken === undefined) return fail(new Failure('UNAVAILABLE', { retryAfterSeconds: 1 }));
    const attached = {
      host: taken.host,
      requestId,
      assertion,
      deadlineMs: route.deadlineMs,
      database: exchange.connection?.database,
    };
    const relay = createRelay(exchange, {
      pause: () => sending.pause(),
      resume: () => sending.resume(),
      giveUp: () => sending.abort(),
      stallMs,
    });
    const sending: Sending = upstream.send(
      { origin: taken.url, method, target, headers: forwardedHeaders(head, attached, route.requestHeaders), body },
      {
        head(answer) {
          clearTimeout(late);
          if (isFeed(answer)) sending.keep();
          relay.head(answer);
        },
        data: relay.data,
        end() {
          finish();
          relay.end();
        },
        broken(what) {
          taken.release();
          if (over) return;
          if (response.headersSent) {
            finish();
            exchange.brokenOff = true;
            return void response.destroy();
          }
          if (mayTryAgain(what)) {
            if (what.kind !== 'reached') tried.add(taken.replicaId);
            if (what.kind === 'unreached') taken.suspect();
            return next();
          }
          fail(new Failure('UPSTREAM_FAILED'));
        },
      },
    );
    current = { sending, taken };
  };
  const mayTryAgain = ({ kind }: Broken): boolean => {
    if (kind !== 'reached') return true;
    repeats -= 1;
    return repeats >= 0;
  };
  return { next };
}

/** The replica that holds what is asked for, if the request names it. */
export function preferredReplica({ head, params }: Exchange, { affinity }: Route): string | undefined {
  if (affinity === undefined) return undefined;
  return madeBy('param' in affinity ? params[affinity.param] : head.get(affinity.header));
}

/** An answer that goes on for as long as the client likes. */
const isFeed = ({ headers }: AnswerHead): boolean =>
  headers.some(([name, value]) => name === 'content-type' && value.startsWith('text/event-stream'));

interface Flow {
  pause(): void;
  resume(): void;
  giveUp(): void;
  readonly stallMs: number;
}

/** Writes an answer to the client as it comes, no faster than the client reads. */
export function createRelay(
  exchange: Exchange,
  flow: Flow,
): { head(answer: AnswerHead): void; data(chunk: Buffer, last: boolean): void; end(): void } {
  const { response } = exchange;
  let ended = false;
  let begun = false;
  return {
    head(answer) {
      writeAnswerHead(exchange, answer);
      // The first data of a stream may be long in coming; its head is not held back for them.
      if (answer.contentLength !== undefined) return;
      queueMicrotask(() => {
        if (!begun && !ended && !response.destroyed) response.flushHeaders();
      });
    },
    data(chunk, last) {
      begun = true;
      if (last) {
        ended = true;
        // A short body goes out in one piece with its head, which only text can.
        if (chunk.length <= JOINED_BYTES_MAX) response.end(chunk.toString('latin1'), 'latin1');
        else response.end(chunk);
      } else if (!response.write(chunk)) holdUntilDrained(response, flow);
    },
    end() {
      if (ended) return;
      ended = true;
      response.end();
    },
  };
}

function writeAnswerHead(exchange: Exchange, { status, headers, contentLength }: AnswerHead): void {
  const flat = commonHeaders(exchange, false);
  for (const [name, value] of headers) if (isAnswerHeader(name, exchange.route?.answerHeaders)) flat.push(name, value);
  if (contentLength !== undefined) flat.push('content-length', String(contentLength));
  exchange.response.writeHead(status, flat);
}

function holdUntilDrained(response: ServerResponse, flow: Flow): void {
  flow.pause();
  const settle = (): void => {
    clearTimeout(stalled);
    response.off('close', settle);
    response.off('drain', drained);
  };
  const drained = (): void => {
    settle();
    flow.resume();
  };
  const stalled = setTimeout(() => {
    settle();
    flow.giveUp();
    response.destroy();
  }, flow.stallMs);
  response.on('close', settle);
  response.on('drain', drained);
}
