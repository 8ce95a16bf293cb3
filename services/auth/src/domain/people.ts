/** Administration of people. Whoever calls has been judged by {@link judgeActor}. */
import type { GroupRole, Principal } from '@postern/contracts/common';

import { createAttempts } from './attempts.ts';
import type { EnrolmentTools } from './enrolment.ts';
import { enrol, renewLogin } from './enrolment.ts';
import { ownsCredentials } from './identities.ts';
import { judgeName } from './names.ts';
import type { PasswordDesk } from './password-desk.ts';
import { passwordMistake } from './passwords.ts';
import type { Deadline, Directory, Page, Person, Reporter, Revocations } from './ports.ts';
import { hasRole, isOfEpoch } from './principals.ts';

/** Who asks, as of now. */
export interface Actor {
  readonly person: Person;
  readonly principal: Principal;
  readonly isAdmin: boolean;
}

/** Nobody, if the person was removed or disabled or has other credentials since the principal was signed; admin only if both say so. */
export async function judgeActor(directory: Directory, deadline: Deadline, principal: Principal): Promise<Actor | undefined> {
  const person = await directory.at(deadline).personById(principal.id);
  if (person === undefined || person.disabled || !isOfEpoch(principal, person)) return undefined;
  return { person, principal, isAdmin: hasRole(principal, 'admin') && person.roles.includes('admin') };
}

export interface PersonWish {
  readonly name: string;
  readonly kind: 'person' | 'service' | 'agent';
  readonly roles: readonly GroupRole[];
  readonly password: string | undefined;
}

export interface PersonChange {
  readonly password?: string | undefined;
  readonly roles?: readonly GroupRole[] | undefined;
  readonly disabled?: boolean | undefined;
}

type Crowded = { readonly kind: 'busy' } | { readonly kind: 'late' };
type Weak = { readonly kind: 'weak'; readonly reason: string };
type Done = { readonly kind: 'done'; readonly person: Person };
type Unknown = { readonly kind: 'unknown' };

export type Creation = Done | { readonly kind: 'taken' | 'reserved' | 'malformed' } | Weak | Crowded;
export type Change = Done | Unknown | { readonly kind: 'lastAdmin' | 'unmanaged' | 'taken' } | Weak | Crowded;
export type Removal = Done | Unknown | { readonly kind: 'lastAdmin' };
export type PasswordChange =
  | Done
  | { readonly kind: 'refused' }
  | { readonly kind: 'limited'; readonly waitSeconds: number }
  | Weak
  | Crowded;

export interface PeopleOptions extends EnrolmentTools {
  readonly directory: Directory;
  readonly desk: PasswordDesk;
  readonly revocations: Revocations;
  readonly reporter: Reporter;
}

export type People = ReturnType<typeof createPeople>;

export function createPeople(options: PeopleOptions) {
  const { directory, desk, logins, clock, revocations } = options;
  const attempts = createAttempts(clock);
  return {
    list: (deadline: Deadline, page: Page): Promise<readonly Person[]> => directory.at(deadline).people(page),

    find: (deadline: Deadline, name: string): Promise<Person | undefined> => directory.at(deadline).personByName(name),

    async create(deadline: Deadline, wish: PersonWish): Promise<Creation> {
      const verdict = judgeName(wish.name);
      if (verdict !== 'fine') return { kind: verdict };
      const hashed = await hashNew(desk, deadline, wish.name, wish.password);
      if (hashed.kind !== 'done') return hashed;
      return directory.transact(deadline, async (transaction): Promise<Creation> => {
        await transaction.lockLogins('shared');
        await transaction.lockName(wish.name);
        if ((await transaction.personByName(wish.name)) !== undefined) return { kind: 'taken' };
        const { name, kind, roles } = wish;
        const made = await enrol(options, transaction, {
          name,
          kind,
          roles,
          origin: 'created',
          passwordHash: hashed.value,
          deadline,
        });
        return made.kind === 'made' ? { kind: 'done', person: made.person } : made;
      });
    },

    async change(deadline: Deadline, name: string, change: PersonChange): Promise<Change> {
      const hashed = await hashNew(desk, deadline, name, change.password);
      if (hashed.kind !== 'done') return hashed;
      const changed = await directory.transact(deadline, async (transaction): Promise<Change> => {
        await transaction.lockLogins('shared');
        await transaction.lockAdmins();
        await transaction.lockName(name);
        const person = await transaction.personByName(name);
        if (person === undefined) return { kind: 'unknown' };
        if (hashed.value !== null && !ownsCredentials(person)) return { kind: 'unmanaged' };
        const disabled = change.disabled ?? person.disabled;
        const wanted: Person = {
          ...person,
          passwordHash: hashed.value ?? person.passwordHash,
          roles: change.roles ?? person.roles,
          disabled,
          epoch: hashed.value !== null || disabled !== person.disabled ? person.epoch + 1 : person.epoch,
          updatedAt: clock.now(),
        };
        if (countsAsAdmin(person) && !countsAsAdmin(wanted) && (await transaction.countAdmins()) <= 1)
          return { kind: 'lastAdmin' };
        const renewed = await renewLogin(options, wanted, deadline);
        const touchesLogin = change.roles !== undefined || change.disabled !== undefined;
        if (renewed.kind === 'taken' && touchesLogin) return { kind: 'taken' };
        const changedPerson = renewed.kind === 'taken' ? wanted : renewed.person;
        await transaction.updatePerson(changedPerson);
        return { kind: 'done', person: changedPerson };
      });
      if (changed.kind === 'done') {
        revocations.announce({ principalId: changed.person.id });
        if (changed.person.disabled || hashed.value !== null) await endConnections(options, deadline, name);
      }
      return changed;
    },

    async remove(deadline: Deadline, name: string): Promise<Removal> {
      const removed = await directory.transact(deadline, async (transaction): Promise<Removal> => {
        await transaction.lockLogins('shared');
        await transaction.lockAdmins();
        await transaction.lockName(name);
        const person = await transaction.personByName(name);
        if (person === undefined) return { kind: 'unknown' };
        if (countsAsAdmin(person) && (await transaction.countAdmins()) <= 1) return { kind: 'lastAdmin' };
        await transaction.deletePerson(person.id);
        if (logins.made) {
          // Whoever holds something open for them hears why it ends before the database ends it.
          revocations.announce({ principalId: person.id });
          await logins.remove(deadline, name);
        }
        return { kind: 'done', person };
      });
      if (removed.kind === 'done') revocations.announce({ principalId: removed.person.id });
      return removed;
    },

    async changeOwnPassword(
      deadline: Deadline,
      actor: Actor,
      { currentPassword, newPassword }: { readonly currentPassword: string; readonly newPassword: string },
    ): Promise<PasswordChange> {
      const { id, name, passwordHash } = actor.person;
      const attempt = attempts.reserve(id);
      if (attempt.kind === 'limited') return attempt;
      let isWrong = false;
      try {
        const checked = await desk.verify(deadline, ownsCredentials(actor.person) ? passwordHash : null, currentPassword);
        if (checked.kind !== 'done') return checked;
        isWrong = !checked.value || passwordHash === null;
      } finally {
        if (!isWrong) attempt.giveBack();
      }
      if (isWrong) return { kind: 'refused' };
      const hashed = await hashNew(desk, deadline, name, newPassword);
      if (hashed.kind !== 'done') return hashed;
      const changed = await directory.transact(deadline, async (transaction): Promise<PasswordChange> => {
        await transaction.lockLogins('shared');
        await transaction.lockName(name);
        const person = await transaction.personById(id);
        // Somebody changed it while the old one was being checked.
        if (person === undefined || person.disabled || person.passwordHash !== passwordHash) return { kind: 'refused' };
        const wanted = { ...person, passwordHash: hashed.value, epoch: person.epoch + 1, updatedAt: clock.now() };
        const renewed = await renewLogin(options, wanted, deadline);
        const changedPerson = renewed.kind === 'taken' ? wanted : renewed.person;
        await transaction.updatePerson(changedPerson);
        return { kind: 'done', person: changedPerson };
      });
      if (changed.kind === 'done') {
        revocations.announce({ principalId: id });
        await endConnections(options, deadline, name);
      }
      return changed;
    },
  };
}

const countsAsAdmin = (person: Person): boolean =>
  person.roles.includes('admin') && !person.disabled && person.origin !== 'internal';

type Hashed = { readonly kind: 'done'; readonly value: string | null } | Weak | Crowded;

async function hashNew(desk: PasswordDesk, deadline: Deadline, name: string, password: string | undefined): Promise<Hashed> {
  if (password === undefined) return { kind: 'done', value: null };
  const reason = passwordMistake(name, password);
  return reason === undefined ? desk.hash(deadline, password) : { kind: 'weak', reason };
}

/** The login is shut, or has a new secret, already; that its connections could not be ended does not undo that. */
async function endConnections({ logins, reporter }: PeopleOptions, deadline: Deadline, name: string): Promise<void> {
  if (!logins.made) return;
  await logins.endConnections(deadline, name).catch((err: unknown) => reporter.warn({ err, name }, 'connections not ended'));
}
