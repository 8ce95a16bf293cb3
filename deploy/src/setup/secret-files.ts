/** Files that hold secrets: 0600 in folders of 0700, written whole or not at all. */
import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Reads a secret, or makes it if there is none; of two processes that make it at once, both answer the same. */
export async function keepSecret(path: string, make: () => string): Promise<string> {
  const known = await readSecret(path);
  if (known !== undefined) return known;
  const made = make();
  await withDraft(path, made, async (draft) => {
    await link(draft, path).catch((error: unknown) => {
      if (!isExisting(error)) throw error;
    });
  });
  return (await readSecret(path)) ?? made;
}

/** Replaces a secret. */
export async function writeSecret(path: string, text: string): Promise<void> {
  if ((await readSecret(path)) === text) return;
  await withDraft(path, text, (draft) => rename(draft, path));
}

export async function readSecret(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trimEnd();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

async function withDraft(path: string, text: string, place: (draft: string) => Promise<void>): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.${randomUUID()}`;
  try {
    await using file = await open(draft, 'wx', 0o600);
    await file.writeFile(`${text}\n`);
    await file.sync();
    await place(draft);
  } finally {
    await rm(draft, { force: true });
  }
}

const isExisting = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'EEXIST';
