/** Forwards a request whose body is streamed: http-proxy-middleware under the same policy, headers and limits. */
import { Failure, isFailure } from '@postern/contracts/failure';
import type { RequestHandler } from 'express';
import { createProxyMiddleware } from 'http-proxy-middleware';
import type { Agent, ClientRequest, IncomingMessage } from 'node:http';
import { Transform } from 'node:stream';

import { forwardedHeaders } from '../domain/forwarding.ts';
import type { AnswerHead } from '../domain/ports.ts';
import type { Taken } from '../domain/replicas.ts';
import type { Route } from '../domain/routes.ts';
import { continueIfAsked, sendFailure } from './answers.ts';
import type { Exchange } from './exchange.ts';
import { callOf, exchangeOf } from './exchange.ts';
import type { ForwardOptions } from './forward.ts';
import { createRelay, preferredReplica } from './forward.ts';

export interface UploadOptions extends Omit<ForwardOptions, 'upstream'> {
  readonly agent: Agent;
}

interface Upload {
  readonly exchange: Exchange;
  readonly route: Route;
  readonly service: 'auth' | 'sql';
  readonly assertion: string;
  readonly body: GatedBody;
  readonly tried: Set<string>;
  taken: Taken | undefined;
  sending: ClientRequest | undefined;
  over: boolean;
}

/** Lets nothing through before a replica has been reached, and no more than the route allows. */
class GatedBody extends Transform {
  readonly #bytesMax: number;
  #bytes = 0;
  #open = false;
  #waiting: (() => void) | undefined;

  constructor(bytesMax: number) {
    super();
    this.#bytesMax = bytesMax;
  }

  /** Whether a replica may have seen any of it. */
  get isOpen(): boolean {
    return this.#open;
  }

  open(): void {
    this.#open = true;
    this.#waiting?.();
    this.#waiting = undefined;
  }

  #whenOpen(go: () => void): void {
    if (this.#open) go();
    else this.#waiting = go;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: (error: Error | null, chunk?: Buffer) => void): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#bytesMax) done(new Failure('BODY_TOO_LARGE'));
    else this.#whenOpen(() => done(null, chunk));
  }

  override _flush(done: () => void): void {
    this.#whenOpen(done);
  }
}

export function createUploads({ replicas, assertions, agent, stallMs }: UploadOptions): RequestHandler {
  const uploads = new WeakMap<IncomingMessage, Upload>();

  const finish = (upload: Upload): void => {
    upload.over = true;
    upload.taken?.release();
  };
  const fail = (upload: Upload, failure: Failure): void => {
    if (upload.over) return;
    finish(upload);
    upload.sending?.destroy();
    sendFailure(upload.exchange, failure);
  };

  const proxy = createProxyMiddleware<IncomingMessage>({
    agent,
    ejectPlugins: true,
    selfHandleResponse: true,
    // The path is joined to the origin as it came, the body comes from the gate.
    router: (request, _response, options) => {
      const upload = uploads.get(request);
      if (upload?.taken === undefined) throw new Failure('UNAVAILABLE', { retryAfterSeconds: 1 });
      options.buffer = upload.body;
      return upload.taken.url;
    },
    plugins: [
      (server) => {
        server.on('proxyReq', (sending, request) => {
          const upload = uploads.get(request);
          if (upload === undefined) return;
          upload.sending = sending;
          const { socket } = sending;
          if (socket?.connecting === true) socket.once('connect', () => upload.body.open());
          else upload.body.open();
        });
        server.on('proxyRes', (answer, request, response) => {
          const upload = uploads.get(request);
          if (upload === undefined || upload.over) return void answer.destroy();
          finish(upload);
          // Heard before the proxy ends the client's connection for it.
          answer.once('error', () => {
            upload.exchange.brokenOff = !response.destroyed;
            response.destroy();
          });
          const relay = createRelay(upload.exchange, {
            pause: () => void answer.pause(),
            resume: () => void answer.resume(),
            giveUp: () => void answer.destroy(),
            stallMs,
          });
          relay.head(headOf(answer));
          answer.on('data', (chunk: Buffer) => relay.data(chunk, false));
          answer.once('end', relay.end);
        });
        server.on('error', (error, request) => {
          const upload = request === undefined ? undefined : uploads.get(request);
          if (upload === undefined || upload.over) return;
          upload.taken?.release();
          if (upload.body.isOpen) return fail(upload, new Failure('UPSTREAM_FAILED', { cause: error }));
          upload.taken?.suspect();
          attempt(upload);
        });
      },
    ],
  });

  const attempt = (upload: Upload): void => {
    upload.taken = replicas.take(upload.service, upload.tried, preferredReplica(upload.exchange, upload.route));
    if (upload.taken === undefined) return fail(upload, new Failure('UNAVAILABLE', { retryAfterSeconds: 1 }));
    upload.tried.add(upload.taken.replicaId);
    const { exchange, route, assertion } = upload;
    const { request, response, head, requestId } = exchange;
    const attached = {
      host: upload.taken.host,
      requestId,
      assertion,
      deadlineMs: route.deadlineMs,
      database: exchange.connection?.database,
    };
    const length = head.get('content-length');
    request.headers = {
      ...Object.fromEntries(forwardedHeaders(head, attached, route.requestHeaders)),
      ...(length !== undefined && { 'content-length': length }),
    };
    void proxy(request, response, (error) => {
      if (error !== undefined) fail(upload, isFailure(error) ? error : new Failure('UPSTREAM_FAILED', { cause: error }));
    });
  };

  return async (request, response, next) => {
    const exchange = exchangeOf(request);
    const { route, principal } = exchange;
    if (route === undefined || principal === undefined || !('service' in route.target)) return next();
    const { service } = route.target;
    const assertion = await assertions.assertionFor(principal, service, callOf(exchange));
    if (response.destroyed) return;
    const body = new GatedBody(route.bodyBytesMax);
    const upload: Upload = {
      exchange,
      route,
      service,
      assertion,
      body,
      tried: new Set(),
      taken: undefined,
      sending: undefined,
      over: false,
    };
    uploads.set(request, upload);
    const late = setTimeout(() => fail(upload, new Failure('TIMEOUT')), route.deadlineMs);
    exchange.closed = () => {
      clearTimeout(late);
      finish(upload);
      upload.sending?.destroy();
      body.destroy();
    };
    body.on('error', (error) => fail(upload, isFailure(error) ? error : new Failure('INTERNAL', { cause: error })));
    continueIfAsked(exchange);
    request.pipe(body);
    attempt(upload);
  };
}

function headOf(answer: IncomingMessage): AnswerHead {
  const headers: [string, string][] = [];
  for (let index = 0; index < answer.rawHeaders.length; index += 2) {
    headers.push([(answer.rawHeaders[index] ?? '').toLowerCase(), answer.rawHeaders[index + 1] ?? '']);
  }
  const length = answer.headers['content-length'];
  return { status: answer.statusCode ?? 502, headers, contentLength: length === undefined ? undefined : Number(length) };
}
