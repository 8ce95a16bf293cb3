/** Ports in, doors out. */
import type { Handlers } from '@postern/rpc/serve';
import type { authService } from '@postern/contracts/auth';
import { createAssertionVerifier } from '@postern/service-kit/assertion';
import { ConfigMistake } from '@postern/service-kit/run';
import type { Express } from 'express';
import type { Logger } from 'pino';
import { Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import { setTimeout as delay } from 'node:timers/promises';

import { createDeadlines } from './domain/deadline.ts';
import type { EnrolmentTools } from './domain/enrolment.ts';
import type { FirstAdmin, FirstAdminOutcome } from './domain/first-admin.ts';
import { ensureFirstAdmin } from './domain/first-admin.ts';
import type { Gate } from './domain/gate.ts';
import { createIdentities } from './domain/identities.ts';
import type { IdentitiesOptions } from './domain/identities.ts';
import { createKeys } from './domain/keys.ts';
import type { PasswordDesk } from './domain/password-desk.ts';
import { createLoginRenewals } from './domain/login-renewals.ts';
import { createPeople, judgeActor } from './domain/people.ts';
import type { Directory, Reporter, Revocations, SigningKeyStore } from './domain/ports.ts';
import { reconcileLogins } from './domain/reconciliation.ts';
import { createSigningKeys } from './domain/signing-keys.ts';
import { createHttp } from './http/server.ts';
import { createHandlers } from './nats/handlers.ts';

export const deadlineIn = createDeadlines(() => performance.now());

export interface AppOptions
  extends EnrolmentTools, Pick<IdentitiesOptions, 'trustedRoles' | 'externalRoles' | 'externalGroupRoles'> {
  readonly directory: Directory;
  readonly signingKeyStore: SigningKeyStore;
  readonly rotationMs: number;
  readonly desk: PasswordDesk;
  readonly gate: Gate;
  readonly revocations: Revocations;
  readonly log: Logger;
  readonly metrics: Registry;
}

export interface App {
  readonly handlers: Handlers<typeof authService>;
  readonly http: Express;
  /** What must be so before the first call: signing keys, an admin, a login for each person. */
  prepare(firstAdmin: FirstAdmin): Promise<void>;
  /** Reads the signing keys, making and retiring as due. */
  refreshKeys(): Promise<void>;
  /** Mends what people and their database logins differ in. */
  reconcile(): Promise<void>;
  /** Does both again and again until disposed. */
  startUpkeep(): AsyncDisposable;
}

/** Long: at a start, or in the background, nobody waits for an answer. */
const UPKEEP_DEADLINE_MS = 60_000;
/** Far below the time for which a key is published before it signs. */
const REFRESH_EVERY_MS = 30_000;
const RECONCILE_EVERY_MS = 600_000;

export function createApp(options: AppOptions): App {
  const { directory, vault, clock, log, metrics, rotationMs, signingKeyStore } = options;
  const reporter: Reporter = { warn: (what, message) => log.warn(what, message) };
  const renewals = createLoginRenewals({ ...options, reporter });
  const tools = { ...options, reporter, renewals };
  const signingKeys = createSigningKeys({ store: signingKeyStore, vault, clock, rotationMs });
  const loadKeys = async () => signingKeys.published();
  const people = createPeople(tools);
  gauge(metrics, options.gate);

  const app: App = {
    handlers: createHandlers({
      identities: createIdentities(tools),
      signingKeys,
      clock,
      verifySqlAssertion: createAssertionVerifier({ audience: 'sql', loadKeys }),
    }),
    http: createHttp({
      people,
      keys: createKeys(tools),
      judge: (deadline, principal) => judgeActor(directory, deadline, principal),
      verifyAssertion: createAssertionVerifier({ audience: 'auth', loadKeys }),
      log,
      metrics,
    }),
    async prepare(firstAdmin) {
      await app.refreshKeys();
      const outcome = await ensureFirstAdmin(options, firstAdmin, deadlineIn(UPKEEP_DEADLINE_MS));
      const mistake = firstAdminMistake(outcome);
      if (mistake !== undefined) throw new ConfigMistake(mistake);
      if (outcome === 'made') log.info({ name: firstAdmin.name }, 'first admin made');
      await app.reconcile();
    },
    async refreshKeys() {
      const unopened = await signingKeys.refresh(deadlineIn(UPKEEP_DEADLINE_MS));
      if (unopened.length > 0) log.error({ kids: unopened }, 'signing keys cannot be opened');
    },
    async reconcile() {
      const { mended, removed } = await reconcileLogins(tools, deadlineIn(UPKEEP_DEADLINE_MS));
      if (mended + removed > 0) log.warn({ mended, removed }, 'database logins mended');
    },
    startUpkeep() {
      const scope = new AsyncDisposableStack();
      scope.use(repeat(REFRESH_EVERY_MS, app.refreshKeys, log));
      scope.use(repeat(RECONCILE_EVERY_MS, app.reconcile, log));
      return scope;
    },
  };
  return app;
}

function firstAdminMistake(outcome: FirstAdminOutcome): string | undefined {
  switch (outcome) {
    case 'made':
    case 'present':
      return undefined;
    case 'passwordNeeded':
      return 'AUTH_FIRST_ADMIN_PASSWORD: there is no admin yet, and the first one needs a password';
    case 'taken':
      return 'AUTH_FIRST_ADMIN_NAME: the database has a role of this name that is not ours';
    case 'late':
      return 'AUTH_FIRST_ADMIN_PASSWORD: it could not be hashed in time';
  }
}

function repeat(everyMs: number, work: () => Promise<unknown>, log: Logger): AsyncDisposable {
  const stopped = new AbortController();
  const run = async (): Promise<void> => {
    for (;;) {
      await delay(everyMs, undefined, { signal: stopped.signal });
      await work().catch((err: unknown) => log.warn({ err }, 'upkeep failed; tried again later'));
    }
  };
  const running = run().catch(() => {});
  return {
    async [Symbol.asyncDispose]() {
      stopped.abort();
      await running;
    },
  };
}

function gauge(metrics: Registry, gate: Gate): void {
  const waiting: Gauge = new Gauge({
    name: 'postern_auth_password_waiting',
    help: 'Password checks that wait for their turn',
    registers: [metrics],
    collect() {
      waiting.set(gate.waiting);
    },
  });
}
