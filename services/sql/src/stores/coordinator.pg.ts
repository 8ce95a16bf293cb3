/** What is under way: in this replica, as those who do it count it, and in the server, as far as the reader may see it. */
import type { Census, CoordinatorBook } from '../domain/inspections.ts';
import { sessionMistakes } from '../domain/session-facts.ts';
import type { SessionFact } from '../domain/session-facts.ts';
import type { Clock } from '../domain/ports.ts';
import { inSnapshot } from './catalog-dump.pg.ts';
import { JsonAnswer } from './json-answer.pg.ts';
import type { Asking } from './asking.pg.ts';
import type { Readings } from './readings.pg.ts';
import type { SpoolLimits } from './spooled-output.fs.ts';
import type { Sessions } from './sessions.pg.ts';

export interface CoordinatorBookOptions {
  readonly replicaId: string;
  readonly clock: Clock;
  readonly readings: Pick<Readings, 'read'>;
  readonly sessions: Pick<Sessions, 'census' | 'counts'>;
  /** By what they count: requests, sockets, statements, … */
  readonly censuses: Readonly<Record<string, Census>>;
  readonly answers: SpoolLimits;
}

/** More of one kind say nothing new. */
const OCCUPATIONS_MAX = 1_000;

/** Of statements, only the reader's own are shown, whatever the reader may see. */
const BACKENDS = `
  select json_build_object(
      'processId', a.pid, 'database', a.datname, 'role', a.usename, 'application', a.application_name, 'client', host(a.client_addr),
      'kind', a.backend_type, 'state', a.state, 'startedAt', a.backend_start, 'transactionSince', a.xact_start,
      'statementSince', a.query_start, 'stateSince', a.state_change, 'waitsFor', a.wait_event_type, 'waitEvent', a.wait_event,
      'snapshot', a.backend_xmin::text,
      'blockedBy', case when a.wait_event_type = 'Lock' then to_json(pg_blocking_pids(a.pid)) else '[]'::json end,
      'statement', case when a.usename = session_user then a.query end)
    from (select * from pg_stat_activity order by pid offset 0) a`;

const REPLICATION_SLOTS = `
  select json_build_object(
      'name', s.slot_name, 'kind', s.slot_type, 'database', s.database, 'active', s.active, 'processId', s.active_pid,
      'snapshot', s.xmin::text, 'catalogSnapshot', s.catalog_xmin::text, 'restartsAt', s.restart_lsn::text, 'state', s.wal_status)
    from (select * from pg_replication_slots order by slot_name offset 0) s`;

const PREPARED_TRANSACTIONS = `
  select json_build_object('transaction', p.transaction::text, 'preparedAt', p.prepared, 'owner', p.owner, 'database', p.database)
    from (select * from pg_prepared_xacts order by prepared offset 0) p`;

export function createCoordinatorBook(options: CoordinatorBookOptions): CoordinatorBook {
  const { readings, answers, sessions } = options;
  return {
    dump: (inspector) =>
      readings.read(inspector, async (asking) => {
        await using answer = new JsonAnswer(answers);
        answer.out.ascii('{"replica":');
        answer.out.utf8(JSON.stringify(replicaState(options)));
        await inSnapshot(asking, async () => {
          answer.out.ascii(',\n"server":{"backends":');
          await answer.array(asking, BACKENDS);
          answer.out.ascii(',\n"replicationSlots":');
          await answer.array(asking, REPLICATION_SLOTS);
          answer.out.ascii(',\n"preparedTransactions":');
          await answer.array(asking, PREPARED_TRANSACTIONS);
        });
        answer.out.ascii('}}');
        return answer.finish();
      }),
    check: (inspector) =>
      readings.read(inspector, async (asking) => {
        const before = sessions.census();
        const backends = await readBackends(asking);
        const still = new Set(sessions.census().map(({ processId }) => processId));
        // What was opened or closed meanwhile says nothing.
        return before.filter(({ processId }) => still.has(processId)).flatMap((session) => sessionMistakes(session, backends));
      }),
  };
}

function replicaState({ replicaId, clock, sessions, censuses }: CoordinatorBookOptions): Record<string, unknown> {
  const underWay = Object.entries(censuses).map(([name, census]): [string, unknown] => {
    const all = census();
    return [
      name,
      { count: all.length, longest: all.toSorted((one, other) => other.forMs - one.forMs).slice(0, OCCUPATIONS_MAX) },
    ];
  });
  return {
    id: replicaId,
    upForMs: Math.round(clock.now()),
    memoryBytes: process.memoryUsage.rss(),
    pool: sessions.counts(),
    sessions: byRole(sessions.census()),
    ...Object.fromEntries(underWay),
  };
}

interface RoleSessions {
  readonly role: string;
  idle: number;
  lent: number;
  returning: number;
  held: number;
}

function byRole(sessions: readonly SessionFact[]): RoleSessions[] {
  const roles = new Map<string, RoleSessions>();
  for (const { role, isHeld, state } of sessions) {
    const counted = roles.get(role) ?? { role, idle: 0, lent: 0, returning: 0, held: 0 };
    counted[isHeld && state === 'lent' ? 'held' : state] += 1;
    roles.set(role, counted);
  }
  return [...roles.values()].toSorted((one, other) => (one.role < other.role ? -1 : 1));
}

/** Every role is told of each backend whose it is; the rest is not asked for. */
async function readBackends(asking: Asking): Promise<ReadonlyMap<number, string>> {
  const rows = await asking.ask(['select pid, usename from pg_catalog.pg_stat_activity where usename is not null']);
  return new Map(rows.map(([processId, role]) => [Number(processId), role ?? '']));
}
