import type { Principal } from '@postern/contracts/common';
import { principalOf } from '@postern/testkit/principals';
import { randomUUID } from 'node:crypto';

/** A person as auth answers one, of whom no other test has heard. */
export const somebody = (changes: Partial<Principal> = {}): Principal => {
  const name = changes.name ?? `person-${randomUUID().slice(0, 8)}`;
  return principalOf(name, { id: randomUUID(), ...changes });
};
