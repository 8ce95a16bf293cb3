import type { CredentialMethod, GroupRole, Principal } from '@postern/contracts/common';

import type { DatabaseLogins, Person } from './ports.ts';

export interface Proof {
  readonly method: CredentialMethod;
  readonly tokenId?: string;
  /** Unix seconds at which the credential ends; 0 if never. */
  readonly expiresAt: number;
}

export function principalOf(person: Person, logins: DatabaseLogins, proof: Proof): Principal {
  return {
    id: person.id,
    kind: person.kind,
    name: person.name,
    dbRole: logins.mapped(person.name)?.dbRole ?? person.name,
    scopes: scopesOf(person.roles),
    epoch: person.epoch,
    ...proof,
  };
}

const SCOPE_PREFIX = 'role:';

const scopesOf = (roles: readonly GroupRole[]): string[] => roles.map((role) => `${SCOPE_PREFIX}${role}`);

/** Whether every role that the scopes speak of is one the person has. */
export const areScopesHeld = (scopes: readonly string[], roles: readonly GroupRole[]): boolean => {
  const held = new Set(scopesOf(roles));
  return scopes.every((scope) => !scope.startsWith(SCOPE_PREFIX) || held.has(scope));
};

/** Whether what was proved is still a proof. A key is no password: it stands until it is revoked. */
export const isOfEpoch = ({ method, epoch }: Principal, person: Pick<Person, 'epoch'>): boolean =>
  method === 'apiKey' || epoch === person.epoch;

export const hasRole = (principal: Pick<Principal, 'scopes'>, role: GroupRole): boolean =>
  principal.scopes.includes(`${SCOPE_PREFIX}${role}`);
