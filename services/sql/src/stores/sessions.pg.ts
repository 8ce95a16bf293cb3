/** Sessions of people's logins: lent from small pools, opened with the password that auth lends, closed on revocation. */
import { Failure, isFailure } from '@postern/contracts/failure';
import pg from 'pg';

import type { SqlError } from '../domain/entries.ts';
import type { Lease, Lending, LendingLimits } from '../domain/lending.ts';
import { createLending } from '../domain/lending.ts';
import type { Caller, Clock, Logins } from '../domain/ports.ts';
import type { SessionFact } from '../domain/session-facts.ts';
import type { Connection, Runaway } from './connection.pg.ts';
import { openConnection } from './connection.pg.ts';

export type Session =
  | { readonly kind: 'open'; readonly lease: Lease<Connection> }
  | { readonly kind: 'refused'; readonly error: SqlError; readonly isDenied: boolean };

export interface Sessions extends Disposable {
  /** Throws a `Failure` where there is no answer in SQL's own terms: auth or the database is away. */
  open(caller: Caller, giveUp: Promise<void>): Promise<Session>;
  /**
   * A session of its own, for as long as a socket or a feed lives: bounded apart from the pools, so that who holds many
   * keeps nobody's requests waiting; never lent again. `settings` are for who speaks to the server itself: the start-up
   * parameters of a client, which has the forms of values as it likes.
   */
  hold(caller: Caller, giveUp: Promise<void>, settings?: ReadonlyMap<string, string>): Promise<Session>;
  /** The principal is not what it was: its sessions and its lent password are of no more use. */
  revoke(principalId: string): void;
  /** Revocations may have been missed. */
  revokeAll(): void;
  counts(): { readonly open: number; readonly idle: number; readonly waiting: number; readonly held: number };
  census(): readonly SessionFact[];
}

export interface SessionsOptions {
  readonly databaseUrl: string;
  readonly statementTimeoutMs: number;
  readonly limits: LendingLimits;
  /** Of sessions that are held. */
  readonly heldLimits: Pick<LendingLimits, 'perRole' | 'total'>;
  readonly waitMs: number;
  readonly clock: Clock;
  readonly logins: Logins;
  readonly runaway: (backend: Runaway) => void;
}

interface Borrower {
  readonly caller: Caller;
  readonly settings: ReadonlyMap<string, string> | undefined;
}

/** A lent connection that has died in the meantime is passed over; more of them in a row mean the server is gone. */
const STALE_MAX = 50;
const SWEEP_MS = 5_000;
/** Beyond this number of people all start anew. */
const PEOPLE_MAX = 50_000;

export function createSessions(options: SessionsOptions): Sessions {
  const { databaseUrl, statementTimeoutMs, logins, runaway } = options;
  const open = async (role: string, { caller, settings }: Borrower): Promise<Connection> => {
    const connect = (password: string): Promise<Connection> =>
      openConnection({ databaseUrl, statementTimeoutMs, runaway, role, password, settings });
    // Auth is not to be asked to mend what a client has asked for itself.
    const isBroken = mayNameLibraries(settings) ? isDenial : isBrokenLogin;
    try {
      return await connect(await logins.lend(caller));
    } catch (error) {
      if (!isBroken(error)) throw error;
    }
    // The password may have been replaced since it was lent.
    logins.forget(role);
    try {
      return await connect(await logins.lend(caller));
    } catch (error) {
      if (!isBroken(error)) throw error;
    }
    return connect(await logins.heal(caller));
  };
  const { clock } = options;
  const close = (connection: Connection): void => connection.close();
  const lending = createLending<Connection, Borrower>({ limits: options.limits, clock, open, close });
  const heldLimits = { ...options.heldLimits, waiting: options.limits.waiting, idleMs: 0 };
  const holding = createLending<Connection, Borrower>({ limits: heldLimits, clock, open, close });
  const sweeping = setInterval(() => lending.sweep(), SWEEP_MS);
  sweeping.unref();

  /** Who had a session, and as which role. */
  const people = new Map<string, string>();
  const revokeRole = (role: string): void => {
    logins.forget(role);
    lending.revoke(role);
    holding.revoke(role);
  };
  const revokeAll = (): void => {
    for (const role of people.values()) revokeRole(role);
    people.clear();
  };

  const borrow = async (from: Lending<Connection, Borrower>, borrower: Borrower, giveUp: Promise<void>): Promise<Session> => {
    const { id, dbRole: role } = borrower.caller.principal;
    if (people.size >= PEOPLE_MAX) revokeAll();
    people.set(id, role);
    const wait = (): Promise<void> => patience(options.waitMs, giveUp);
    try {
      for (let stale = 0; stale < STALE_MAX; stale += 1) {
        const borrowed = await from.borrow(role, borrower, wait);
        if (borrowed.kind === 'full') return { kind: 'refused', error: limitReached(borrowed), isDenied: false };
        if (borrowed.lease.connection.isOpen) return { kind: 'open', lease: borrowed.lease };
        borrowed.lease.giveBack(Promise.resolve(false));
      }
    } catch (error) {
      return refusal(error);
    }
    throw new Failure('UNAVAILABLE');
  };

  return {
    open: (caller, giveUp) => borrow(lending, { caller, settings: undefined }, giveUp),
    async hold(caller, giveUp, settings) {
      const session = await borrow(holding, { caller, settings }, giveUp);
      if (session.kind === 'refused') return session;
      const { connection, giveBack } = session.lease;
      return {
        kind: 'open',
        lease: {
          connection,
          giveBack: () => {
            connection.close();
            giveBack(Promise.resolve(false));
          },
        },
      };
    },
    revoke(principalId) {
      const role = people.get(principalId);
      if (role === undefined) return;
      people.delete(principalId);
      revokeRole(role);
    },
    revokeAll,
    counts: () => ({ ...lending.counts(), held: holding.counts().open }),
    census: () => [...factsOf(lending, false), ...factsOf(holding, true)],
    [Symbol.dispose]() {
      clearInterval(sweeping);
      lending.shut();
      holding.shut();
    },
  };
}

const factsOf = (lending: Lending<Connection, Borrower>, isHeld: boolean): SessionFact[] =>
  lending.census().map(({ role, connection, state, forMs }) => ({
    role,
    processId: connection.processId,
    isHeld,
    state,
    forMs: Math.round(forMs),
  }));

function patience(waitMs: number, giveUp: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, waitMs);
  void giveUp.then(() => {
    clearTimeout(timer);
    resolve();
  });
  return promise;
}

const isDenial = (error: unknown): boolean => error instanceof pg.DatabaseError && error.code?.startsWith('28') === true;

/** Where the server loads libraries; a role's own settings may name some that are not there, or that it may not load. */
const LIBRARY_LOADER = 'dfmgr.c';

/** What people can do to their own role, by ALTER ROLE, and auth can undo. */
const isBrokenLogin = (error: unknown): boolean =>
  isDenial(error) || (error instanceof pg.DatabaseError && (error.code === '58P01' || error.file === LIBRARY_LOADER));

const mayNameLibraries = (settings: ReadonlyMap<string, string> | undefined): boolean =>
  [...(settings ?? [])].some((setting) => /librar/i.test(setting.join(' ')));

const limitReached = ({ limit, current }: { readonly limit: number; readonly current: number }): SqlError => ({
  message: `creating connection would violate max_connections limit (desired: ${current + 1}, limit: ${limit}, current: ${current})`,
  code: '53300',
});

/** Starting up, shutting down: not an answer to the caller's request, but the server being away. */
const AWAY = new Set(['57P01', '57P02', '57P03']);

function refusal(error: unknown): Session {
  if (!(error instanceof pg.DatabaseError)) {
    if (isFailure(error)) throw error;
    throw new Failure('UNAVAILABLE', { cause: error });
  }
  const { message, code = 'XX000', detail, hint } = error;
  if (AWAY.has(code)) throw new Failure('UNAVAILABLE', { cause: error });
  return { kind: 'refused', error: { message, code, detail, hint }, isDenied: isDenial(error) };
}
