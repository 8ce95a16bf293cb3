/**
 * What a client can show, instead of credentials, to have its session's statement canceled: the process id of the backend
 * and a secret. The secret is one of our own, so that it is good for nothing but what we do with it.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';

export interface CancelKey extends Disposable {
  /** Unsigned, 32 bits. */
  readonly secretKey: number;
}

export interface CancelKeys {
  /** Made when a session is opened, disposed when it is closed. */
  register(processId: number, cancel: () => Promise<void>): CancelKey;
  /** Whether signed or unsigned. Resolves when the signal has been sent; with false if the key is not known here. */
  cancel(processId: number, secretKey: number): Promise<boolean>;
}

const KEY_BYTES = 4;

interface Entry {
  readonly key: Buffer;
  readonly cancel: () => Promise<void>;
}

export function createCancelKeys(): CancelKeys {
  /** Process ids are the server's own, and it may have several: of one with the same id, more than one can be open. */
  const entries = new Map<number, Set<Entry>>();
  return {
    register(processId, cancel) {
      const entry: Entry = { key: randomBytes(KEY_BYTES), cancel };
      const known = entries.get(processId);
      if (known === undefined) entries.set(processId, new Set([entry]));
      else known.add(entry);
      return {
        secretKey: entry.key.readUInt32BE(0),
        [Symbol.dispose]() {
          const those = entries.get(processId);
          those?.delete(entry);
          if (those?.size === 0) entries.delete(processId);
        },
      };
    },
    async cancel(processId, secretKey) {
      const shown = Buffer.allocUnsafe(KEY_BYTES);
      shown.writeUInt32BE(secretKey >>> 0, 0);
      const meant = [...(entries.get(processId) ?? [])].filter(({ key }) => timingSafeEqual(key, shown));
      await Promise.all(meant.map(async ({ cancel }) => cancel()));
      return meant.length > 0;
    },
  };
}
