import { unwatchFile, watchFile } from 'node:fs';
import type { Logger } from 'pino';

import type { KeyPair } from '../domain/ports.ts';

const POLL_MS = 5_000;

export interface KeyPairFiles {
  readonly tlsCertFile?: string | undefined;
  readonly tlsKeyFile?: string | undefined;
}

/**
 * Takes a new pair when a file has changed, or on SIGHUP; polls, since a mounted secret is replaced by a link. A pair that
 * cannot be used is told, and the old one stays.
 */
export function renewOnChange(
  { tlsCertFile, tlsKeyFile }: KeyPairFiles,
  log: Logger,
  read: () => KeyPair | undefined,
  renew: (keyPair: KeyPair) => void,
): Disposable {
  const files = [tlsCertFile, tlsKeyFile].filter((file) => file !== undefined);
  const changed = (): void => {
    try {
      const keyPair = read();
      if (keyPair === undefined) return;
      renew(keyPair);
      log.info('certificate renewed');
    } catch (error) {
      log.error({ err: error }, 'the new certificate cannot be used; the old one stays');
    }
  };
  for (const file of files) watchFile(file, { interval: POLL_MS, persistent: false }, changed);
  process.on('SIGHUP', changed);
  return {
    [Symbol.dispose]() {
      for (const file of files) unwatchFile(file, changed);
      process.off('SIGHUP', changed);
    },
  };
}
