/** Who somebody is: every credential's way to a principal. */
import type { GroupRole, Principal } from '@postern/contracts/common';
import { timingSafeEqual } from 'node:crypto';

import { parseApiKey } from './api-keys.ts';
import type { EnrolmentTools, NewPerson } from './enrolment.ts';
import { alignLogin, enrol, openLoginSecret } from './enrolment.ts';
import { ANONYMOUS_NAME, INTERNAL_NAMES, judgeName } from './names.ts';
import type { PasswordDesk } from './password-desk.ts';
import type { Deadline, Directory, DirectoryTransaction, ExternalIdentity, Person, Reporter, Revocations } from './ports.ts';
import type { Proof } from './principals.ts';
import type { LoginRenewals } from './login-renewals.ts';
import { areScopesHeld, isOfEpoch, principalOf } from './principals.ts';

export interface IdentitiesOptions extends EnrolmentTools {
  readonly directory: Directory;
  readonly renewals: Pick<LoginRenewals, 'heal'>;
  readonly desk: PasswordDesk;
  readonly revocations: Revocations;
  readonly reporter: Reporter;
  /** Groups of people that are made on the word of a None listener or a trusted header. */
  readonly trustedRoles: readonly GroupRole[];
  /** Groups of people that are made on the word of an external issuer. */
  readonly externalRoles: readonly GroupRole[];
  /** Groups that an external issuer's groups give and take; none named, none touched. */
  readonly externalGroupRoles: Readonly<Record<string, readonly GroupRole[]>>;
}

type Known = { readonly kind: 'known'; readonly principal: Principal };
type Refused = { readonly kind: 'refused' };
type Crowded = { readonly kind: 'busy' } | { readonly kind: 'late' };

export type Identification = Known | Refused;
export type Admission = Known | { readonly kind: 'reserved' } | { readonly kind: 'denied' };

export interface ExternalToken extends ExternalIdentity {
  readonly name: string;
  readonly groups?: readonly string[] | undefined;
  /** Unix seconds. */
  readonly expiresAt: number;
}

export type Loan =
  | { readonly kind: 'lent'; readonly dbRole: string; readonly password: string }
  | { readonly kind: 'gone' }
  | { readonly kind: 'denied' };

/** A use of a key is noted at most this often. */
const KEY_USE_NOTED_EVERY_MS = 5 * 60_000;
const NO_HASH = Buffer.alloc(32);

export type Identities = ReturnType<typeof createIdentities>;

export function createIdentities(options: IdentitiesOptions) {
  const { directory, desk, vault, logins, clock, reporter, renewals } = options;
  const beingMade = new Map<string, Promise<Admission>>();
  const known = (person: Person, proof: Proof): Known => ({ kind: 'known', principal: principalOf(person, logins, proof) });

  return {
    async verifyPassword(deadline: Deadline, name: string, password: string): Promise<Identification | Crowded> {
      const found = await directory.at(deadline).personByName(name);
      const person = found !== undefined && mayLogIn(found) ? found : undefined;
      const checked = await desk.verify(deadline, person?.passwordHash, password);
      if (checked.kind !== 'done') return checked;
      if (!checked.value || person === undefined || person.passwordHash === null) return { kind: 'refused' };
      if (desk.isOutdated(person.passwordHash)) await hashAnew(options, deadline, person.id, person.passwordHash, password);
      return known(person, { method: 'password', expiresAt: 0 });
    },

    async verifyApiKey(deadline: Deadline, text: string): Promise<Identification> {
      const parts = parseApiKey(text);
      if (parts === undefined) return { kind: 'refused' };
      const found = await directory.at(deadline).keyById(parts.id);
      const given = vault.keyedHash(parts.secret);
      const matches = timingSafeEqual(given, found?.key.secretHash ?? NO_HASH);
      if (found === undefined || !matches || !mayLogIn(found.person)) return { kind: 'refused' };
      const { key, person } = found;
      const now = clock.now();
      if (key.expiresAt !== null && key.expiresAt <= now) return { kind: 'refused' };
      const unlessAfter = now - KEY_USE_NOTED_EVERY_MS;
      if (key.lastUsedAt === null || key.lastUsedAt <= unlessAfter) {
        directory
          .at(deadline)
          .noteKeyUse(key.id, { at: now, unlessAfter })
          .catch((err: unknown) => reporter.warn({ err }, 'use of a key not noted'));
      }
      const expiresAt = key.expiresAt === null ? 0 : Math.floor(key.expiresAt / 1_000);
      return known(person, { method: 'apiKey', tokenId: key.id, expiresAt });
    },

    async trust(deadline: Deadline, name: string): Promise<Admission> {
      const admit = (person: Person): Admission =>
        person.disabled ? { kind: 'denied' } : known(person, { method: 'trusted', expiresAt: 0 });
      const found = await directory.at(deadline).personByName(name);
      if (found !== undefined) return admit(found);
      const wish = trustedPerson(name, options.trustedRoles);
      if (wish === undefined) return { kind: 'reserved' };
      return once(beingMade, name, () =>
        directory.transact(deadline, async (transaction) => {
          await transaction.lockLogins('shared');
          await transaction.lockName(name);
          const meanwhile = await transaction.personByName(name);
          if (meanwhile !== undefined) return admit(meanwhile);
          const enrolment = await enrol(options, transaction, { ...wish, deadline });
          return enrolment.kind === 'made' ? admit(enrolment.person) : { kind: 'denied' };
        }),
      );
    },

    async admitExternal(deadline: Deadline, token: ExternalToken): Promise<Admission> {
      const proof: Proof = { method: 'oidc', expiresAt: token.expiresAt };
      const linked = await directory.at(deadline).personByIdentity(token);
      if (linked?.disabled === true) return { kind: 'denied' };
      if (linked !== undefined && isSame(linked.roles, syncedRoles(options, linked.roles, token.groups)))
        return known(linked, proof);
      let changed: Person | undefined;
      const admission = await directory.transact(deadline, async (transaction): Promise<Admission> => {
        const admitted = await admitLinked(options, transaction, token, deadline);
        if (admitted.kind !== 'admitted') return admitted;
        if (admitted.changed) changed = admitted.person;
        return known(admitted.person, proof);
      });
      if (changed !== undefined) options.revocations.announce({ principalId: changed.id });
      return admission;
    },

    /** Whether a principal, as resolved a while ago, is still true. */
    async isStanding(deadline: Deadline, principal: Principal): Promise<boolean> {
      const keyId = principal.method === 'apiKey' ? principal.tokenId : undefined;
      const standing = await directory.at(deadline).standing(principal.id, keyId);
      if (standing === undefined || standing.person.disabled || !standing.keyExists) return false;
      return isOfEpoch(principal, standing.person) && areScopesHeld(principal.scopes, standing.person.roles);
    },

    /** `refused`: the database did not take what was lent. */
    async lendLogin(deadline: Deadline, principal: Principal, { refused = false } = {}): Promise<Loan> {
      const find = () => directory.at(deadline).personById(principal.id);
      let person = await find();
      if (refused && person?.disabled === false) {
        await renewals.heal(deadline, person);
        person = await find();
      }
      if (person === undefined) return { kind: 'gone' };
      if (person.disabled) return { kind: 'denied' };
      const mapped = logins.mapped(person.name);
      if (mapped !== undefined) return { kind: 'lent', ...mapped };
      const password = logins.made ? openLoginSecret(vault, person) : undefined;
      return password === undefined ? { kind: 'denied' } : { kind: 'lent', dbRole: person.name, password };
    },
  };
}

/** Principals of the mesh itself and the anonymous one have no credential of their own. */
export const ownsCredentials = (person: Person): boolean => person.origin !== 'internal' && person.kind !== 'anonymous';

const mayLogIn = (person: Person): boolean => !person.disabled && ownsCredentials(person);

function trustedPerson(name: string, trustedRoles: readonly GroupRole[]): NewPerson | undefined {
  const base = { name, passwordHash: null };
  if (INTERNAL_NAMES.has(name)) return { ...base, kind: 'service', origin: 'internal', roles: ['admin'] };
  if (name === ANONYMOUS_NAME) return { ...base, kind: 'anonymous', origin: 'trusted', roles: trustedRoles };
  if (judgeName(name) !== 'fine') return undefined;
  return { ...base, kind: 'person', origin: 'trusted', roles: trustedRoles };
}

type Linked = { readonly kind: 'admitted'; readonly person: Person; readonly changed: boolean };

/** Finds, links or makes the person of an external token, and brings the roles in line with the token's groups. */
async function admitLinked(
  options: IdentitiesOptions,
  transaction: DirectoryTransaction,
  token: ExternalToken,
  deadline: Deadline,
): Promise<Linked | Exclude<Admission, Known>> {
  await transaction.lockLogins('shared');
  await transaction.lockAdmins();
  const linked = await transaction.personByIdentity(token);
  if (linked !== undefined) {
    await transaction.lockName(linked.name);
    const person = await transaction.personById(linked.id);
    if (person === undefined || person.disabled) return { kind: 'denied' };
    return syncRoles(options, transaction, { person, groups: token.groups, deadline });
  }
  if (judgeName(token.name) !== 'fine') return { kind: 'reserved' };
  await transaction.lockName(token.name);
  const namesake = await transaction.personByName(token.name);
  if (namesake === undefined) {
    const roles = syncedRoles(options, options.externalRoles, token.groups);
    const wish = { name: token.name, kind: 'person', origin: 'external', roles, passwordHash: null, deadline } as const;
    const enrolment = await enrol(options, transaction, wish);
    if (enrolment.kind === 'taken') return { kind: 'denied' };
    await transaction.linkIdentity(enrolment.person.id, token);
    return { kind: 'admitted', person: enrolment.person, changed: false };
  }
  const mayLink = namesake.kind === 'person' && !namesake.disabled && !namesake.roles.includes('admin');
  if (!mayLink || (await transaction.identityAt(namesake.id, token.issuer)) !== undefined) return { kind: 'denied' };
  await transaction.linkIdentity(namesake.id, token);
  return syncRoles(options, transaction, { person: namesake, groups: token.groups, deadline });
}

interface Sync {
  readonly person: Person;
  readonly groups: readonly string[] | undefined;
  readonly deadline: Deadline;
}

async function syncRoles(
  options: IdentitiesOptions,
  transaction: DirectoryTransaction,
  { person, groups, deadline }: Sync,
): Promise<Linked> {
  let roles = syncedRoles(options, person.roles, groups);
  const losesAdmin = person.roles.includes('admin') && !roles.includes('admin');
  if (losesAdmin && (await transaction.countAdmins()) <= 1) {
    options.reporter.warn({ name: person.name }, 'the last admin stays admin, whatever the groups of the issuer say');
    roles = [...roles, 'admin' as const].toSorted();
  }
  if (isSame(person.roles, roles)) return { kind: 'admitted', person, changed: false };
  const aligned = await alignLogin(options, { ...person, roles, updatedAt: options.clock.now() }, deadline);
  if (aligned.kind === 'taken') return { kind: 'admitted', person, changed: false };
  await transaction.updatePerson(aligned.person);
  return { kind: 'admitted', person: aligned.person, changed: true };
}

/** Roles that the map can give are given and taken by the groups; the others stay. */
function syncedRoles(
  { externalGroupRoles }: IdentitiesOptions,
  roles: readonly GroupRole[],
  groups: readonly string[] | undefined,
): readonly GroupRole[] {
  if (groups === undefined) return roles;
  const mapped = new Map(Object.entries(externalGroupRoles).map(([group, given]) => [group.toLowerCase(), given]));
  const managed = new Set([...mapped.values()].flat());
  const given = groups.flatMap((group) => mapped.get(group.toLowerCase()) ?? []);
  return [...new Set([...roles.filter((role) => !managed.has(role)), ...given])].toSorted();
}

const isSame = (left: readonly GroupRole[], right: readonly GroupRole[]): boolean =>
  left.toSorted().join() === right.toSorted().join();

/** A hash of older parameters is replaced when the password is at hand; that it could not be is no failure of the login. */
async function hashAnew(
  { desk, directory, reporter }: IdentitiesOptions,
  deadline: Deadline,
  id: string,
  from: string,
  password: string,
): Promise<void> {
  try {
    const hashed = await desk.hash(deadline, password);
    if (hashed.kind === 'done') await directory.at(deadline).replacePasswordHash(id, { from, to: hashed.value });
  } catch (err) {
    reporter.warn({ err }, 'password not hashed anew');
  }
}

/** One attempt per name in this process; those that come meanwhile get its outcome. */
function once<T>(underWay: Map<string, Promise<T>>, name: string, work: () => Promise<T>): Promise<T> {
  const shared = underWay.get(name);
  if (shared !== undefined) return shared;
  const own = work().finally(() => underWay.delete(name));
  underWay.set(name, own);
  return own;
}
