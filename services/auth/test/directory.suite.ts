/** What every directory keeps to. */
import { randomBytes, randomUUID } from 'node:crypto';
import { expect } from 'vitest';

import type { ApiKey, Directory, Person } from '../src/domain/ports.ts';

const over = { remainingMs: () => 0 };
const soon = { remainingMs: () => 60_000 };

export const aPerson = (given: Partial<Person> = {}): Person => ({
  id: randomUUID(),
  name: `p_${randomBytes(6).toString('hex')}`,
  kind: 'person',
  origin: 'created',
  roles: ['reader'],
  passwordHash: null,
  sealedLogin: null,
  disabled: false,
  epoch: 0,
  createdAt: 1_700_000_000_000,
  updatedAt: 1_700_000_000_000,
  ...given,
});

export const aKey = (personId: string, given: Partial<ApiKey> = {}): ApiKey => ({
  id: randomBytes(4).toString('hex'),
  personId,
  name: 'laptop',
  secretHash: randomBytes(32),
  createdAt: 1_700_000_000_000,
  expiresAt: null,
  lastUsedAt: null,
  ...given,
});

/** Runs one test against an empty directory. */
export type DirectoryTest = (title: string, body: (directory: Directory) => Promise<void>) => void;

export function directorySuite(test: DirectoryTest): void {
  test('a person is found by name and by id as they were kept', async (opened) => {
    const directory = opened.at(soon);
    const person = aPerson({
      roles: ['admin', 'writer'],
      passwordHash: 'hash',
      sealedLogin: 'sealed',
      epoch: 3,
      name: 'Ünïcode@example.com',
    });
    await directory.insertPerson(person);
    expect(await directory.personByName('Ünïcode@example.com')).toEqual(person);
    expect(await directory.personById(person.id)).toEqual(person);
    expect(await directory.personByName('ünïcode@example.com')).toBeUndefined();
    expect(await directory.personById('no uuid')).toBeUndefined();
    expect(await directory.personByName('nul\0')).toBeUndefined();
  });

  test('two people cannot have one name', async (opened) => {
    const directory = opened.at(soon);
    await directory.insertPerson(aPerson({ name: 'alice' }));
    await expect(directory.insertPerson(aPerson({ name: 'alice' }))).rejects.toThrow();
  });

  test('pages of people follow each other in the order of bytes, without gap or repeat', async (opened) => {
    const directory = opened.at(soon);
    for (const name of ['b', 'B', 'é', 'a.b', 'a', '_x']) await directory.insertPerson(aPerson({ name }));
    const names: string[] = [];
    for (let after: string | undefined; ;) {
      const page = await directory.people({ after, limit: 2 });
      names.push(...page.map((person) => person.name));
      if (page.length < 2) break;
      after = names.at(-1);
    }
    expect(names).toEqual(['B', '_x', 'a', 'a.b', 'b', 'é']);
  });

  test('an update changes what may change and nothing else', async (opened) => {
    const directory = opened.at(soon);
    const person = aPerson();
    await directory.insertPerson(person);
    const changed = {
      ...person,
      roles: ['admin' as const],
      disabled: true,
      epoch: 1,
      passwordHash: 'new',
      sealedLogin: 's',
      updatedAt: 1_800_000_000_000,
    };
    await directory.updatePerson({ ...changed, name: 'other', createdAt: 0, kind: 'agent' });
    expect(await directory.personById(person.id)).toEqual(changed);
  });

  test('a hash is replaced only if it is still the one that was seen', async (opened) => {
    const directory = opened.at(soon);
    const person = aPerson({ passwordHash: 'old' });
    await directory.insertPerson(person);
    await directory.replacePasswordHash(person.id, { from: 'other', to: 'x' });
    expect((await directory.personById(person.id))?.passwordHash).toBe('old');
    await directory.replacePasswordHash(person.id, { from: 'old', to: 'x' });
    expect((await directory.personById(person.id))?.passwordHash).toBe('x');
  });

  test('admins are counted if they are enabled and people, not the mesh itself', async (opened) => {
    const directory = opened.at(soon);
    await directory.insertPerson(aPerson({ roles: ['admin'] }));
    await directory.insertPerson(aPerson({ roles: ['admin'], disabled: true }));
    await directory.insertPerson(aPerson({ roles: ['admin'], origin: 'internal', name: 'mz_system' }));
    await directory.insertPerson(aPerson({ roles: ['writer'] }));
    expect(await directory.countAdmins()).toBe(1);
  });

  test('removing a person removes their keys and identities', async (opened) => {
    const directory = opened.at(soon);
    const person = aPerson();
    const identity = { issuer: 'https://issuer.test', subject: 'sub' };
    await directory.insertPerson(person);
    await directory.insertKey(aKey(person.id, { id: 'abcdefgh' }));
    await directory.linkIdentity(person.id, identity);
    expect(await directory.personByIdentity(identity)).toEqual(person);
    await directory.deletePerson(person.id);
    expect(await directory.keyById('abcdefgh')).toBeUndefined();
    expect(await directory.personByIdentity(identity)).toBeUndefined();
  });

  test('a subject of an issuer is one person, and a person is one subject of it', async (opened) => {
    const directory = opened.at(soon);
    const [one, other] = [aPerson(), aPerson()];
    await directory.insertPerson(one);
    await directory.insertPerson(other);
    await directory.linkIdentity(one.id, { issuer: 'https://a.test', subject: '1' });
    await directory.linkIdentity(one.id, { issuer: 'https://b.test', subject: '1' });
    await expect(directory.linkIdentity(other.id, { issuer: 'https://a.test', subject: '1' })).rejects.toThrow();
    await expect(directory.linkIdentity(one.id, { issuer: 'https://a.test', subject: '2' })).rejects.toThrow();
    expect(await directory.identityAt(one.id, 'https://a.test')).toEqual({ issuer: 'https://a.test', subject: '1' });
    expect(await directory.identityAt(other.id, 'https://a.test')).toBeUndefined();
  });

  test('a key is found with its person, listed in pages, noted when used, and removed once', async (opened) => {
    const directory = opened.at(soon);
    const person = aPerson();
    await directory.insertPerson(person);
    const keys = ['aaaaaaaa', 'bbbbbbbb', 'cccccccc'].map((id) => aKey(person.id, { id, expiresAt: 1_800_000_000_000 }));
    for (const key of keys) await directory.insertKey(key);
    expect(await directory.keyById('bbbbbbbb')).toEqual({ key: keys[1], person });
    expect(await directory.countKeys(person.id)).toBe(3);
    expect(await directory.keysOf(person.id, { after: 'aaaaaaaa', limit: 1 })).toEqual([keys[1]]);
    await directory.noteKeyUse('aaaaaaaa', { at: 1_700_000_100_000, unlessAfter: 1_700_000_000_000 });
    await directory.noteKeyUse('aaaaaaaa', { at: 1_700_000_200_000, unlessAfter: 1_700_000_000_000 });
    expect((await directory.keyById('aaaaaaaa'))?.key.lastUsedAt).toBe(1_700_000_100_000);
    expect(await directory.deleteKey('aaaaaaaa')).toBe(true);
    expect(await directory.deleteKey('aaaaaaaa')).toBe(false);
  });

  test('standing says whether person and key are there', async (opened) => {
    const directory = opened.at(soon);
    const [person, other] = [aPerson({ roles: ['writer'], epoch: 2 }), aPerson()];
    await directory.insertPerson(person);
    await directory.insertPerson(other);
    await directory.insertKey(aKey(other.id, { id: 'dddddddd' }));
    const standing = { person: { disabled: false, epoch: 2, roles: ['writer'] } };
    expect(await directory.standing(person.id, undefined)).toEqual({ ...standing, keyExists: true });
    expect(await directory.standing(person.id, 'dddddddd')).toEqual({ ...standing, keyExists: false });
    expect(await directory.standing(randomUUID(), undefined)).toBeUndefined();
  });

  test('a transaction that rejects leaves nothing', async (directory) => {
    const person = aPerson();
    const failing = directory.transact(soon, async (transaction) => {
      await transaction.insertPerson(person);
      expect(await transaction.personById(person.id)).toEqual(person);
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(await directory.at(soon).personById(person.id)).toBeUndefined();
  });

  test('of those that hold the lock of a name one acts at a time', async (directory) => {
    const attempts = Array.from({ length: 20 }, () =>
      directory.transact(soon, async (transaction) => {
        await transaction.lockLogins('shared');
        await transaction.lockAdmins();
        await transaction.lockName('bob');
        if ((await transaction.personByName('bob')) !== undefined) return false;
        await transaction.insertPerson(aPerson({ name: 'bob' }));
        return true;
      }),
    );
    expect((await Promise.all(attempts)).filter(Boolean)).toHaveLength(1);
  });

  test('a name that nobody can have is locked in vain, not refused', async (directory) => {
    const found = directory.transact(soon, async (transaction) => {
      await transaction.lockName('nul\0');
      return transaction.personByName('nul\0');
    });
    expect(await found).toBeUndefined();
  });

  test('nothing is asked after the deadline', async (directory) => {
    await expect(directory.at(over).personByName('x')).rejects.toMatchObject({ code: 'TIMEOUT' });
    await expect(directory.transact(over, async () => 1)).rejects.toMatchObject({ code: 'TIMEOUT' });
  });
}
