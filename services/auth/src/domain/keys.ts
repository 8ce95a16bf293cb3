/** Administration of API keys: one's own, and for admins everybody's. */
import { makeApiKey, writeApiKey } from './api-keys.ts';
import { ownsCredentials } from './identities.ts';
import type { LoginRenewals } from './login-renewals.ts';
import type { Actor } from './people.ts';
import type { ApiKey, Clock, Deadline, Directory, Page, Person, Revocations } from './ports.ts';
import type { Vault } from './vault.ts';

const KEYS_MAX = 100;

export interface KeyWish {
  readonly name: string;
  /** Whose; the caller's own if absent. */
  readonly person: string | undefined;
  readonly expiresInSeconds: number | undefined;
}

/** `denied` is also the answer about people that are not there, to whoever is no admin. */
type Owner = { readonly kind: 'owner'; readonly person: Person } | { readonly kind: 'denied' | 'unknown' };

export type KeyList =
  | { readonly kind: 'keys'; readonly person: Person; readonly keys: readonly ApiKey[] }
  | Exclude<Owner, { kind: 'owner' }>;

export type KeyCreation =
  | { readonly kind: 'made'; readonly person: Person; readonly key: ApiKey; readonly text: string }
  | { readonly kind: 'denied' | 'unknown' | 'unmanaged' | 'full' };

export interface KeysOptions {
  readonly directory: Directory;
  readonly vault: Vault;
  readonly clock: Clock;
  readonly revocations: Revocations;
  readonly renewals: Pick<LoginRenewals, 'renew'>;
}

export type Keys = ReturnType<typeof createKeys>;

export function createKeys({ directory, vault, clock, revocations, renewals }: KeysOptions) {
  const ownerOf = async (deadline: Deadline, actor: Actor, name: string | undefined): Promise<Owner> => {
    if (name === undefined || name === actor.person.name) return { kind: 'owner', person: actor.person };
    if (!actor.isAdmin) return { kind: 'denied' };
    const person = await directory.at(deadline).personByName(name);
    return person === undefined ? { kind: 'unknown' } : { kind: 'owner', person };
  };

  return {
    async list(
      deadline: Deadline,
      actor: Actor,
      { person: name, ...page }: Page & { person: string | undefined },
    ): Promise<KeyList> {
      const owner = await ownerOf(deadline, actor, name);
      if (owner.kind !== 'owner') return owner;
      return { kind: 'keys', person: owner.person, keys: await directory.at(deadline).keysOf(owner.person.id, page) };
    },

    async make(deadline: Deadline, actor: Actor, wish: KeyWish): Promise<KeyCreation> {
      const owner = await ownerOf(deadline, actor, wish.person);
      if (owner.kind !== 'owner') return owner;
      const { person } = owner;
      if (!ownsCredentials(person)) return { kind: 'unmanaged' };
      const parts = makeApiKey();
      const now = clock.now();
      const key: ApiKey = {
        id: parts.id,
        personId: person.id,
        name: wish.name,
        secretHash: vault.keyedHash(parts.secret),
        createdAt: now,
        expiresAt: endOf(actor, wish, now),
        lastUsedAt: null,
      };
      return directory.transact(deadline, async (transaction): Promise<KeyCreation> => {
        await transaction.lockName(person.name);
        if ((await transaction.personById(person.id)) === undefined) return { kind: 'unknown' };
        if ((await transaction.countKeys(person.id)) >= KEYS_MAX) return { kind: 'full' };
        await transaction.insertKey(key);
        return { kind: 'made', person, key, text: writeApiKey(parts) };
      });
    },

    /** A key of somebody else's and a key that is not there are the same to whoever is no admin. */
    async revoke(deadline: Deadline, actor: Actor, id: string): Promise<'revoked' | 'unknown'> {
      const queries = directory.at(deadline);
      const found = await queries.keyById(id);
      if (found === undefined || (!actor.isAdmin && found.key.personId !== actor.person.id)) return 'unknown';
      if (!(await queries.deleteKey(id))) return 'unknown';
      revocations.announce({ principalId: found.key.personId, tokenId: id });
      await renewals.renew(deadline, found.key.personId);
      return 'revoked';
    },
  };
}

/** A key that was made with a key never outlives it: one that leaks cannot be made to last. */
function endOf(actor: Actor, wish: KeyWish, now: number): number | null {
  const ends: number[] = [];
  if (wish.expiresInSeconds !== undefined) ends.push(now + wish.expiresInSeconds * 1_000);
  if (actor.principal.method === 'apiKey' && actor.principal.expiresAt > 0) ends.push(actor.principal.expiresAt * 1_000);
  return ends.length === 0 ? null : Math.min(...ends);
}
