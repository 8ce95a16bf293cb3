import type { NatsConnection } from '@nats-io/transport-node';
import { connect, credsAuthenticator } from '@nats-io/transport-node';
import type { Service } from '@postern/contracts/define';
import type { ServiceName } from '@postern/contracts/mesh';
import { connectBus } from '@postern/rpc/connect';
import type { Handlers, ServeOptions } from '@postern/rpc/serve';
import { serve } from '@postern/rpc/serve';
import { createLogger } from '@postern/service-kit/log';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { test } from 'vitest';

import { sharedNats } from './test-servers.ts';

export interface TestNats {
  readonly url: string;
  /** Path of a user's creds, as a service's `NATS_CREDS_FILE` names them. */
  credsFile(user: ServiceName | 'observer'): string;
}

/**
 * Tests with a real bus in operator mode, with the permissions that the contracts give: `await bus('edge')` connects as
 * that service, once per call. What the connections before it have subscribed to is known to the bus by then. All
 * connections of a test are closed at its end, and no other worker hears them.
 */
export const busTest = test
  .extend('nats', { scope: 'file' }, async (): Promise<TestNats> => {
    const { url, credsDir } = await sharedNats();
    return { url, credsFile: (user) => join(credsDir, `${user}.creds`) };
  })
  .extend('bus', async ({ nats }, { onCleanup }) => {
    const open: NatsConnection[] = [];
    onCleanup(async () => void (await Promise.all(open.map((connection) => connection.close()))));
    return async (user: ServiceName | 'observer'): Promise<NatsConnection> => {
      const connection = await connectAs(nats, user);
      // The server reads its connections side by side: a question on one may overtake a subscription on another.
      await Promise.all(open.filter((other) => !other.isClosed()).map((other) => other.flush()));
      open.push(connection);
      return connection;
    };
  });

/** A connection with a service's own rights, or with those of the observer, who may only ask who is there. */
export async function connectAs(nats: TestNats, user: ServiceName | 'observer'): Promise<NatsConnection> {
  const credsFile = nats.credsFile(user);
  if (user !== 'observer') return connectBus(user, { url: nats.url, credsFile });
  const creds = new Uint8Array(await readFile(credsFile));
  return connect({ servers: nats.url, name: user, authenticator: credsAuthenticator(creds) });
}

/** Serves a contract with stand-in handlers, silently: `serveStub(await bus('auth'), authService, { … })`. */
export const serveStub = <S extends Service>(
  bus: NatsConnection,
  service: S,
  handlers: Handlers<S>,
  options: Partial<ServeOptions> = {},
): AsyncDisposable => serve(bus, service, handlers, { ...serveOptions(), ...options });

/** What `serve` needs, with nothing printed. */
export const serveOptions = (): ServeOptions => ({
  log: createLogger({ service: 'test', level: 'silent' }),
  metrics: new Registry(),
  replicaId: crypto.randomUUID(),
});
