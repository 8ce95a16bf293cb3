/** Where a server's program comes from: PATH, a Debian package unpacked beside the project, or a container image. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';

import { unpackDebianProgram } from './debian-package.ts';
import { findOnPath } from './find-on-path.ts';
import { ServerMistake } from './server-mistake.ts';

const run = promisify(execFile);

export interface WantedProgram {
  /** The first is the one a package brings. */
  readonly names: readonly [string, ...string[]];
  readonly packageName: string;
  readonly image: string;
  /** Folders the program must see; a container sees them under the same paths. */
  readonly folders: readonly string[];
  /** The port on this machine, and the one in a container. */
  readonly ports: readonly [number, number];
  /** How to name a server that runs already; for the message. */
  readonly setting: string;
}

export interface Program {
  readonly command: string;
  /** Come before the program's own arguments. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly inContainer: boolean;
  /** Removes what a killed predecessor left running that its process id does not name. */
  readonly cleanUp?: (() => Promise<void>) | undefined;
}

/** The first way that works; none is a mistake that says what to type. */
export async function findProgram(wanted: WantedProgram): Promise<Program> {
  const [first] = wanted.names;
  const onPath = wanted.names.map(findOnPath).find((path) => path !== undefined);
  if (onPath !== undefined) return { command: onPath, args: [], env: {}, inContainer: false };
  const unpacked = await unpackDebianProgram(wanted.packageName, first);
  if (unpacked !== undefined) return { ...unpacked, args: [], inContainer: false };
  if (await dockerAnswers()) return container(wanted);
  const install =
    process.platform === 'darwin'
      ? `brew install ${wanted.packageName.replace(/^redis-server$/, 'redis')}`
      : `apt-get install ${wanted.packageName}`;
  throw new ServerMistake(
    `${wanted.names.join(' or ')} is not on PATH, and neither apt-get nor Docker can bring it.\n` +
      `Install it (${install}), or name a server that runs: ${wanted.setting} npm start`,
  );
}

async function dockerAnswers(): Promise<boolean> {
  return run('docker', ['version', '--format', '{{.Server.Version}}'], { timeout: 10_000 }).then(
    () => true,
    () => false,
  );
}

function container({ names, image, folders, ports }: WantedProgram): Program {
  const user = process.getuid === undefined ? [] : ['--user', `${process.getuid()}:${process.getgid?.() ?? 0}`];
  const volumes = [...new Set(folders)].flatMap((folder) => ['--volume', `${folder}:${folder}`]);
  const publish = ['--publish', `127.0.0.1:${ports[0]}:${ports[1]}`];
  const name = `postern-${createHash('sha256').update(folders.join('\n')).digest('hex').slice(0, 16)}-${names[0]}`;
  // The images' own entry points change the user, who then cannot read the files.
  const options = ['--rm', '--init', '--name', name, '--entrypoint', names[0], ...user, ...volumes, ...publish];
  const cleanUp = async (): Promise<void> => {
    await run('docker', ['rm', '--force', '--volumes', name]).catch(() => {});
  };
  return { command: 'docker', args: ['run', ...options, image], env: {}, inContainer: true, cleanUp };
}
