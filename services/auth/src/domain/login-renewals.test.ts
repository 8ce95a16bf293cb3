import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';

import { createMemoryDirectory } from '../../test/directory.memory.ts';
import { aPerson } from '../../test/directory.suite.ts';
import { openLoginSecret } from './enrolment.ts';
import { createLoginRenewals } from './login-renewals.ts';
import type { DatabaseLogins, Person } from './ports.ts';
import { createVault } from './vault.ts';

const soon = { remainingMs: () => 60_000 };

async function setUp({ put = async () => 'done' }: Partial<Pick<DatabaseLogins, 'put'>> = {}) {
  const directory = createMemoryDirectory();
  const secrets: string[] = [];
  const logins: DatabaseLogins = {
    made: true,
    mapped: () => undefined,
    put: async (deadline, wish) => {
      const outcome = await put(deadline, wish);
      if (outcome === 'done') secrets.push(wish.secret);
      return outcome;
    },
    endConnections: async () => {},
    remove: async () => 'absent',
    list: async () => new Map(),
  };
  const clock = { ms: 1_800_000_000_000, now: () => clock.ms };
  const vault = createVault('mesh', randomBytes(32));
  const warned: string[] = [];
  const reporter = { warn: (_what: object, message: string) => void warned.push(message) };
  const replica = () => createLoginRenewals({ directory, logins, vault, clock, reporter });
  const person = aPerson({ name: 'ada' });
  await directory.at(soon).insertPerson(person);
  const now = async (): Promise<Person> => (await directory.at(soon).personById(person.id)) ?? aPerson();
  return { directory, secrets, clock, vault, warned, replica, person, now };
}

test('a healed login has a new secret, which is the one that is lent from then on', async () => {
  const { replica, now, secrets, vault, warned } = await setUp();
  await replica().heal(soon, await now());
  expect(secrets).toHaveLength(1);
  expect(openLoginSecret(vault, await now())).toBe(secrets[0]);
  expect(warned).toHaveLength(1);
});

test('many refusals at once are healed once, and so are those that follow within three seconds', async () => {
  const { replica, now, secrets, clock } = await setUp();
  const renewals = replica();
  const person = await now();
  await Promise.all(Array.from({ length: 20 }, () => renewals.heal(soon, person)));
  expect(secrets).toHaveLength(1);
  clock.ms += 2_999;
  await renewals.heal(soon, await now());
  expect(secrets).toHaveLength(1);
  clock.ms += 1;
  await renewals.heal(soon, await now());
  expect(secrets).toHaveLength(2);
});

test('a secret that another replica has made anew since it was lent stays', async () => {
  const { replica, now, secrets } = await setUp();
  const seen = await now();
  await replica().heal(soon, seen);
  await replica().heal(soon, seen);
  expect(secrets).toHaveLength(1);
});

test('whoever is gone has no login made, and one that is not ours stays as it is', async () => {
  const { replica, secrets } = await setUp();
  await replica().heal(soon, aPerson());
  expect(secrets).toHaveLength(0);
  const foreign = await setUp({ put: async () => 'taken' });
  await foreign.replica().heal(soon, foreign.person);
  expect(await foreign.now()).toEqual(foreign.person);
});

test('a login that cannot be renewed when a key is revoked is told, and fails nothing', async () => {
  const { replica, person, warned, now } = await setUp({
    put: async () => {
      throw new Error('away');
    },
  });
  await replica().renew(soon, person.id);
  expect(warned).toEqual(['a database login kept its secret']);
  expect(await now()).toEqual(person);
});
