/** Programs to measure against, or to measure with, each a process of its own. */
import type { ChildProcess } from 'node:child_process';
import { execFile, fork } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

export async function pin(pids: readonly number[], core: number): Promise<void> {
  for (const pid of pids) await run('taskset', ['-a', '-p', '-c', String(core), String(pid)]);
}

export async function startPeer(
  file: string,
  env: Readonly<Record<string, string>>,
  core?: number,
): Promise<ChildProcess & { readonly url: string }> {
  const child = fork(new URL(`peers/${file}`, import.meta.url), { env: { ...process.env, ...env } });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  child.once('message', (message: { port: number }) => resolve(message.port));
  child.once('exit', () => reject(new Error(`${file} ended`)));
  const port = await promise;
  if (core !== undefined && child.pid !== undefined) await pin([child.pid], core);
  return Object.assign(child, { url: `http://127.0.0.1:${port}` });
}
