import type { Procedure, RequestOf, ResponseOf, Service } from '@postern/contracts/define';
import { procedureSubject } from '@postern/contracts/define';
import { Failure, isFailure } from '@postern/contracts/failure';
import type { Msg, NatsConnection } from '@nats-io/transport-node';
import { errors, headers } from '@nats-io/transport-node';
import { context, propagation } from '@opentelemetry/api';
import { setTimeout as delay } from 'node:timers/promises';
import type { Registry } from 'prom-client';

import { isConnected } from './connect.ts';
import { callHistogram } from './metrics.ts';
import { DEADLINE_HEADER, ERROR_HEADER, ErrorReply, MAX_PAYLOAD_BYTES, REQUEST_ID_HEADER } from './wire.ts';

/** What a caller passes on: when its own caller stops waiting, and which request this is part of. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds the caller itself has left; the call never waits longer. */
  readonly remainingMs?: number | undefined;
  readonly requestId?: string | undefined;
}

export type Client<S extends Service> = {
  readonly [Name in keyof S['procedures']]: (
    request: RequestOf<S['procedures'][Name]>,
    options?: CallOptions,
  ) => Promise<ResponseOf<S['procedures'][Name]>>;
};

interface ClientOptions {
  readonly metrics?: Registry | undefined;
}

/**
 * A typed client of a service on the bus.
 *
 * A declared failure arrives as a `Failure` of that code. Nobody serving is `UNAVAILABLE`, no answer in time is `TIMEOUT`,
 * an answer that does not fit is `INTERNAL`. Only idempotent procedures are tried again: after `UNAVAILABLE`, and once after half of the
 * time without an answer, since the replica that was asked may have stopped while another has not.
 */
export function createClient<S extends Service>(bus: NatsConnection, service: S, options: ClientOptions = {}): Client<S> {
  const histogram = options.metrics === undefined ? undefined : callHistogram(options.metrics, 'client');
  const calls = Object.entries(service.procedures).map(([name, procedure]) => {
    const subject = procedureSubject(service, name);
    const call = async (request: unknown, callOptions: CallOptions = {}): Promise<unknown> => {
      const stop = histogram?.startTimer({ procedure: `${service.name}.${name}` });
      try {
        const response = await callWithRetry(bus, subject, procedure, request, callOptions);
        stop?.({ code: 'ok' });
        return response;
      } catch (error) {
        stop?.({ code: isFailure(error) ? error.code : 'INTERNAL' });
        throw error;
      }
    };
    return [name, call];
  });
  // Per-name types erase inside the loop; the mapped type above restores them.
  return Object.fromEntries(calls) as Client<S>;
}

const RETRY_PAUSES_MS = [25, 75, 200];

async function callWithRetry(
  bus: NatsConnection,
  subject: string,
  procedure: Procedure,
  request: unknown,
  options: CallOptions,
): Promise<unknown> {
  const deadline = performance.now() + Math.min(procedure.timeoutMs, options.remainingMs ?? Infinity);
  for (let attempt = 0; ; attempt += 1) {
    try {
      const remainingMs = deadline - performance.now();
      const isPatient = !procedure.idempotent || attempt > 0;
      return await callOnce(bus, subject, procedure, request, {
        ...options,
        remainingMs: isPatient ? remainingMs : remainingMs / 2,
      });
    } catch (error) {
      const pause = RETRY_PAUSES_MS[attempt];
      if (!procedure.idempotent || pause === undefined || options.signal?.aborted === true) throw error;
      if (isFailure(error, 'TIMEOUT') && attempt === 0) continue;
      if (!isFailure(error, 'UNAVAILABLE')) throw error;
      const jittered = pause * (0.5 + Math.random());
      if (performance.now() + jittered >= deadline) throw error;
      await untilAborted(delay(jittered), options.signal);
    }
  }
}

async function callOnce(
  bus: NatsConnection,
  subject: string,
  procedure: Procedure,
  request: unknown,
  options: CallOptions & { readonly remainingMs: number },
): Promise<unknown> {
  const timeout = Math.floor(options.remainingMs);
  if (timeout <= 0) throw new Failure('TIMEOUT');
  if (!isConnected(bus)) throw new Failure('UNAVAILABLE', { cause: 'the bus is away' });
  const payload = JSON.stringify(request);
  if (Buffer.byteLength(payload) > MAX_PAYLOAD_BYTES)
    throw new Failure('INVALID_REQUEST', { detail: 'the message is too large' });
  const sent = headers();
  sent.set(DEADLINE_HEADER, String(timeout));
  if (options.requestId !== undefined) sent.set(REQUEST_ID_HEADER, options.requestId);
  propagation.inject(context.active(), sent, { set: (carrier, key, value) => carrier.set(key, value) });
  const reply = await untilAborted(bus.request(subject, payload, { timeout, headers: sent }), options.signal).catch(
    (error: unknown) => {
      throw transportFailure(error);
    },
  );
  return readReply(reply, procedure);
}

function readReply(reply: Msg, procedure: Procedure): unknown {
  if (reply.headers?.has(ERROR_HEADER) === true) {
    const parsed = ErrorReply.safeParse(parseJson(reply));
    if (!parsed.success) throw new Failure('INTERNAL', { cause: parsed.error });
    const { code, ...rest } = parsed.data;
    throw new Failure(code, rest);
  }
  const parsed = procedure.response.safeParse(parseJson(reply));
  if (!parsed.success) throw new Failure('INTERNAL', { cause: parsed.error });
  return parsed.data;
}

function parseJson(reply: Msg): unknown {
  try {
    return reply.json();
  } catch (cause) {
    throw new Failure('INTERNAL', { cause });
  }
}

function transportFailure(error: unknown): Failure {
  if (isFailure(error)) return error;
  if (error instanceof errors.InvalidArgumentError) {
    return new Failure('INVALID_REQUEST', { detail: 'the message is too large', cause: error });
  }
  if (rootOf(error) instanceof errors.PermissionViolationError) return new Failure('INTERNAL', { cause: error });
  if (error instanceof errors.RequestError && error.isNoResponders()) return new Failure('UNAVAILABLE', { cause: error });
  if (error instanceof errors.NoRespondersError) return new Failure('UNAVAILABLE', { cause: error });
  if (error instanceof errors.TimeoutError || (error instanceof Error && error.cause instanceof errors.TimeoutError)) {
    return new Failure('TIMEOUT', { cause: error });
  }
  return new Failure('UNAVAILABLE', { cause: error });
}

const rootOf = (error: unknown): unknown => (error instanceof errors.RequestError ? error.cause : error);

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(new Failure('TIMEOUT', { cause: signal.reason }));
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', abort);
    // The reply of an abandoned call may still fail; nobody is left to hear it.
    work.catch(() => {});
  }
}
