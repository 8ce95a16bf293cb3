import type { ServiceName } from '@postern/contracts/mesh';
import { inboxPrefix } from '@postern/contracts/all';
import type { NatsConnection } from '@nats-io/transport-node';
import { connect, credsAuthenticator } from '@nats-io/transport-node';
import { readFile } from 'node:fs/promises';

export interface BusOptions {
  readonly url: string;
  /** Path of the service's own creds file (operator mode: JWT and seed). */
  readonly credsFile: string;
}

/** Opens a service's connection to the bus. It reconnects for ever; while away, calls fail with `UNAVAILABLE`. */
export async function connectBus(service: ServiceName, { url, credsFile }: BusOptions): Promise<NatsConnection> {
  const creds = await readFile(credsFile);
  const bus = await connect({
    servers: url,
    name: service,
    inboxPrefix: inboxPrefix(service),
    authenticator: credsAuthenticator(new Uint8Array(creds)),
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 250,
    waitOnFirstConnect: true,
    pingInterval: 5_000,
    maxPingOut: 2,
    ignoreAuthErrorAbort: true,
  });
  void watch(bus);
  return bus;
}

const away = new WeakSet<NatsConnection>();

/** Whether the connection is up now; a call on one that is not would only wait for its deadline. */
export const isConnected = (bus: NatsConnection): boolean => !away.has(bus) && !bus.isClosed();

async function watch(bus: NatsConnection): Promise<void> {
  for await (const status of bus.status()) {
    if (status.type === 'disconnect' || status.type === 'staleConnection') away.add(bus);
    if (status.type === 'reconnect') away.delete(bus);
  }
}

/** Acts each time the connection has come back: events may have been missed meanwhile. */
export async function onReconnect(bus: NatsConnection, act: () => void): Promise<void> {
  for await (const status of bus.status()) if (status.type === 'reconnect') act();
}
