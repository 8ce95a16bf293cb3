import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';

import { writeSecret } from './secret-files.ts';
import { keepSecrets } from './secrets.ts';

const base = mkdtempSync(join(tmpdir(), 'postern-test-'));
const folder = join(base, 'secrets');
afterAll(() => rmSync(base, { recursive: true }));

test('secrets are made once: starts at once and later ones read the same', async () => {
  const [one, two] = await Promise.all([keepSecrets(folder), keepSecrets(folder)]);
  expect(two).toEqual(one);
  expect(await keepSecrets(folder)).toEqual(one);
});

test('each is its own, long, and the API key has the known shape', async () => {
  const { postgres, redis, firstAdmin } = await keepSecrets(folder);
  const all = [...Object.values(postgres), ...Object.values(redis), ...Object.values(firstAdmin)];
  expect(new Set(all).size).toBe(all.length);
  for (const secret of all) expect(secret.length).toBeGreaterThanOrEqual(20);
  expect(firstAdmin.apiKey).toMatch(/^pst_[a-z2-7]{8}_[\w-]{43}$/);
  expect(Buffer.from(readFileSync(join(folder, 'auth', 'sealing-key'), 'utf8'), 'base64')).toHaveLength(32);
});

test('nobody but the owner reads a file or enters a folder, and no draft is left', async () => {
  await keepSecrets(folder);
  await writeSecret(join(folder, 'sql', 'database-url'), 'one');
  await writeSecret(join(folder, 'sql', 'database-url'), 'two');
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    const mode = statSync(join(entry.parentPath, entry.name)).mode & 0o777;
    expect(mode, entry.name).toBe(entry.isDirectory() ? 0o700 : 0o600);
  }
  expect(entries.map(({ name }) => name).filter((name) => /-[0-9a-f]{12}$/.test(name))).toEqual([]);
  expect(readFileSync(join(folder, 'sql', 'database-url'), 'utf8')).toBe('two\n');
});

test('a secret that was put there by hand is kept', async () => {
  const own = join(base, 'own');
  await writeSecret(join(own, 'sql', 'database-password'), 'by-hand');
  writeFileSync(join(own, 'sql', 'database-password'), 'by-hand-without-a-newline');
  expect((await keepSecrets(own)).postgres.sql).toBe('by-hand-without-a-newline');
});
