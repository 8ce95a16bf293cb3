import type { Clock, SessionStore, StoredSession } from '../src/domain/ports.ts';

interface Entry {
  session: StoredSession;
  forgetAtMs: number;
}

/** The store of one process: passes the same suite as the one in Redis. */
export function createMemorySessionStore(clock: Clock): SessionStore {
  const entries = new Map<string, Entry>();
  const marks = new Map<string, number>();
  let epoch = 0;

  const sweep = (): void => {
    for (const [hash, { forgetAtMs }] of entries) if (forgetAtMs <= clock.now()) entries.delete(hash);
  };
  const finish = (hash: string): StoredSession[] => {
    sweep();
    const entry = entries.get(hash);
    entries.delete(hash);
    return entry === undefined ? [] : [entry.session];
  };
  const owned = (principalId: string): (readonly [string, StoredSession])[] => {
    sweep();
    return [...entries]
      .map(([hash, { session }]) => [hash, session] as const)
      .filter(([, session]) => session.principal.id === principalId)
      .toSorted(([, one], [, other]) => one.createdAtMs - other.createdAtMs);
  };

  return {
    epoch: async () => epoch,

    async create(given) {
      const principalId = given.session.principal.id;
      if ((marks.get(principalId) ?? 0) > given.epoch) return { kind: 'superseded' };
      const ended = given.replaces === undefined ? [] : finish(given.replaces);
      const mine = owned(principalId);
      const surplus = Math.max(0, mine.length - given.perPrincipalMax + 1);
      for (const [hash] of mine.slice(0, surplus)) ended.push(...finish(hash));
      entries.set(given.tokenHash, { session: given.session, forgetAtMs: given.forgetAtMs });
      return { kind: 'created', ended };
    },

    async find(tokenHash) {
      sweep();
      return entries.get(tokenHash)?.session;
    },

    async renew(tokenHash, { atMs, forgetAtMs }) {
      sweep();
      const entry = entries.get(tokenHash);
      if (entry === undefined) return false;
      if (atMs > entry.session.lastActivityAtMs) {
        entries.set(tokenHash, { session: { ...entry.session, lastActivityAtMs: atMs }, forgetAtMs });
      }
      return true;
    },

    end: async (tokenHash) => finish(tokenHash)[0],
    list: async (principalId) => owned(principalId).map(([, session]) => session),

    async endOne(principalId, id) {
      const [hash] = owned(principalId).find(([, session]) => session.id === id) ?? [];
      return hash === undefined ? undefined : finish(hash)[0];
    },

    async endAll(principalId) {
      epoch += 1;
      marks.set(principalId, epoch);
      return owned(principalId).flatMap(([hash]) => finish(hash));
    },
  };
}
