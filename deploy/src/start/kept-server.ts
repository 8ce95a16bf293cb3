/** A server that the mesh runs itself: started again on the same port when it dies. */
import { setTimeout as delay } from 'node:timers/promises';

import type { ServerProcess } from '../servers/server-process.ts';

const PAUSE_MS_MIN = 2_000;
const PAUSE_MS_MAX = 30_000;

/** Starts a server and keeps it; `start` is called again with the port that it took first. */
export async function keepServer<Server extends ServerProcess & { readonly port: number }>(
  name: string,
  start: (port: number | undefined) => Promise<Server>,
  say: (message: string) => void,
): Promise<Server> {
  const first = await start(undefined);
  const stopping = new AbortController();
  let server = first;
  const keep = async (): Promise<void> => {
    let pauseMs = PAUSE_MS_MIN;
    for (;;) {
      await server.exited;
      if (stopping.signal.aborted) return;
      say(`${name} has ended; it is started again in ${pauseMs} ms`);
      await delay(pauseMs, undefined, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) return;
      try {
        server = await start(first.port);
        pauseMs = PAUSE_MS_MIN;
        say(`${name} is there again`);
      } catch (error) {
        say(`${name} cannot be started again: ${error instanceof Error ? error.message : String(error)}`);
        pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
      }
    }
  };
  const kept = keep();
  const stop = async (): Promise<void> => {
    stopping.abort();
    await server.stop();
    await kept;
    // One that was just being started again when the stop came.
    await server.stop();
  };
  return { ...first, stop, [Symbol.asyncDispose]: stop };
}
