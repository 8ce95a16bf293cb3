import type { EventContract, PayloadOf } from '@postern/contracts/define';
import { eventSubject } from '@postern/contracts/define';
import type { NatsConnection } from '@nats-io/transport-node';
import type { Logger } from 'pino';

import { INBOX_PREFIX } from './wire.ts';

/** Tells an event to whoever listens now; nobody listening is no error. */
export function emit<E extends EventContract>(bus: NatsConnection, event: E, payload: PayloadOf<E>): void {
  bus.publish(eventSubject(event), JSON.stringify(payload));
}

/**
 * Tells an event, and waits until one of those who hear it has acknowledged it. The others say nothing: where none does, the
 * whole time is waited, and the answer is false.
 */
export async function emitAndWait<E extends EventContract>(
  bus: NatsConnection,
  event: E,
  payload: PayloadOf<E>,
  timeoutMs: number,
): Promise<boolean> {
  try {
    await bus.request(eventSubject(event), JSON.stringify(payload), { timeout: timeoutMs });
    return true;
  } catch {
    return false;
  }
}

/**
 * Hears an event on every replica (no queue group). A payload that does not fit is dropped and logged. `acknowledge` answers
 * whoever waits for it; at most one of the listeners calls it.
 */
export function listen<E extends EventContract>(
  bus: NatsConnection,
  event: E,
  log: Logger,
  hear: (payload: PayloadOf<E>, acknowledge: () => void) => void,
): Disposable {
  const subscription = bus.subscribe(eventSubject(event), {
    callback: (error, message) => {
      if (error !== null) return log.error({ err: error }, 'subscription failed');
      try {
        // The schema is the event's own, so its output is the event's payload.
        hear(event.payload.parse(message.json()) as PayloadOf<E>, () => {
          // Answers go to inboxes and nowhere else, whatever reply subject was asked for.
          if (message.reply?.startsWith(INBOX_PREFIX) === true) message.respond();
        });
      } catch (cause) {
        log.warn({ err: cause, subject: message.subject }, 'event dropped');
      }
    },
  });
  return { [Symbol.dispose]: () => subscription.unsubscribe() };
}
