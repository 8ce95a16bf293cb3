/** Whether a process that was remembered is still the same one: ids are used again, start times are not. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface ProcessIdentity {
  readonly pid: number;
  /** When it was started, in the system's own words. */
  readonly started: string;
}

export const identityOf = (pid: number): ProcessIdentity => ({ pid, started: startOf(pid) ?? '' });

export const isRunning = ({ pid, started }: ProcessIdentity): boolean => startOf(pid) === started;

function startOf(pid: number): string | undefined {
  try {
    if (process.platform !== 'linux')
      return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command in parentheses may hold anything; the state is the first field after it, the start time the 20th.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
