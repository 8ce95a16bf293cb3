import { hash, parseOptions, verify } from '@node-rs/argon2';

import type { PasswordHasher } from '../domain/ports.ts';

/** OWASP's password storage cheat sheet, argon2id: 19 MiB, two passes, one lane. */
const TODAY = { memoryCost: 19_456, timeCost: 2, parallelism: 1, outputLen: 32 };

export const createArgon2Hasher = (parameters: typeof TODAY = TODAY): PasswordHasher => ({
  hash: (password) => hash(password, parameters),
  verify: (hashed, password) => verify(hashed, password),
  isOutdated(hashed) {
    if (!hashed.startsWith('$argon2id$')) return true;
    const made = parseOptions(hashed);
    return (
      made.memoryCost !== parameters.memoryCost ||
      made.timeCost !== parameters.timeCost ||
      made.parallelism !== parameters.parallelism
    );
  },
});
