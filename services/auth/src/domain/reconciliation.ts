/** Compares all people with all logins and mends what a crash, a restored backup or a hand has put apart. */
import { alignLogin } from './enrolment.ts';
import type { EnrolmentTools } from './enrolment.ts';
import type { Deadline, Directory, DirectoryTransaction, LoginState, Person, Reporter } from './ports.ts';

export interface Reconciliation {
  readonly mended: number;
  readonly removed: number;
}

export interface ReconciliationTools extends EnrolmentTools {
  readonly directory: Directory;
  readonly reporter: Reporter;
}

const PAGE = 500;

export async function reconcileLogins(tools: ReconciliationTools, deadline: Deadline): Promise<Reconciliation> {
  const { directory, logins, reporter } = tools;
  if (!logins.made) return { mended: 0, removed: 0 };
  return directory.transact(deadline, async (transaction) => {
    await transaction.lockLogins('exclusive');
    const found = new Map(await logins.list(deadline));
    let mended = 0;
    for await (const person of everyone(transaction)) {
      const login = found.get(person.name);
      found.delete(person.name);
      if (login !== undefined && isAsWished(login, person)) continue;
      const aligned = await alignLogin(tools, person, deadline);
      if (aligned.kind === 'taken') {
        reporter.warn({ name: person.name }, 'the database role of this person is not ours');
        continue;
      }
      if (aligned.person.sealedLogin !== person.sealedLogin) await transaction.updatePerson(aligned.person);
      mended += 1;
    }
    for (const name of found.keys()) await logins.remove(deadline, name);
    return { mended, removed: found.size };
  });
}

async function* everyone(transaction: DirectoryTransaction): AsyncGenerator<Person> {
  let after: string | undefined;
  for (;;) {
    const page = await transaction.people({ after, limit: PAGE });
    yield* page;
    if (page.length < PAGE) return;
    after = page.at(-1)?.name;
  }
}

const isAsWished = (login: LoginState, person: Person): boolean =>
  login.personId === person.id &&
  login.enabled === !person.disabled &&
  person.sealedLogin !== null &&
  login.groups.toSorted().join() === person.roles.toSorted().join();
