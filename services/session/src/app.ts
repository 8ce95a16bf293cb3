import type { sessionService } from '@postern/contracts/session';
import type { Handlers } from '@postern/rpc/serve';

import { createLoginLimit } from './domain/login-limit.ts';
import { createLogins } from './domain/logins.ts';
import type { AttemptStore, Clock, Passwords, Pause, SessionStore, TellEnded } from './domain/ports.ts';
import type { Revocations } from './domain/revocations.ts';
import { createRevocations } from './domain/revocations.ts';
import type { SessionPolicy } from './domain/sessions.ts';
import { createSessions } from './domain/sessions.ts';
import { createHandlers } from './nats/handlers.ts';

export interface AppPorts {
  readonly sessionStore: SessionStore;
  readonly attemptStore: AttemptStore;
  readonly passwords: Passwords;
  readonly clock: Clock;
  readonly pause: Pause;
  readonly tellEnded: TellEnded;
  readonly policy: SessionPolicy;
  /** Aborted when the service stops. */
  readonly stopped: AbortSignal;
  readonly onRevocationDelay: (error: unknown) => void;
}

export interface App {
  readonly handlers: Handlers<typeof sessionService>;
  readonly revocations: Revocations;
}

export function createApp(ports: AppPorts): App {
  const { clock, pause, policy, tellEnded, passwords } = ports;
  const sessions = createSessions({ store: ports.sessionStore, policy, clock, tellEnded });
  const limit = createLoginLimit({ store: ports.attemptStore, clock, pause });
  const logins = createLogins({ limit, passwords, sessions });
  const revocations = createRevocations({
    endAll: (principalId) => sessions.endAll(principalId),
    pause,
    signal: ports.stopped,
    onDelay: ports.onRevocationDelay,
  });
  return { handlers: createHandlers({ logins, sessions }), revocations };
}
