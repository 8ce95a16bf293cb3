/**
 * Secrets at rest. One random root key is kept in the database, sealed by the sealing key; every other key is derived from the
 * root. A new sealing key therefore seals one row anew, and everything else stays as it is.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, randomBytes, randomUUID } from 'node:crypto';

import type { Deadline, RootRow, RootStore } from './ports.ts';

const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;

/** Seals and hashes with keys of one mesh. */
export interface Vault {
  /** Names this mesh; the same for all its replicas. */
  readonly meshId: string;
  /** Only what is opened in the same `context` opens: a sealed secret cannot be moved to another row. */
  seal(text: string, context: string): string;
  open(sealed: string, context: string): string | undefined;
  /** HMAC-SHA-256 with the mesh's own key. */
  keyedHash(text: string): Buffer;
}

export interface SealingKeys {
  readonly current: Buffer;
  /** Still opens what it sealed, which is then sealed by the current one. */
  readonly previous?: Buffer | undefined;
}

export type OpenedVault = { readonly kind: 'open'; readonly vault: Vault } | { readonly kind: 'mismatch' };

/** Opens the vault, made at the first start; `mismatch` if neither sealing key is the one it was sealed with. */
export async function openVault(store: RootStore, keys: SealingKeys, deadline: Deadline): Promise<OpenedVault> {
  const row = await store.readOrInsert(deadline, makeRoot(keys.current));
  const current = openRoot(row, keys.current);
  if (current !== undefined) return { kind: 'open', vault: createVault(row.id, current) };
  const root = keys.previous === undefined ? undefined : openRoot(row, keys.previous);
  if (root === undefined) return { kind: 'mismatch' };
  await store.replace(deadline, { id: row.id, sealed: seal(root, sealer(keys.current), `root ${row.id}`) });
  return { kind: 'open', vault: createVault(row.id, root) };
}

function makeRoot(sealingKey: Buffer): RootRow {
  const id = randomUUID();
  return { id, sealed: seal(randomBytes(KEY_BYTES), sealer(sealingKey), `root ${id}`) };
}

const openRoot = ({ id, sealed }: RootRow, sealingKey: Buffer): Buffer | undefined =>
  open(sealed, sealer(sealingKey), `root ${id}`);

const sealer = (sealingKey: Buffer): Buffer => derive(sealingKey, 'postern auth root');

export function createVault(meshId: string, root: Buffer): Vault {
  const sealing = derive(root, 'postern auth sealing');
  const hashing = derive(root, 'postern auth hashing');
  return {
    meshId,
    seal: (text, context) => seal(Buffer.from(text), sealing, context),
    open: (sealed, context) => open(sealed, sealing, context)?.toString(),
    keyedHash: (text) => createHmac('sha256', hashing).update(text).digest(),
  };
}

const derive = (key: Buffer, purpose: string): Buffer => Buffer.from(hkdfSync('sha256', key, '', purpose, KEY_BYTES));

/** `v1.<which key>.<iv, ciphertext and tag>`. */
function seal(secret: Buffer, key: Buffer, context: string): string {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.from(context));
  const sealed = Buffer.concat([iv, cipher.update(secret), cipher.final(), cipher.getAuthTag()]);
  return `v1.${keyId(key)}.${sealed.toString('base64url')}`;
}

function open(text: string, key: Buffer, context: string): Buffer | undefined {
  const [version, id, body] = text.split('.');
  if (version !== 'v1' || id !== keyId(key) || body === undefined) return undefined;
  const bytes = Buffer.from(body, 'base64url');
  if (bytes.length < IV_BYTES + TAG_BYTES) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(context));
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch {
    return undefined;
  }
}

const keyId = (key: Buffer): string => createHash('sha256').update('postern key id').update(key).digest('hex').slice(0, 8);

/** Why these bytes cannot be a sealing key; nothing if they can. */
export function sealingKeyMistake(key: Buffer): string | undefined {
  if (key.length !== KEY_BYTES) return `must be ${KEY_BYTES} bytes as base64`;
  // Random bytes have about 30 different values; a repeated byte, a word or a count has few, or is printable text.
  const steps = new Set(key.subarray(1).map((byte, index) => (byte - (key[index] ?? 0)) & 0xff));
  const isText = key.every((byte) => byte >= 0x20 && byte < 0x7f);
  if (new Set(key).size < 16 || steps.size < 8 || isText || KNOWN_BAD.has(key.toString('hex'))) {
    return 'is not random: make one with `openssl rand -base64 32`';
  }
  return undefined;
}

/** Digests of words, as found in examples. */
const KNOWN_BAD = new Set(
  ['', 'admin', 'changeme', 'password', 'postern', 'postgres', 'secret', 'test'].map((word) =>
    createHash('sha256').update(word).digest('hex'),
  ),
);
