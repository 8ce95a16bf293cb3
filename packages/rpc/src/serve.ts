import type { CodeOf, ParsedRequestOf, Procedure, Service } from '@postern/contracts/define';
import { procedureSubject } from '@postern/contracts/define';
import type { FailureOptions } from '@postern/contracts/failure';
import { commonErrors, Failure, isFailure } from '@postern/contracts/failure';
import { issuesOf } from '@postern/contracts/issues';
import type { Msg, NatsConnection, Subscription } from '@nats-io/transport-node';
import { headers } from '@nats-io/transport-node';
import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { z } from 'zod';

import type { Statistics } from './discovery.ts';
import { serveDiscovery } from './discovery.ts';
import { callHistogram } from './metrics.ts';
import type { ErrorReply } from './wire.ts';
import { DEADLINE_HEADER, ERROR_HEADER, ERROR_STATUS_HEADER, INBOX_PREFIX, REQUEST_ID_HEADER, statusOf } from './wire.ts';

/** What a handler knows of the call it answers. */
export interface Call<Code extends string> {
  /** Aborted when the caller stops waiting. */
  readonly signal: AbortSignal;
  /** Milliseconds the caller still waits, as of now; pass it on so that deadlines nest. */
  readonly remainingMs: number;
  readonly requestId: string | undefined;
  readonly log: Logger;
  /** A failure the caller may see; throw it. A code the procedure does not declare does not compile. */
  fail(code: Code, options?: FailureOptions): Failure<Code>;
}

type ReplyOf<P> = P extends Procedure<z.ZodType, infer Response, string> ? z.input<Response> : never;

export type Handlers<S extends Service> = {
  readonly [Name in keyof S['procedures']]: (
    request: ParsedRequestOf<S['procedures'][Name]>,
    call: Call<CodeOf<S['procedures'][Name]>>,
  ) => Promise<ReplyOf<S['procedures'][Name]>>;
};

export interface ServeOptions {
  readonly log: Logger;
  readonly metrics: Registry;
  readonly replicaId: string;
  /** Calls under way at once; one more is answered `UNAVAILABLE`. */
  readonly maxInFlight?: number;
}

type AnyHandler = (request: unknown, call: Call<string>) => Promise<unknown>;

/**
 * Serves a contract on the bus in the service's queue group, with ADR-32 discovery. Disposing drains: no new call is
 * taken, those under way are answered.
 */
export function serve<S extends Service>(
  bus: NatsConnection,
  service: S,
  handlers: Handlers<S>,
  options: ServeOptions,
): AsyncDisposable {
  const histogram = callHistogram(options.metrics, 'server');
  const maxInFlight = options.maxInFlight ?? 1_000;
  const underWay = new Set<Promise<void>>();
  const statistics: Statistics = new Map();
  const subscriptions: Subscription[] = [];

  for (const [name, procedure] of Object.entries(service.procedures)) {
    // Per-name types erase inside the loop; `Handlers<S>` has checked them.
    const handler = handlers[name] as unknown as AnyHandler;
    const endpoint = { requests: 0, errors: 0, lastError: '', processingNs: 0 };
    statistics.set(name, endpoint);
    const answer = async (message: Msg): Promise<void> => {
      const startedAt = performance.now();
      const outcome =
        underWay.size >= maxInFlight
          ? { failure: new Failure('UNAVAILABLE', { retryAfterSeconds: 1 }) }
          : await runHandler({ service, name, procedure, handler, message, log: options.log });
      const code = reply(message, outcome, { service, log: options.log });
      const durationMs = performance.now() - startedAt;
      histogram.observe({ procedure: `${service.name}.${name}`, code }, durationMs / 1_000);
      endpoint.requests += 1;
      endpoint.processingNs += Math.round(durationMs * 1e6);
      if (code !== 'ok') {
        endpoint.errors += 1;
        endpoint.lastError = code;
      }
      const requestId = message.headers?.get(REQUEST_ID_HEADER);
      options.log.info(
        { procedure: `${service.name}.${name}`, code, durationMs: Math.round(durationMs * 10) / 10, requestId },
        'call',
      );
    };
    subscriptions.push(
      bus.subscribe(procedureSubject(service, name), {
        queue: service.name,
        callback: (error, message) => {
          if (error !== null) return options.log.error({ err: error }, 'subscription failed');
          // An answer goes to an inbox: a caller may not make this service publish where only this service may.
          if (message.reply?.startsWith(INBOX_PREFIX) !== true) return;
          const work = answer(message).catch((cause: unknown) => options.log.error({ err: cause }, 'reply failed'));
          underWay.add(work);
          void work.finally(() => underWay.delete(work));
        },
      }),
    );
  }
  subscriptions.push(...serveDiscovery(bus, service, { replicaId: options.replicaId, statistics }));

  return {
    async [Symbol.asyncDispose]() {
      if (bus.isClosed()) return;
      await Promise.allSettled(subscriptions.map((subscription) => subscription.drain()));
      await Promise.allSettled(underWay);
      await bus.flush().catch(() => {});
    },
  };
}

type Outcome = { readonly value: unknown } | { readonly failure: Failure };

interface Work {
  readonly service: Service;
  readonly name: string;
  readonly procedure: Procedure;
  readonly handler: AnyHandler;
  readonly message: Msg;
  readonly log: Logger;
}

async function runHandler({ service, name, procedure, handler, message, log }: Work): Promise<Outcome> {
  const requestId = message.headers?.get(REQUEST_ID_HEADER) || undefined;
  const told = Number(message.headers?.get(DEADLINE_HEADER));
  const givenMs = told > 0 ? Math.min(told, procedure.timeoutMs) : procedure.timeoutMs;
  const deadline = performance.now() + givenMs;
  const signal = AbortSignal.timeout(givenMs);
  const callLog = log.child({ procedure: `${service.name}.${name}`, requestId });
  const parent = propagation.extract(context.active(), message.headers, {
    get: (carrier, key) => carrier?.get(key) || undefined,
    keys: (carrier) => carrier?.keys() ?? [],
  });
  const span = trace.getTracer('postern').startSpan(`${service.name}.${name}`, { kind: SpanKind.SERVER }, parent);
  try {
    const request = procedure.request.safeParse(parseBody(message));
    if (!request.success) return { failure: new Failure('INVALID_REQUEST', { issues: issuesOf(request.error) }) };
    const call: Call<string> = {
      signal,
      get remainingMs() {
        return Math.max(0, Math.floor(deadline - performance.now()));
      },
      requestId,
      log: callLog,
      fail: (code, options) => new Failure(code, options),
    };
    const value = await context.with(trace.setSpan(parent, span), () => handler(request.data, call));
    return { value };
  } catch (error) {
    span.setStatus({ code: SpanStatusCode.ERROR });
    // Work that the deadline broke off fails in its own words; nobody waits for the answer any more.
    if (signal.aborted && !isFailure(error)) return { failure: new Failure('TIMEOUT') };
    return { failure: presentable(error, service, procedure, callLog) };
  } finally {
    span.end();
  }
}

function parseBody(message: Msg): unknown {
  try {
    return message.json();
  } catch {
    throw new Failure('INVALID_REQUEST', { detail: 'the message is not JSON' });
  }
}

/** A code the procedure does not declare never leaves: it is `INTERNAL`, and logged once. */
function presentable(error: unknown, service: Service, procedure: Procedure, log: Logger): Failure {
  if (isFailure(error) && (error.code in commonErrors || procedure.errors.includes(error.code))) {
    if (error.cause !== undefined) log.warn({ err: error.cause, code: error.code }, 'call failed');
    return error;
  }
  log.error({ err: error, service: service.name }, 'undeclared failure');
  return new Failure('INTERNAL');
}

/** Sends the answer. One that the bus does not carry, as it is too large, is `INTERNAL` to the caller, not silence. */
function reply(message: Msg, outcome: Outcome, { service, log }: { service: Service; log: Logger }): string {
  if ('value' in outcome) {
    try {
      message.respond(JSON.stringify(outcome.value));
      return 'ok';
    } catch (error) {
      log.error({ err: error, subject: message.subject }, 'answer could not be sent');
      return replyFailure(message, new Failure('INTERNAL'), service);
    }
  }
  return replyFailure(message, outcome.failure, service);
}

function replyFailure(message: Msg, failure: Failure, service: Service): string {
  const { code, detail, issues, retryAfterSeconds } = failure;
  const sent = headers();
  sent.set(ERROR_HEADER, code);
  sent.set(ERROR_STATUS_HEADER, String(statusOf(code, service.errors)));
  const body: ErrorReply = {
    code,
    ...(detail !== undefined && { detail }),
    ...(issues !== undefined && { issues: [...issues] }),
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  };
  message.respond(JSON.stringify(body), { headers: sent });
  return code;
}
