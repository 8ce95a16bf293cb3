/** A directory in a map: passes the same suite as the real one. Transactions run one after the other. */
import { Failure } from '@postern/contracts/failure';

import type { ApiKey, Directory, DirectoryQueries, DirectoryTransaction, ExternalIdentity, Person } from '../src/domain/ports.ts';

interface State {
  readonly people: Map<string, Person>;
  readonly keys: Map<string, ApiKey>;
  readonly identities: Map<string, ExternalIdentity & { readonly personId: string }>;
}

export function createMemoryDirectory(): Directory {
  let state: State = { people: new Map(), keys: new Map(), identities: new Map() };
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const next = turn.then(work);
    turn = next.catch(() => {});
    return next;
  };
  return {
    at: (deadline) => {
      const check = (): void => {
        if (deadline.remainingMs() <= 0) throw new Failure('TIMEOUT');
      };
      return queries(() => {
        check();
        return state;
      });
    },
    transact: (deadline, work) =>
      inTurn(async () => {
        if (deadline.remainingMs() <= 0) throw new Failure('TIMEOUT');
        const draft: State = { people: new Map(state.people), keys: new Map(state.keys), identities: new Map(state.identities) };
        const lock = async (): Promise<void> => {};
        const transaction: DirectoryTransaction = {
          ...queries(() => draft),
          lockLogins: lock,
          lockAdmins: lock,
          lockName: lock,
        };
        const result = await work(transaction);
        state = draft;
        return result;
      }),
  };
}

const byBytes = (left: string, right: string): number => Buffer.compare(Buffer.from(left), Buffer.from(right));
const isAfter = (value: string, after: string | undefined): boolean => after === undefined || byBytes(value, after) > 0;
const identityKey = ({ issuer, subject }: ExternalIdentity): string => JSON.stringify([issuer, subject]);

const queries = (state: () => State): DirectoryQueries => ({
  personByName: async (name) => [...state().people.values()].find((person) => person.name === name),
  personById: async (id) => state().people.get(id),
  async personByIdentity(identity) {
    const { people, identities } = state();
    return people.get(identities.get(identityKey(identity))?.personId ?? '');
  },
  people: async ({ after, limit }) =>
    [...state().people.values()]
      .filter(({ name }) => isAfter(name, after))
      .toSorted((left, right) => byBytes(left.name, right.name))
      .slice(0, limit),
  async insertPerson(person) {
    const { people } = state();
    if ([...people.values()].some(({ name }) => name === person.name)) throw new Error('the name is there');
    people.set(person.id, person);
  },
  async updatePerson({ id, roles, passwordHash, sealedLogin, disabled, epoch, updatedAt }) {
    const { people } = state();
    const known = people.get(id);
    if (known !== undefined) people.set(id, { ...known, roles, passwordHash, sealedLogin, disabled, epoch, updatedAt });
  },
  async replacePasswordHash(id, { from, to }) {
    const { people } = state();
    const known = people.get(id);
    if (known?.passwordHash === from) people.set(id, { ...known, passwordHash: to });
  },
  async deletePerson(id) {
    const { people, keys, identities } = state();
    people.delete(id);
    for (const [key, { personId }] of keys) if (personId === id) keys.delete(key);
    for (const [key, { personId }] of identities) if (personId === id) identities.delete(key);
  },
  countAdmins: async () =>
    [...state().people.values()].filter(
      ({ roles, disabled, origin }) => roles.includes('admin') && !disabled && origin !== 'internal',
    ).length,
  async identityAt(personId, issuer) {
    const found = [...state().identities.values()].find((one) => one.personId === personId && one.issuer === issuer);
    return found === undefined ? undefined : { issuer: found.issuer, subject: found.subject };
  },
  async linkIdentity(personId, { issuer, subject }) {
    const { identities } = state();
    const key = identityKey({ issuer, subject });
    const clashes = [...identities.values()].some((one) => one.personId === personId && one.issuer === issuer);
    if (identities.has(key) || clashes) throw new Error('the identity is linked');
    identities.set(key, { issuer, subject, personId });
  },
  async keyById(id) {
    const { keys, people } = state();
    const key = keys.get(id);
    const person = people.get(key?.personId ?? '');
    return key === undefined || person === undefined ? undefined : { key, person };
  },
  keysOf: async (personId, { after, limit }) =>
    [...state().keys.values()]
      .filter((key) => key.personId === personId && isAfter(key.id, after))
      .toSorted((left, right) => byBytes(left.id, right.id))
      .slice(0, limit),
  countKeys: async (personId) => [...state().keys.values()].filter((key) => key.personId === personId).length,
  async insertKey(key) {
    const { keys } = state();
    if (keys.has(key.id)) throw new Error('the key is there');
    keys.set(key.id, key);
  },
  deleteKey: async (id) => state().keys.delete(id),
  async noteKeyUse(id, { at, unlessAfter }) {
    const { keys } = state();
    const key = keys.get(id);
    if (key !== undefined && (key.lastUsedAt === null || key.lastUsedAt <= unlessAfter)) keys.set(id, { ...key, lastUsedAt: at });
  },
  async standing(personId, keyId) {
    const { people, keys } = state();
    const person = people.get(personId);
    if (person === undefined) return undefined;
    const { disabled, epoch, roles } = person;
    return { person: { disabled, epoch, roles }, keyExists: keyId === undefined || keys.get(keyId)?.personId === personId };
  },
});
