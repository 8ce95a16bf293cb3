/** Requests to cancel show no credentials but the key of a session. Who knows the keys may ask as often as they like. */
import type { Clock } from './ports.ts';
import { createRate } from './rate.ts';

export interface CancelsOptions<Key> {
  readonly clock: Clock;
  readonly wait: (ms: number) => Promise<void>;
  /** Tells the mesh; whether somebody has known the key, and has sent the signal. */
  readonly ask: (key: Key) => Promise<boolean>;
}

/** A client that guesses keys gets no further than this, those under way among them. */
const GUESSES = { burst: 40, perSecond: 20, max: 10_000 };
/** One that may not ask now waits for it so often, and so long each time. */
const PATIENCE = { times: 10, ms: 100 };

/** Resolves when what was asked for has been done, or cannot be. */
export function createCancels<Key>({ clock, wait, ask }: CancelsOptions<Key>): (key: Key, client: string) => Promise<void> {
  const guesses = createRate({ clock, ...GUESSES });
  return async (key, client) => {
    for (let times = 0; !guesses.may(client); times += 1) {
      if (times === PATIENCE.times) return;
      await wait(PATIENCE.ms);
    }
    if (await ask(key)) guesses.giveBack(client);
  };
}
