import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';

export interface CuttableProxy extends AsyncDisposable {
  /** The same URL, by way of the proxy. */
  readonly url: string;
  /** Breaks all connections and takes no new ones. */
  cut(): Promise<void>;
  restore(): Promise<void>;
  /** Keeps connections and passes nothing on. */
  freeze(): void;
}

/** A way to a server that a test can break without stopping the server, which other tests share. */
export async function startCuttableProxy(target: string): Promise<CuttableProxy> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  });
  const listen = async (at: number): Promise<void> => {
    const listening = Promise.withResolvers<void>();
    server.once('error', listening.reject);
    server.listen(at, '127.0.0.1', listening.resolve);
    await listening.promise;
  };
  await listen(0);
  const own = (server.address() as AddressInfo).port;
  const url = new URL(target);
  url.hostname = '127.0.0.1';
  url.port = String(own);

  const cut = async (): Promise<void> => {
    const closed = Promise.withResolvers<void>();
    server.close(() => closed.resolve());
    for (const socket of sockets) socket.destroy();
    await closed.promise;
  };
  return {
    url: url.href,
    cut,
    restore: () => listen(own),
    freeze() {
      for (const socket of sockets) {
        socket.unpipe();
        socket.resume();
      }
    },
    async [Symbol.asyncDispose]() {
      if (server.listening) await cut();
    },
  };
}
