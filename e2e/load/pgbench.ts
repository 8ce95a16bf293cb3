import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Makes pgbench's tables (scale 10: a million accounts) in the database, if they are not there. */
export async function preparePgbench(databaseUrl: string): Promise<void> {
  await run('pgbench', ['-i', '-q', '-s', '10', ...target(databaseUrl).args], { env: target(databaseUrl).env });
}

/** Transactions per second of `pgbench -S` with prepared statements. */
export async function pgbench(databaseUrl: string, connections: number, seconds: number): Promise<number> {
  const { args, env } = target(databaseUrl);
  const flags = ['-S', '-M', 'prepared', '-n', '-c', String(connections), '-j', '1', '-T', String(seconds)];
  const { stdout } = await run('pgbench', [...flags, ...args], { env });
  return Number(/tps = ([\d.]+)/.exec(stdout)?.[1]);
}

/** The password goes by environment: command lines are public. */
export function target(databaseUrl: string): { args: string[]; env: NodeJS.ProcessEnv } {
  const url = new URL(databaseUrl);
  return {
    args: ['-h', url.hostname, '-p', url.port || '5432', '-U', decodeURIComponent(url.username), url.pathname.slice(1)],
    env: { ...process.env, PGPASSWORD: decodeURIComponent(url.password) },
  };
}
