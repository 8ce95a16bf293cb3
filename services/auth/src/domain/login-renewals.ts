/**
 * New secrets for database logins. People can change the password and the settings of their own role, which may shut the mesh
 * out, or let them in beside it for good; a new secret ends both.
 */
import type { EnrolmentTools } from './enrolment.ts';
import { renewLogin } from './enrolment.ts';
import type { Deadline, Directory, Person, Reporter } from './ports.ts';

export interface LoginRenewals {
  /** The database refused what was lent. Bounded: whoever breaks their login again and again costs no more than one who does so now and then. */
  heal(deadline: Deadline, person: Person): Promise<void>;
  /** A credential of this person has ended; a failure is told, and undoes nothing. */
  renew(deadline: Deadline, personId: string): Promise<void>;
}

export interface LoginRenewalsOptions extends EnrolmentTools {
  readonly directory: Directory;
  readonly reporter: Reporter;
}

/** Between two that the database's refusals lead to. */
const PAUSE_MS = 3_000;
/** Beyond this number of people those are forgotten whose pause is over. */
const REMEMBERED = 1_000;

export function createLoginRenewals(options: LoginRenewalsOptions): LoginRenewals {
  const { directory, logins, clock, reporter } = options;
  const underWay = new Map<string, Promise<void>>();
  const healedAt = new Map<string, number>();
  const isPaused = (id: string): boolean => clock.now() - (healedAt.get(id) ?? -Infinity) < PAUSE_MS;

  /** Not if the secret is another one already than the one that `isSeen`: another replica was first. */
  const renew = (deadline: Deadline, id: string, isSeen: (person: Person) => boolean): Promise<void> =>
    directory.transact(deadline, async (transaction) => {
      await transaction.lockLogins('shared');
      const known = await transaction.personById(id);
      if (known === undefined) return;
      await transaction.lockName(known.name);
      const person = await transaction.personById(id);
      if (person === undefined || !isSeen(person)) return;
      const renewed = await renewLogin(options, person, deadline);
      if (renewed.kind === 'made') await transaction.updatePerson(renewed.person);
    });

  return {
    async heal(deadline, { id, name, sealedLogin }) {
      if (!logins.made) return;
      const running = underWay.get(id);
      if (running !== undefined) return running;
      if (isPaused(id)) return;
      if (healedAt.size >= REMEMBERED) for (const healed of healedAt.keys()) if (!isPaused(healed)) healedAt.delete(healed);
      healedAt.set(id, clock.now());
      const healing = renew(deadline, id, (person) => person.sealedLogin === sealedLogin).finally(() => underWay.delete(id));
      underWay.set(id, healing);
      await healing;
      reporter.warn({ name }, 'the database refused the login of this person; it has a new secret');
    },
    async renew(deadline, personId) {
      if (!logins.made) return;
      await renew(deadline, personId, () => true).catch((err: unknown) =>
        reporter.warn({ err }, 'a database login kept its secret'),
      );
    },
  };
}
