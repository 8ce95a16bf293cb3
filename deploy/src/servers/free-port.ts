/** Ports of this machine that nobody listens on. */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/** Whether a port can be listened on now. Only a taken one counts as taken: other troubles are for the listener to tell. */
export async function isFree(port: number, host: string): Promise<boolean> {
  const probe = createServer();
  const { promise, resolve } = Promise.withResolvers<boolean>();
  probe.once('error', (error) => resolve(!('code' in error) || error.code !== 'EADDRINUSE'));
  probe.listen({ port, host, exclusive: true }, () => probe.close(() => resolve(true)));
  return promise;
}

/** Systems give higher ones to connections that go out, and to whoever listens on any. */
const PORTS = { from: 15_000, to: 32_000 };

/** A port that is free, and that nobody is given who does not ask for this one: it may be listened on later. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORTS.from, PORTS.to);
    if (await isFree(port, '127.0.0.1')) return port;
  }
}
