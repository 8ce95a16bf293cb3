/** The person's or the system's wish to stop: the first drains, the second does not wait. */
export interface StopSignals {
  readonly stop: AbortSignal;
  /** Called at the second signal. */
  readonly onHurry: (hurry: () => void) => void;
}

/** A terminal, npm and a process group may each pass the same wish on. */
const SAME_WISH_MS = 300;

export function listenForStop(say: (message: string) => void): StopSignals {
  const first = new AbortController();
  const hurries: (() => void)[] = [];
  let askedAt = 0;
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (!first.signal.aborted) {
        askedAt = performance.now();
        say(`${signal}: draining; once more ends it at once`);
        return first.abort();
      }
      if (performance.now() - askedAt < SAME_WISH_MS) return;
      say(`${signal}: ending at once`);
      for (const hurry of hurries) hurry();
    });
  }
  return { stop: first.signal, onHurry: (hurry) => void hurries.push(hurry) };
}

/** The start was given up because it was asked to. */
export class Stopped extends Error {
  override readonly name = 'Stopped';
}
