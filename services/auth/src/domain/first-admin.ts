/** The one who lets in everybody else: made when there is no admin, and only then. */
import { parseApiKey } from './api-keys.ts';
import type { EnrolmentTools } from './enrolment.ts';
import { alignLogin, enrol } from './enrolment.ts';
import type { PasswordDesk } from './password-desk.ts';
import type { Deadline, Directory, DirectoryTransaction, Person } from './ports.ts';

export interface FirstAdmin {
  readonly name: string;
  readonly password: string | undefined;
  /** A whole API key that this admin also has. */
  readonly apiKey: string | undefined;
}

export interface FirstAdminTools extends EnrolmentTools {
  readonly directory: Directory;
  readonly desk: PasswordDesk;
}

export type FirstAdminOutcome = 'made' | 'present' | 'passwordNeeded' | 'taken' | 'late';

export async function ensureFirstAdmin(tools: FirstAdminTools, wish: FirstAdmin, deadline: Deadline): Promise<FirstAdminOutcome> {
  const { directory, desk } = tools;
  if ((await directory.at(deadline).countAdmins()) > 0) return 'present';
  if (wish.password === undefined) return 'passwordNeeded';
  const hashed = await desk.hash(deadline, wish.password);
  if (hashed.kind !== 'done') return 'late';
  return directory.transact(deadline, async (transaction) => {
    await transaction.lockLogins('shared');
    await transaction.lockAdmins();
    await transaction.lockName(wish.name);
    if ((await transaction.countAdmins()) > 0) return 'present';
    const admin = await makeAdmin(tools, transaction, { name: wish.name, passwordHash: hashed.value, deadline });
    if (admin === undefined) return 'taken';
    await keepKey(tools, transaction, admin, wish.apiKey);
    return 'made';
  });
}

interface AdminWish {
  readonly name: string;
  readonly passwordHash: string;
  readonly deadline: Deadline;
}

/** Whoever has the name becomes admin; this is also how a mesh whose admins are all lost is entered again. */
async function makeAdmin(
  tools: FirstAdminTools,
  transaction: DirectoryTransaction,
  { name, passwordHash, deadline }: AdminWish,
): Promise<Person | undefined> {
  const known = await transaction.personByName(name);
  if (known === undefined) {
    const wish = { name, kind: 'person', origin: 'created', roles: ['admin'], passwordHash, deadline } as const;
    const made = await enrol(tools, transaction, wish);
    return made.kind === 'made' ? made.person : undefined;
  }
  const wanted: Person = {
    ...known,
    roles: ['admin'],
    passwordHash,
    disabled: false,
    epoch: known.epoch + 1,
    updatedAt: tools.clock.now(),
  };
  const aligned = await alignLogin(tools, wanted, deadline);
  if (aligned.kind !== 'made') return undefined;
  await transaction.updatePerson(aligned.person);
  return aligned.person;
}

async function keepKey(
  tools: FirstAdminTools,
  transaction: DirectoryTransaction,
  admin: Person,
  apiKey: string | undefined,
): Promise<void> {
  const parts = apiKey === undefined ? undefined : parseApiKey(apiKey);
  if (parts === undefined || (await transaction.keyById(parts.id)) !== undefined) return;
  await transaction.insertKey({
    id: parts.id,
    personId: admin.id,
    name: 'first admin',
    secretHash: tools.vault.keyedHash(parts.secret),
    createdAt: tools.clock.now(),
    expiresAt: null,
    lastUsedAt: null,
  });
}
