import { rename, writeFile } from 'node:fs/promises';

/** Writes what was taken as one line of JSON; a reader sees all of it or nothing. */
export async function writePorts(file: string, origins: Readonly<Record<string, string>>): Promise<void> {
  const draft = `${file}.${process.pid}`;
  await writeFile(draft, `${JSON.stringify(origins)}\n`, { mode: 0o600 });
  await rename(draft, file);
}
