/**
 * Makes a person and their database login as one. The login is kept first, the person last: a crash between the two leaves a
 * login that is marked as ours and belongs to nobody, which the next attempt takes over and {@link file://./reconciliation.ts}
 * removes. A person without a login is never seen.
 */
import type { GroupRole, PrincipalKind } from '@postern/contracts/common';
import { randomBytes, randomUUID } from 'node:crypto';

import type { Clock, DatabaseLogins, Deadline, DirectoryTransaction, Origin, Person } from './ports.ts';
import type { Vault } from './vault.ts';

export interface EnrolmentTools {
  readonly logins: DatabaseLogins;
  readonly vault: Vault;
  readonly clock: Clock;
}

export interface NewPerson {
  readonly name: string;
  readonly kind: PrincipalKind;
  readonly origin: Origin;
  readonly roles: readonly GroupRole[];
  readonly passwordHash: string | null;
}

export type Enrolment = { readonly kind: 'made'; readonly person: Person } | { readonly kind: 'taken' };

/** The caller holds the name's lock and has seen that no person has the name. */
export async function enrol(
  tools: EnrolmentTools,
  transaction: DirectoryTransaction,
  wish: NewPerson & { readonly deadline: Deadline },
): Promise<Enrolment> {
  const { logins, vault, clock } = tools;
  const { deadline, ...given } = wish;
  const id = randomUUID();
  const secret = makeLoginSecret();
  const put = await logins.put(deadline, { name: given.name, personId: id, groups: given.roles, enabled: true, secret });
  if (put === 'taken') return { kind: 'taken' };
  const now = clock.now();
  const person: Person = {
    ...given,
    id,
    sealedLogin: logins.made ? vault.seal(secret, loginContext(given.name)) : null,
    disabled: false,
    epoch: 0,
    createdAt: now,
    updatedAt: now,
  };
  await transaction.insertPerson(person);
  return { kind: 'made', person };
}

/** Makes the login be what the person is; answers the person with the secret it then has. */
export const alignLogin = (tools: EnrolmentTools, person: Person, deadline: Deadline): Promise<Enrolment> =>
  putLogin(tools, person, { deadline, opened: openLoginSecret(tools.vault, person) });

/** The same, with a new secret: whatever else opened the login until now, a password that the person gave it themselves too, is over. */
export const renewLogin = (tools: EnrolmentTools, person: Person, deadline: Deadline): Promise<Enrolment> =>
  putLogin(tools, person, { deadline, opened: undefined });

async function putLogin(
  { logins, vault }: EnrolmentTools,
  person: Person,
  { deadline, opened }: { readonly deadline: Deadline; readonly opened: string | undefined },
): Promise<Enrolment> {
  if (!logins.made) return { kind: 'made', person };
  const secret = opened ?? makeLoginSecret();
  const { name, id: personId, roles: groups, disabled } = person;
  const put = await logins.put(deadline, { name, personId, groups, enabled: !disabled, secret });
  if (put === 'taken') return { kind: 'taken' };
  const sealedLogin = opened === undefined ? vault.seal(secret, loginContext(name)) : person.sealedLogin;
  return { kind: 'made', person: { ...person, sealedLogin } };
}

export const openLoginSecret = (vault: Vault, { name, sealedLogin }: Person): string | undefined =>
  sealedLogin === null ? undefined : vault.open(sealedLogin, loginContext(name));

const loginContext = (name: string): string => `database login ${name}`;

const makeLoginSecret = (): string => randomBytes(32).toString('base64url');
