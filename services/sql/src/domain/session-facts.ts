/** What is known of the sessions of this process, and what of it does not fit what the server knows. */
import type { Inconsistency } from './inspections.ts';
import type { Lent } from './lending.ts';

export interface SessionFact {
  readonly role: string;
  /** The number of its backend in the server. */
  readonly processId: number;
  readonly isHeld: boolean;
  readonly state: Lent<unknown>['state'];
  readonly forMs: number;
}

/** A session that was given back is clean, or gone, well before. */
const RESET_MS_MAX = 20_000;

/** `backends`: whose each of the server's is. */
export function sessionMistakes(
  { role, processId, state, forMs }: SessionFact,
  backends: ReadonlyMap<number, string>,
): Inconsistency[] {
  const object = `session ${processId} of ${role}`;
  const owner = backends.get(processId);
  const mistakes: Inconsistency[] = [];
  if (owner === undefined)
    mistakes.push({ kind: 'session without a backend', object, message: `the server does not know of it; it is ${state}` });
  else if (owner !== role) mistakes.push({ kind: 'session of another role', object, message: `the server has it as ${owner}` });
  if (state === 'returning' && forMs > RESET_MS_MAX)
    mistakes.push({ kind: 'stuck reset', object, message: `it was given back ${forMs} ms ago and is not clean yet` });
  return mistakes;
}
