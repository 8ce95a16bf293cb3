/** PostgreSQL refuses to run as root: who runs it then, and where that user can reach its files. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chownSync, cpSync, existsSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { ServerMistake } from './server-mistake.ts';

export interface RunAs {
  readonly uid: number;
  readonly gid: number;
}

/** The user a server runs as: undefined (ourselves) unless we are root. */
export function unprivilegedUser(): RunAs | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const known = lookUp('postgres') ?? lookUp('nobody');
  if (known !== undefined) return known;
  execFileSync('useradd', ['--system', '--no-create-home', '--shell', '/usr/sbin/nologin', 'postern-postgres'], {
    stdio: 'ignore',
  });
  const made = lookUp('postern-postgres');
  if (made === undefined)
    throw new ServerMistake('PostgreSQL does not run as root, and there is no other user: useradd postern-postgres');
  return made;
}

function lookUp(name: string): RunAs | undefined {
  const fields = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .find(([user]) => user === name);
  const [uid, gid] = [Number(fields?.[2]), Number(fields?.[3])];
  return fields === undefined || uid === 0 ? undefined : { uid, gid };
}

/** Makes `folder` and gives it to the user, private to them; if they cannot get there, one in /var/lib/postern named after it. */
export function ownedFolder(folder: string, runAs: RunAs): string {
  mkdirSync(dirname(folder), { recursive: true });
  const elsewhere = join(sharedFolderPath, hashOf(folder));
  // What was once put elsewhere stays there, also if the way to the folder has been opened since.
  const isHere = !existsSync(elsewhere) && may('enter', dirname(folder), runAs);
  const place = isHere ? folder : join(sharedFolder(), hashOf(folder));
  mkdirSync(place, { recursive: true, mode: 0o700 });
  if (lstatSync(place).uid !== runAs.uid) chownSync(place, runAs.uid, runAs.gid);
  return place;
}

/** The folder itself if the user can read it, else a copy at `copy`, where they can. */
export function readableFolder(folder: string, copy: string, runAs: RunAs): string {
  if (may('read', folder, runAs)) return folder;
  if (existsSync(copy)) return copy;
  sharedFolder();
  const unfinished = `${copy}.${process.pid}`;
  cpSync(folder, unfinished, { recursive: true, verbatimSymlinks: true });
  try {
    renameSync(unfinished, copy);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    if (!existsSync(copy)) throw error;
  }
  return copy;
}

export const sharedFolderPath = '/var/lib/postern';

/** A folder of root's own in /var/lib; one that somebody else has put there is not used. */
function sharedFolder(): string {
  const folder = sharedFolderPath;
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  const found = lstatSync(folder);
  if (!found.isDirectory() || found.uid !== 0 || (found.mode & 0o022) !== 0) {
    throw new ServerMistake(`${folder} is not root's own folder; remove it`);
  }
  return folder;
}

export const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);

const may = (what: 'enter' | 'read', folder: string, runAs: RunAs): boolean => {
  const script = what === 'enter' ? 'cd "$0"' : 'cd "$0" && test -r .';
  return spawnSync('/bin/sh', ['-c', script, folder], { ...runAs, cwd: '/', stdio: 'ignore' }).status === 0;
};
