/** Questions of the service's own making for whoever inspects, each reading in a lent session of their own login. */
import { revoked, timedOut, userCanceled } from '../domain/endings.ts';
import type { Inspection, Inspector, Occupation } from '../domain/inspections.ts';
import type { Guard } from '../domain/guard.ts';
import type { Clock } from '../domain/ports.ts';
import type { Revocable } from '../domain/revocation.ts';
import { Asking, QueryFailure } from './asking.pg.ts';
import type { Sessions } from './sessions.pg.ts';

export interface ReadingsOptions {
  readonly sessions: Pick<Sessions, 'open'>;
  readonly clock: Clock;
  readonly guard: Pick<Guard, 'enter'>;
  /** Longest time of a whole reading. */
  readonly readingMs: number;
}

export interface Readings extends Revocable {
  /** A {@link QueryFailure} that `work` does not catch is the reading's failure. */
  read<Value>(inspector: Inspector, work: (asking: Asking) => Promise<Value>): Promise<Inspection<Value>>;
  underWay(): readonly Occupation[];
}

export function createReadings({ sessions, clock, guard, readingMs }: ReadingsOptions): Readings {
  const underWay = new Set<UnderWay>();
  const readInSession = async <Value>(
    inspector: Inspector,
    work: (asking: Asking) => Promise<Value>,
  ): Promise<Inspection<Value>> => {
    const { caller, gone } = inspector;
    const session = await sessions.open(caller, gone);
    if (session.kind === 'refused') return { kind: 'sessionRefused', error: session.error, isDenied: session.isDenied };
    const { connection, giveBack } = session.lease;
    const asking = new Asking(connection);
    const entry = { inspector, asking, since: clock.now() };
    underWay.add(entry);
    const deadline = setTimeout(() => asking.stop(timedOut), readingMs);
    let isGone = false;
    void gone.then(() => {
      isGone = true;
      asking.stop(userCanceled);
    });
    try {
      return { kind: 'read', value: await work(asking) };
    } catch (error) {
      if (isGone) return { kind: 'abandoned' };
      if (error instanceof QueryFailure) return { kind: 'failed', error: error.error };
      throw error;
    } finally {
      clearTimeout(deadline);
      underWay.delete(entry);
      const cleaned = connection.clean();
      giveBack(cleaned);
      await cleaned.catch(() => false);
    }
  };
  return {
    async read(inspector, work) {
      const admission = guard.enter(inspector.caller.principal);
      if (admission.kind === 'refused') return { kind: 'failed', error: admission.error };
      return readInSession(inspector, work).finally(admission.leave);
    },
    revokeWhere(isRevoked) {
      for (const { inspector, asking } of underWay) if (isRevoked(inspector.caller.principal)) asking.stop(revoked);
    },
    revokeAll() {
      for (const { asking } of underWay) asking.stop(revoked);
    },
    underWay: () =>
      [...underWay].map(({ inspector, since }) => ({
        principalId: inspector.caller.principal.id,
        role: inspector.caller.principal.dbRole,
        forMs: Math.round(clock.now() - since),
      })),
  };
}

interface UnderWay {
  readonly inspector: Inspector;
  readonly asking: Asking;
  readonly since: number;
}
