import type { Principal } from '@postern/contracts/common';
import { randomUUID } from 'node:crypto';

/** A person as auth answers one, of whom no other test has heard. */
export const somebody = (changes: Partial<Principal> = {}): Principal => {
  const name = changes.name ?? `person-${randomUUID().slice(0, 8)}`;
  return {
    id: randomUUID(),
    kind: 'person',
    name,
    dbRole: name,
    scopes: ['role:reader'],
    method: 'password',
    expiresAt: 0,
    epoch: 0,
    ...changes,
  };
};
