import type { RequestListener, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { isIPv6 } from 'node:net';

export interface DoorOptions {
  readonly host: string;
  readonly port: number;
  /** Prepares the server before it listens: timeouts, limits, upgrade handling. */
  readonly prepare?: (server: Server) => void;
}

export interface Door extends AsyncDisposable {
  readonly server: Server;
  readonly port: number;
  /** `http://host:port` of the address that is listened on; a wildcard becomes this machine's first outer address. */
  readonly origin: string;
}

/**
 * Listens with an HTTP/1.1 server that drains when disposed: answers under way are finished, each with
 * `Connection: close`, and idle connections are shut.
 */
export async function openDoor(listener: RequestListener, options: DoorOptions): Promise<Door> {
  let draining = false;
  const underWay = new Set<ServerResponse>();
  const server = createServer({ keepAliveTimeout: 65_000, requestTimeout: 0, noDelay: true }, (request, response) => {
    if (draining) response.setHeader('connection', 'close');
    underWay.add(response);
    response.once('close', () => {
      underWay.delete(response);
      // One that had sent its headers before the drain leaves its connection open, and idle.
      if (draining) setImmediate(shutIdle);
    });
    listener(request, response);
  });
  const connections = new Set<Socket>();
  server.on('connection', (socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
  });
  /** Also those on which nothing, or not all of a head, was ever sent. */
  const shutIdle = (): void => {
    const busy = new Set([...underWay].map(({ req }) => req.socket));
    for (const socket of connections) if (!busy.has(socket)) socket.destroy();
  };
  options.prepare?.(server);
  const listening = Promise.withResolvers<void>();
  server.once('error', listening.reject);
  server.listen({ port: options.port, host: options.host, backlog: 1_024 }, listening.resolve);
  await listening.promise;
  server.off('error', listening.reject);
  const { port } = server.address() as AddressInfo;
  return {
    server,
    port,
    origin: `http://${reachableHost(options.host)}:${port}`,
    async [Symbol.asyncDispose]() {
      draining = true;
      for (const response of underWay) if (!response.headersSent) response.setHeader('connection', 'close');
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      shutIdle();
      await closed.promise;
    },
  };
}

function reachableHost(host: string): string {
  if (host !== '0.0.0.0' && host !== '::') return isIPv6(host) ? `[${host}]` : host;
  const outer = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find((address) => address.family === 'IPv4' && !address.internal);
  return outer?.address ?? '127.0.0.1';
}
