import type { GroupRole, Principal } from '@postern/contracts/common';
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';

import { createMemoryDirectory } from '../../test/directory.memory.ts';
import { aKey, aPerson } from '../../test/directory.suite.ts';
import { createGate } from './gate.ts';
import { createIdentities } from './identities.ts';
import { createPasswordDesk } from './password-desk.ts';
import { createPeople, judgeActor } from './people.ts';
import type { DatabaseLogins, LoginWish, PasswordHasher, Person } from './ports.ts';
import { createVault } from './vault.ts';

const soon = { remainingMs: () => 60_000 };

/** Remembers what was asked of it. */
function recordedLogins(): DatabaseLogins & { readonly logins: Map<string, LoginWish>; readonly ended: string[] } {
  const logins = new Map<string, LoginWish>();
  const ended: string[] = [];
  return {
    logins,
    ended,
    made: true,
    mapped: () => undefined,
    async put(_deadline, wish) {
      if (wish.name === 'foreign') return 'taken';
      logins.set(wish.name, wish);
      return 'done';
    },
    endConnections: async (_deadline, name) => void ended.push(name),
    remove: async (_deadline, name) => (logins.delete(name) ? 'dropped' : 'absent'),
    list: async () => new Map(),
  };
}

/** Counts what it is asked to do. */
function plainHasher(parameters = 'v1'): PasswordHasher & { checks: number } {
  const hasher = {
    checks: 0,
    hash: async (password: string) => `${parameters}:${password}`,
    async verify(hash: string, password: string) {
      hasher.checks += 1;
      return hash.replace(/^v\d:/, '') === password;
    },
    isOutdated: (hash: string) => !hash.startsWith(parameters),
  };
  return hasher;
}

/** Fails at one password. */
function unsteadyHasher(): ReturnType<typeof plainHasher> {
  const hasher = plainHasher();
  const verify = hasher.verify;
  return Object.assign(hasher, {
    async verify(hash: string, password: string) {
      if (password === 'broken') throw new Error('no memory');
      return verify(hash, password);
    },
  });
}

async function setUp(hasher = plainHasher()) {
  const directory = createMemoryDirectory();
  const logins = recordedLogins();
  const announced: object[] = [];
  const tools = {
    directory,
    logins,
    vault: createVault('mesh', randomBytes(32)),
    clock: { now: () => 1_800_000_000_000 },
    desk: await createPasswordDesk(hasher, createGate({ atOnce: 1, waiting: 10 })),
    renewals: { heal: async () => {} },
    revocations: { announce: (revoked: object) => void announced.push(revoked) },
    reporter: { warn: () => {} },
    trustedRoles: ['writer'],
    externalRoles: ['reader'],
    externalGroupRoles: {},
  } as const;
  const add = async (given: Partial<Person>): Promise<Person> => {
    const person = aPerson(given);
    await directory.at(soon).insertPerson(person);
    return person;
  };
  return { ...tools, announced, add, hasher, people: createPeople(tools), identities: createIdentities(tools) };
}

const principalOf = (person: Person, ...roles: GroupRole[]): Principal => ({
  id: person.id,
  kind: 'person',
  name: person.name,
  dbRole: person.name,
  scopes: roles.map((role) => `role:${role}`),
  method: 'password',
  expiresAt: 0,
  epoch: person.epoch,
});

test('who is admin is what the principal and the directory both say, as of now', async () => {
  const { directory, add } = await setUp();
  const admin = await add({ roles: ['admin'] });
  const reader = await add({ roles: ['reader'] });
  const gone = aPerson({ roles: ['admin'] });
  const disabled = await add({ roles: ['admin'], disabled: true });
  const changed = await add({ roles: ['admin'], epoch: 1 });
  const judge = async (person: Person, ...roles: GroupRole[]) =>
    (await judgeActor(directory, soon, principalOf(person, ...roles)))?.isAdmin;
  expect(await judge(admin, 'admin')).toBe(true);
  expect(await judge(admin, 'reader')).toBe(false);
  expect(await judge(reader, 'admin')).toBe(false);
  expect(await judge(gone, 'admin')).toBeUndefined();
  expect(await judge(disabled, 'admin')).toBeUndefined();
  expect(await judge({ ...changed, epoch: 0 }, 'admin')).toBeUndefined();
});

test('a person whose login cannot be made is not made', async () => {
  const { people, directory } = await setUp();
  expect(await people.create(soon, { name: 'foreign', kind: 'person', roles: [], password: undefined })).toEqual({
    kind: 'taken',
  });
  expect(await directory.at(soon).personByName('foreign')).toBeUndefined();
});

test('the secret of a login is kept sealed', async () => {
  const { people, logins, vault } = await setUp();
  const made = await people.create(soon, { name: 'alice', kind: 'person', roles: ['reader'], password: undefined });
  const { secret = '' } = logins.logins.get('alice') ?? {};
  const sealed = made.kind === 'done' ? (made.person.sealedLogin ?? '') : '';
  expect(secret).toMatch(/^[\w-]{43}$/);
  expect(sealed).not.toContain(secret);
  expect(vault.open(sealed, 'database login alice')).toBe(secret);
});

test.for([
  ['removing', undefined],
  ['disabling', { disabled: true }],
  ['demoting', { roles: ['writer'] }],
] as const)('%s the last admin is refused and changes nothing; of two it is done', async ([, change]) => {
  const { people, add, announced, logins } = await setUp();
  await add({ name: 'ada', roles: ['admin'] });
  const act = async (name: string) =>
    (change === undefined ? await people.remove(soon, name) : await people.change(soon, name, change)).kind;
  expect(await act('ada')).toBe('lastAdmin');
  expect(announced).toEqual([]);
  expect(logins.logins.size).toBe(0);
  await add({ name: 'bob', roles: ['admin'] });
  expect(await act('ada')).toBe('done');
  expect(new Set(announced.map((told) => JSON.stringify(told))).size).toBe(1);
  expect(await act('bob')).toBe('lastAdmin');
});

/** Sockets of theirs would be told that the database was lost, and come back again and again. */
test('a removal is announced before the database ends what is open, and when it is done', async () => {
  const { people, add, announced, logins } = await setUp();
  await add({ name: 'bob', roles: ['reader'] });
  const announcedBefore: number[] = [];
  const { remove } = logins;
  logins.remove = async (...given) => {
    announcedBefore.push(announced.length);
    return remove(...given);
  };
  expect((await people.remove(soon, 'bob')).kind).toBe('done');
  expect(announcedBefore).toEqual([1]);
  expect(announced).toHaveLength(2);
});

test('an admin who is disabled, or one of the mesh itself, does not count as the one who stays', async () => {
  const { people, add } = await setUp();
  await add({ name: 'ada', roles: ['admin'] });
  await add({ name: 'off', roles: ['admin'], disabled: true });
  await add({ name: 'mz_system', roles: ['admin'], origin: 'internal' });
  expect((await people.remove(soon, 'ada')).kind).toBe('lastAdmin');
  expect((await people.remove(soon, 'off')).kind).toBe('done');
});

test('every change of a person reaches the login, and gives it a new secret', async () => {
  const { people, add, logins, announced } = await setUp();
  const person = await add({ name: 'ada', roles: ['reader'] });
  await people.change(soon, 'ada', { password: 'a fine password' });
  const first = logins.logins.get('ada');
  expect(first).toMatchObject({ groups: ['reader'], enabled: true });
  expect(logins.ended).toEqual(['ada']);
  await people.change(soon, 'ada', { roles: ['writer'] });
  expect(logins.logins.get('ada')?.secret).not.toBe(first?.secret);
  expect(logins.logins.get('ada')).toMatchObject({ groups: ['writer'], enabled: true, personId: person.id });
  await people.change(soon, 'ada', { disabled: true });
  expect(logins.logins.get('ada')).toMatchObject({ enabled: false });
  expect(logins.ended).toEqual(['ada', 'ada']);
  expect(announced).toEqual(Array(3).fill({ principalId: person.id }));
});

test('a password check costs the same for people who are there, who are not, who are disabled and who have no password', async () => {
  const { identities, add, hasher } = await setUp();
  await add({ name: 'ada', passwordHash: 'v1:right password' });
  await add({ name: 'off', passwordHash: 'v1:right password', disabled: true });
  await add({ name: 'keyed', passwordHash: null });
  const outcomes: string[] = [];
  for (const name of ['ada', 'nobody', 'off', 'keyed']) {
    const before = hasher.checks;
    outcomes.push((await identities.verifyPassword(soon, name, 'right password')).kind);
    expect(hasher.checks - before).toBe(1);
  }
  expect(outcomes).toEqual(['known', 'refused', 'refused', 'refused']);
});

test('a hash of older parameters is replaced at the next login, and only then', async () => {
  const { identities, add, directory } = await setUp(plainHasher('v2'));
  const person = await add({ name: 'ada', passwordHash: 'v1:right password' });
  await identities.verifyPassword(soon, 'ada', 'wrong password');
  expect((await directory.at(soon).personById(person.id))?.passwordHash).toBe('v1:right password');
  await identities.verifyPassword(soon, 'ada', 'right password');
  expect((await directory.at(soon).personById(person.id))?.passwordHash).toBe('v2:right password');
});

test('a principal stands as long as the person, the key and every role it speaks of do', async () => {
  const { identities, add, directory } = await setUp();
  const person = await add({ roles: ['writer'] });
  expect(await identities.isStanding(soon, principalOf(person, 'writer'))).toBe(true);
  expect(await identities.isStanding(soon, principalOf(person))).toBe(true);
  expect(await identities.isStanding(soon, principalOf(person, 'admin'))).toBe(false);
  expect(await identities.isStanding(soon, { ...principalOf(person), method: 'apiKey', tokenId: 'gone' })).toBe(false);
  await directory.at(soon).updatePerson({ ...person, disabled: true });
  expect(await identities.isStanding(soon, principalOf(person))).toBe(false);
  expect(await identities.isStanding(soon, principalOf(aPerson()))).toBe(false);
});

test('what was proved before a password was changed, or before somebody was disabled, stands no more; a key does', async () => {
  const { people, identities, add, directory } = await setUp();
  const { id } = await add({ name: 'ada', roles: ['writer'], passwordHash: 'v1:the first password' });
  await directory.at(soon).insertKey(aKey(id, { id: 'key' }));
  const now = async () => (await directory.at(soon).personById(id)) ?? aPerson();
  const byKey: Principal = { ...principalOf(await now(), 'writer'), method: 'apiKey', tokenId: 'key' };
  const methods = ['password', 'session', 'oidc', 'trusted'] as const;
  const standing = async (principal: Principal) =>
    Promise.all(methods.map((method) => identities.isStanding(soon, { ...principal, method })));

  const own = { currentPassword: 'the first password', newPassword: 'the second password' };
  const steps = [
    async () => people.change(soon, 'ada', { password: 'the first password' }),
    async () => people.changeOwnPassword(soon, { person: await now(), principal: byKey, isAdmin: false }, own),
    async () => {
      await people.change(soon, 'ada', { disabled: true });
      expect(await identities.isStanding(soon, byKey)).toBe(false);
      return people.change(soon, 'ada', { disabled: false });
    },
  ];
  for (const step of steps) {
    const before = principalOf(await now(), 'writer');
    expect((await step()).kind).toBe('done');
    expect(await standing(before)).toEqual([false, false, false, false]);
    expect(await standing(principalOf(await now(), 'writer'))).toEqual([true, true, true, true]);
    expect(await identities.isStanding(soon, byKey)).toBe(true);
  }
});

test('a change that leaves the credentials as they are, and a hash that is made anew, end no proof', async () => {
  const { people, identities, add } = await setUp(plainHasher('v2'));
  const person = await add({ name: 'ada', roles: ['writer'], passwordHash: 'v1:right password' });
  const before = principalOf(person, 'writer');
  await people.change(soon, 'ada', { roles: ['reader', 'writer'], disabled: false });
  const again = await identities.verifyPassword(soon, 'ada', 'right password');
  expect(again).toMatchObject({ kind: 'known', principal: { epoch: 0 } });
  expect(await identities.isStanding(soon, before)).toBe(true);
});

test('of guesses made at once no more are checked than of guesses in turn, and right ones do not count', async () => {
  const { people, add, hasher } = await setUp();
  const person = await add({ name: 'ada', passwordHash: 'v1:right password' });
  const actor = { person, principal: principalOf(person), isAdmin: false };
  const attempt = (currentPassword: string) =>
    people.changeOwnPassword(soon, actor, { currentPassword, newPassword: 'short' }).then(({ kind }) => kind);
  for (let right = 0; right < 20; right += 1) expect(await attempt('right password')).toBe('weak');
  const before = hasher.checks;
  const guesses = await Promise.all(Array.from({ length: 40 }, (_, guess) => attempt(`guess ${guess}`)));
  expect(guesses.filter((kind) => kind === 'refused')).toHaveLength(10);
  expect(guesses.filter((kind) => kind === 'limited')).toHaveLength(30);
  expect(hasher.checks - before).toBe(10);
  expect(await attempt('right password')).toBe('limited');
});

test('an attempt that was turned away, or failed, without an answer does not count', async () => {
  const { people, add } = await setUp(unsteadyHasher());
  const person = await add({ name: 'ada', passwordHash: 'v1:right password' });
  const actor = { person, principal: principalOf(person), isAdmin: false };
  const attempt = (currentPassword: string) =>
    people.changeOwnPassword(soon, actor, { currentPassword, newPassword: 'short' }).then(({ kind }) => kind);
  for (let failure = 0; failure < 11; failure += 1) await expect(attempt('broken')).rejects.toThrow('no memory');
  expect(await attempt('right password')).toBe('weak');
});

test('the last admin stays admin even if an external issuer takes the group away', async () => {
  const { add, directory, vault: _vault, ...tools } = await setUp();
  const person = await add({ name: 'ada', roles: ['admin'] });
  await directory.at(soon).linkIdentity(person.id, { issuer: 'https://issuer.test', subject: 's' });
  const identities = createIdentities({
    ...tools,
    directory,
    vault: _vault,
    externalGroupRoles: { root: ['admin'], staff: ['writer'] },
  });
  const token = { issuer: 'https://issuer.test', subject: 's', name: 'ada', expiresAt: 1, groups: ['staff'] };
  const scopes = async () => {
    const admission = await identities.admitExternal(soon, token);
    return admission.kind === 'known' ? admission.principal.scopes : admission.kind;
  };
  expect(await scopes()).toEqual(['role:admin', 'role:writer']);
  await add({ name: 'bob', roles: ['admin'] });
  expect(await scopes()).toEqual(['role:writer']);
});
