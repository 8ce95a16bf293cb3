/** The keys that sign principals: which one signs now, which are published, when the next is made. */
import type { PublicKey } from '@postern/contracts/auth';
import { createHash, createPrivateKey, generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

import type { Clock, Deadline, SigningKeyRow, SigningKeyStore } from './ports.ts';
import type { Vault } from './vault.ts';

/** How long a key is published after it signed last; an assertion lives 30 s. */
const PUBLISHED_AFTER_MS = 15 * 60_000;
/** How long a key is published, at least, before it signs; replicas read the keys anew far more often. */
const PUBLISHED_BEFORE_MS = 2 * 60_000;

export interface RotationPlan {
  /** Ordinal and start of the keys to make. */
  readonly make: readonly { readonly ordinal: number; readonly signsFrom: number }[];
  readonly reschedule: readonly { readonly kid: string; readonly signsFrom: number }[];
  readonly remove: readonly string[];
}

type Scheduled = Pick<SigningKeyRow, 'kid' | 'ordinal' | 'signsFrom'>;

/** The one that started last. */
export const currentKey = <Key extends Scheduled>(keys: readonly Key[], now: number): Key | undefined =>
  keys
    .filter((key) => key.signsFrom <= now)
    .reduce<Key | undefined>((last, key) => (last === undefined || later(key, last) ? key : last), undefined);

const later = (left: Scheduled, right: Scheduled): boolean =>
  left.signsFrom === right.signsFrom ? left.ordinal > right.ordinal : left.signsFrom > right.signsFrom;

/** The current one, those to come, and those whose successor started less than {@link PUBLISHED_AFTER_MS} ago. */
export function publishedKeys<Key extends Scheduled>(keys: readonly Key[], now: number): readonly Key[] {
  return keys.filter((key) => {
    const successor = keys.filter((other) => later(other, key)).toSorted((left, right) => (later(left, right) ? 1 : -1))[0];
    return successor === undefined || successor.signsFrom + PUBLISHED_AFTER_MS > now;
  });
}

/** What keeps one key signing and one waiting, whatever was missed since the last look. */
export function planRotation(keys: readonly Scheduled[], now: number, rotationMs: number): RotationPlan {
  const current = currentKey(keys, now);
  const published = new Set(publishedKeys(keys, now));
  const remove = keys.filter((key) => !published.has(key)).map((key) => key.kid);
  const ordinal = Math.max(0, ...keys.map((key) => key.ordinal));
  if (current === undefined) {
    return {
      make: [
        { ordinal: ordinal + 1, signsFrom: now },
        { ordinal: ordinal + 2, signsFrom: now + rotationMs },
      ],
      reschedule: [],
      remove,
    };
  }
  const due = Math.max(current.signsFrom + rotationMs, now + PUBLISHED_BEFORE_MS);
  const next = keys.find((key) => key.signsFrom > now);
  if (next === undefined) return { make: [{ ordinal: ordinal + 1, signsFrom: due }], reschedule: [], remove };
  // A shorter rotation than before counts at once; a longer one from the next key on.
  const reschedule = next.signsFrom > due ? [{ kid: next.kid, signsFrom: due }] : [];
  return { make: [], reschedule, remove };
}

export interface SigningKey extends Scheduled {
  readonly privateKey: KeyObject;
  readonly publicKey: PublicKey;
}

export interface SigningKeys {
  /** Reads the keys, making and retiring as due. Answers the kids that could not be opened. */
  refresh(deadline: Deadline): Promise<readonly string[]>;
  current(): SigningKey | undefined;
  published(): readonly PublicKey[];
}

export interface SigningKeysOptions {
  readonly store: SigningKeyStore;
  readonly vault: Vault;
  readonly clock: Clock;
  readonly rotationMs: number;
}

export function createSigningKeys({ store, vault, clock, rotationMs }: SigningKeysOptions): SigningKeys {
  let known: readonly SigningKey[] = [];
  return {
    async refresh(deadline) {
      const rows = await store.exclusively(deadline, async (transaction) => {
        const plan = planRotation(await transaction.list(), clock.now(), rotationMs);
        for (const wish of plan.make) await transaction.insert(makeKey(wish, vault));
        for (const { kid, signsFrom } of plan.reschedule) await transaction.reschedule(kid, signsFrom);
        for (const kid of plan.remove) await transaction.remove(kid);
        return transaction.list();
      });
      const opened = rows.map((row) => ({ kid: row.kid, key: openKey(row, vault) }));
      known = opened.flatMap(({ key }) => (key === undefined ? [] : [key]));
      return opened.filter(({ key }) => key === undefined).map(({ kid }) => kid);
    },
    current: () => currentKey(known, clock.now()),
    published: () => publishedKeys(known, clock.now()).map((key) => key.publicKey),
  };
}

const context = (kid: string): string => `signing key ${kid}`;

function makeKey({ ordinal, signsFrom }: { ordinal: number; signsFrom: number }, vault: Vault): SigningKeyRow {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const x = publicKey.export({ format: 'jwk' }).x ?? '';
  // RFC 7638, RFC 8037: the thumbprint names the key.
  const kid = createHash('sha256').update(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`).digest('base64url');
  const secret = privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64');
  return { kid, ordinal, x, sealedPrivateKey: vault.seal(secret, context(kid)), signsFrom };
}

function openKey(row: SigningKeyRow, vault: Vault): SigningKey | undefined {
  const secret = vault.open(row.sealedPrivateKey, context(row.kid));
  if (secret === undefined) return undefined;
  return {
    kid: row.kid,
    ordinal: row.ordinal,
    signsFrom: row.signsFrom,
    privateKey: createPrivateKey({ key: Buffer.from(secret, 'base64'), format: 'der', type: 'pkcs8' }),
    publicKey: { kty: 'OKP', crv: 'Ed25519', x: row.x, kid: row.kid, alg: 'EdDSA', use: 'sig' },
  };
}
