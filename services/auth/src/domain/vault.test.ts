import { createHash, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';

import type { RootRow, RootStore } from './ports.ts';
import { createVault, openVault, sealingKeyMistake } from './vault.ts';

const soon = { remainingMs: () => 60_000 };
const vault = createVault('mesh', randomBytes(32));

function rootStore(): RootStore & { row: RootRow | undefined } {
  const store: RootStore & { row: RootRow | undefined } = {
    row: undefined,
    readOrInsert: async (_deadline, made) => (store.row ??= made),
    replace: async (_deadline, row) => void (store.row = row),
  };
  return store;
}

async function open(store: RootStore, current: Buffer, previous?: Buffer) {
  const opened = await openVault(store, { current, previous }, soon);
  return opened.kind === 'open' ? opened.vault : undefined;
}

test('a secret opens where it was sealed, and nowhere else', () => {
  const sealed = vault.seal('s3cret', 'login alice');
  expect(sealed).not.toContain('s3cret');
  expect(vault.open(sealed, 'login alice')).toBe('s3cret');
  expect(vault.open(sealed, 'login bob')).toBeUndefined();
  expect(createVault('mesh', randomBytes(32)).open(sealed, 'login alice')).toBeUndefined();
  expect(vault.seal('s3cret', 'login alice')).not.toBe(sealed);
});

test('a sealed secret of which anything was changed does not open', () => {
  const sealed = vault.seal('s3cret', 'x');
  const [version, id, body = ''] = sealed.split('.');
  const bytes = Buffer.from(body, 'base64url');
  for (let index = 0; index < bytes.length; index += 1) {
    const changed = Buffer.from(bytes);
    changed[index] = (changed[index] ?? 0) ^ 1;
    expect(vault.open(`${version}.${id}.${changed.toString('base64url')}`, 'x')).toBeUndefined();
  }
  for (const text of ['', 'v1', 'v1..', `v2.${id}.${body}`, `v1.${id}.AAAA`, `v1.00000000.${body}`])
    expect(vault.open(text, 'x')).toBeUndefined();
});

test('the vault opens with the key it was made with, for every replica alike', async () => {
  const store = rootStore();
  const key = randomBytes(32);
  const [one, other] = [await open(store, key), await open(store, key)];
  expect(one?.meshId).toBe(other?.meshId);
  expect(other?.open(one?.seal('x', 'y') ?? '', 'y')).toBe('x');
  expect(one?.keyedHash('x')).toEqual(other?.keyedHash('x'));
});

test('with another sealing key the vault does not open, rather than give garbage', async () => {
  const store = rootStore();
  await open(store, randomBytes(32));
  expect(await openVault(store, { current: randomBytes(32) }, soon)).toEqual({ kind: 'mismatch' });
});

test('a new sealing key takes the place of the old one, and what was sealed before still opens', async () => {
  const store = rootStore();
  const [old, fresh] = [randomBytes(32), randomBytes(32)];
  const sealed = (await open(store, old))?.seal('x', 'y') ?? '';
  expect((await open(store, fresh, old))?.open(sealed, 'y')).toBe('x');
  expect((await open(store, fresh))?.open(sealed, 'y')).toBe('x');
  expect(await open(store, old)).toBeUndefined();
});

test.for([
  ['zeros', Buffer.alloc(32)],
  ['one byte repeated', Buffer.alloc(32, 0xab)],
  ['a count', Buffer.from(Array.from({ length: 32 }, (_, index) => index))],
  ['printable text', Buffer.from('0123456789abcdefghijklmnopqrstuv')],
  ['a word repeated', Buffer.alloc(32, 'changeme')],
  ['the digest of a word', createHash('sha256').update('changeme').digest()],
  ['31 bytes', randomBytes(31)],
  ['no bytes', Buffer.alloc(0)],
] as const)('a sealing key of %s is refused', ([, key]) => {
  expect(sealingKeyMistake(key)).toBeDefined();
});

test('random sealing keys are taken', () => {
  for (let round = 0; round < 1_000; round += 1) expect(sealingKeyMistake(randomBytes(32))).toBeUndefined();
});
