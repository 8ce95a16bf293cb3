/** Checks and hashes passwords behind one gate, so that a flood of logins is turned away before memory or processor is gone. */
import { randomUUID } from 'node:crypto';

import type { Gate, Passage } from './gate.ts';
import { preparePassword } from './passwords.ts';
import type { Deadline, PasswordHasher } from './ports.ts';

export interface PasswordDesk {
  /** Costs the same whether there is a hash or not. */
  verify(deadline: Deadline, hash: string | null | undefined, password: string): Promise<Passage<boolean>>;
  hash(deadline: Deadline, password: string): Promise<Passage<string>>;
  isOutdated(hash: string): boolean;
}

export async function createPasswordDesk(hasher: PasswordHasher, gate: Gate): Promise<PasswordDesk> {
  const nobodys = await hasher.hash(randomUUID());
  return {
    verify: (deadline, hash, password) =>
      gate.pass(deadline, async () => {
        const matches = await hasher.verify(hash ?? nobodys, preparePassword(password));
        return matches && hash !== null && hash !== undefined;
      }),
    hash: (deadline, password) => gate.pass(deadline, () => hasher.hash(preparePassword(password))),
    isOutdated: (hash) => hasher.isOutdated(hash),
  };
}
