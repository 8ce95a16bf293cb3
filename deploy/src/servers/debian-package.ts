/** Programs out of Debian's packages, unpacked beside the project: no root needed, nothing installed, no service started. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { findOnPath } from './find-on-path.ts';

const run = promisify(execFile);

/** Where the project keeps tools that are not npm packages. */
export const toolchainFolder = (): string =>
  process.env['POSTERN_TOOLCHAIN_DIR'] || fileURLToPath(new URL('../../../.toolchain', import.meta.url));

export interface UnpackedProgram {
  readonly command: string;
  /** The package's libraries that this machine does not have itself. */
  readonly env: Readonly<Record<string, string>>;
}

/**
 * A program of a Debian package and of the packages it needs that are missing here. Undefined where there is no apt, or
 * the package is unknown or out of reach.
 */
export async function unpackDebianProgram(packageName: string, program: string): Promise<UnpackedProgram | undefined> {
  const folder = join(toolchainFolder(), 'debian', packageName);
  const known = unpacked(folder, program);
  if (known !== undefined) return known;
  if (findOnPath('apt-get') === undefined || findOnPath('dpkg') === undefined) return undefined;
  await mkdir(dirname(folder), { recursive: true });
  const work = await mkdtemp(join(dirname(folder), '.unpacking-'));
  try {
    await unpack(packageName, work);
    // Of two processes that unpack at once, one renames first and the other uses what is there.
    await rename(join(work, 'root'), folder).catch((error: unknown) => {
      if (!existsSync(folder)) throw error;
    });
  } catch {
    return undefined;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return unpacked(folder, program);
}

async function unpack(packageName: string, work: string): Promise<void> {
  const missing = await missingPackages(packageName, []).catch(async () => {
    const options = await privateLists(work);
    return missingPackages(packageName, options);
  });
  const downloads = join(work, 'downloads');
  await mkdir(downloads);
  await mkdir(join(work, 'root'));
  await run('apt-get', [...missing.options, '-q', 'download', ...missing.names], { cwd: downloads });
  for (const file of await readdir(downloads)) await run('dpkg', ['-x', join(downloads, file), join(work, 'root')]);
}

/** What `apt-get install` would install, itself included; asking needs no root. */
async function missingPackages(packageName: string, options: string[]): Promise<{ names: string[]; options: string[] }> {
  const { stdout } = await run('apt-get', [...options, '-q', '-s', '--no-install-recommends', 'install', packageName]);
  const names = [...stdout.matchAll(/^Inst (\S+)/gm)].flatMap((match) => match[1] ?? []);
  // An installed package without its program on PATH is fetched again.
  return { names: names.length === 0 ? [packageName] : names, options };
}

/** Package lists of our own, for a machine whose own are empty and not ours to write. */
async function privateLists(work: string): Promise<string[]> {
  const lists = join(work, 'lists');
  const cache = join(work, 'cache');
  await mkdir(join(lists, 'partial'), { recursive: true });
  await mkdir(join(cache, 'archives', 'partial'), { recursive: true });
  const options = ['-o', `Dir::State::Lists=${lists}`, '-o', `Dir::Cache=${cache}`];
  await run('apt-get', [...options, '-q', 'update']);
  return options;
}

function unpacked(folder: string, program: string): UnpackedProgram | undefined {
  const command = ['usr/bin', 'usr/sbin', 'bin', 'sbin']
    .map((place) => join(folder, place, program))
    .find((path) => existsSync(path));
  if (command === undefined) return undefined;
  const triplet = `${{ x64: 'x86_64', arm64: 'aarch64' }[process.arch as 'x64' | 'arm64'] ?? process.arch}-linux-gnu`;
  const libraries = ['usr/lib', 'lib', `usr/lib/${triplet}`, `lib/${triplet}`].map((place) => join(folder, place));
  return { command, env: { LD_LIBRARY_PATH: libraries.join(':') } };
}
