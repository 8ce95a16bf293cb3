import type { Principal } from '@postern/contracts/common';

/** A person as auth answers one who has given a password. */
export const principalOf = (name: string, changes: Partial<Principal> = {}): Principal => ({
  id: `id-${name}`,
  kind: 'person',
  name,
  dbRole: name,
  scopes: ['role:reader'],
  method: 'password',
  expiresAt: 0,
  epoch: 0,
  ...changes,
});
