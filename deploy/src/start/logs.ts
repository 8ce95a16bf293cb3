/** Logs of a mesh on this machine: appended to for ever, so that they need a bound. */
import { copyFile, readdir, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';

const BYTES_MAX = 64 * 1_048_576;
const LOOK_MS = 30_000;

/** Moves what a log holds to `<name>.1` when it is too large; its writer appends, so it goes on in the same file. */
export function keepLogsSmall(folder: string): Disposable {
  const look = async (): Promise<void> => {
    for (const name of await readdir(folder)) {
      const path = join(folder, name);
      if (!name.endsWith('.log') || (await stat(path)).size <= BYTES_MAX) continue;
      await copyFile(path, `${path}.1`);
      await truncate(path);
    }
  };
  const timer = setInterval(() => void look().catch(() => {}), LOOK_MS).unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
