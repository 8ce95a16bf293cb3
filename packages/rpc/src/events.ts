import type { EventContract, PayloadOf } from '@postern/contracts/define';
import { eventSubject } from '@postern/contracts/define';
import type { NatsConnection } from '@nats-io/transport-node';
import type { Logger } from 'pino';

/** Tells an event to whoever listens now; nobody listening is no error. */
export function emit<E extends EventContract>(bus: NatsConnection, event: E, payload: PayloadOf<E>): void {
  bus.publish(eventSubject(event), JSON.stringify(payload));
}

/** Hears an event on every replica (no queue group). A payload that does not fit is dropped and logged. */
export function listen<E extends EventContract>(
  bus: NatsConnection,
  event: E,
  log: Logger,
  hear: (payload: PayloadOf<E>) => void,
): Disposable {
  const subscription = bus.subscribe(eventSubject(event), {
    callback: (error, message) => {
      if (error !== null) return log.error({ err: error }, 'subscription failed');
      try {
        // The schema is the event's own, so its output is the event's payload.
        hear(event.payload.parse(message.json()) as PayloadOf<E>);
      } catch (cause) {
        log.warn({ err: cause, subject: message.subject }, 'event dropped');
      }
    },
  });
  return { [Symbol.dispose]: () => subscription.unsubscribe() };
}
