/**
 * Who gets which connection: a few for each role, a bound on all of them, the least recently used idle one closed for a
 * role that has none, a bounded queue. A connection belongs to one role for its life; nobody else ever gets it.
 */
import type { Clock } from './ports.ts';

export interface LendingLimits {
  readonly perRole: number;
  readonly total: number;
  readonly waiting: number;
  readonly idleMs: number;
}

export interface LendingOptions<Connection, Borrower> {
  readonly limits: LendingLimits;
  readonly clock: Clock;
  readonly open: (role: string, borrower: Borrower) => Promise<Connection>;
  readonly close: (connection: Connection) => void;
}

export interface Lease<Connection> {
  readonly connection: Connection;
  /** Gives it back; it is lent again only if `clean` resolves to true. */
  giveBack(clean: Promise<boolean>): void;
}

export type Borrowing<Connection> =
  | { readonly kind: 'lent'; readonly lease: Lease<Connection> }
  | { readonly kind: 'full'; readonly limit: number; readonly current: number };

export interface Lending<Connection, Borrower> {
  /** Rejects with what `open` rejects with. If it has to wait, it does so until `wait()` resolves. */
  borrow(role: string, borrower: Borrower, wait: () => Promise<void>): Promise<Borrowing<Connection>>;
  /** Closes the role's idle connections now and its lent ones when they come back; answers the lent ones. */
  revoke(role: string): readonly Connection[];
  /** Closes what has been idle for too long. */
  sweep(): void;
  /** Closes everything that is not lent; what comes back is closed too. */
  shut(): void;
  counts(): { readonly open: number; readonly idle: number; readonly waiting: number };
  /** Every connection there is, those that are still being opened left out. */
  census(): readonly Lent<Connection>[];
}

export interface Lent<Connection> {
  readonly role: string;
  readonly connection: Connection;
  /** `returning`: given back, and not yet known to be clean. */
  readonly state: 'idle' | 'lent' | 'returning';
  readonly forMs: number;
}

interface Slot<Connection> {
  readonly role: Role<Connection>;
  readonly connection: Connection;
  readonly generation: number;
  state: Lent<Connection>['state'];
  /** When it came into that state. */
  since: number;
}

interface Role<Connection> {
  readonly name: string;
  /** Raised by a revocation: connections of an earlier one are not lent again. */
  generation: number;
  /** Open and opening ones. */
  size: number;
  readonly idle: Slot<Connection>[];
  readonly lent: Set<Slot<Connection>>;
  readonly waiters: Set<Waiter<Connection>>;
}

interface Waiter<Connection> {
  readonly role: Role<Connection>;
  readonly since: number;
  readonly take: (slot: Slot<Connection>) => void;
  /** There is room now: open one. */
  readonly open: () => void;
}

export function createLending<Connection, Borrower>({
  limits,
  clock,
  open,
  close,
}: LendingOptions<Connection, Borrower>): Lending<Connection, Borrower> {
  const roles = new Map<string, Role<Connection>>();
  /** Idle ones of all roles, the longest idle first. */
  const idle = new Set<Slot<Connection>>();
  const waiting = new Set<Waiter<Connection>>();
  let total = 0;
  let isShut = false;
  let arrivals = 0;

  const roleOf = (name: string): Role<Connection> => {
    const known = roles.get(name);
    if (known !== undefined) return known;
    const role: Role<Connection> = { name, generation: 0, size: 0, idle: [], lent: new Set(), waiters: new Set() };
    roles.set(name, role);
    return role;
  };

  const forgetIfEmpty = (role: Role<Connection>): void => {
    if (role.size === 0 && role.waiters.size === 0) roles.delete(role.name);
  };

  const shrink = (role: Role<Connection>): void => {
    role.size -= 1;
    total -= 1;
    forgetIfEmpty(role);
  };

  const takeIdle = (slot: Slot<Connection>): void => {
    idle.delete(slot);
    const at = slot.role.idle.lastIndexOf(slot);
    slot.role.idle.splice(at, 1);
  };

  const discardIdle = (slot: Slot<Connection>): void => {
    takeIdle(slot);
    close(slot.connection);
    shrink(slot.role);
  };

  /** Whether one more may be opened for the role, closing an idle one of another if that helps. */
  const hasRoom = (role: Role<Connection>): boolean => {
    if (role.size >= limits.perRole) return false;
    if (total >= limits.total) {
      const longestIdle = idle.values().next().value;
      if (longestIdle === undefined) return false;
      discardIdle(longestIdle);
    }
    return true;
  };

  const openFor = async (role: Role<Connection>, borrower: Borrower): Promise<Slot<Connection>> => {
    roles.set(role.name, role);
    role.size += 1;
    total += 1;
    try {
      for (;;) {
        const { generation } = role;
        const connection = await open(role.name, borrower);
        if (generation === role.generation && !isShut) return { role, connection, generation, state: 'lent', since: clock.now() };
        // Revoked while it was being opened: what was lent for it may be void.
        close(connection);
        if (isShut) throw new ShutMistake('the pool is shut');
      }
    } catch (error) {
      shrink(role);
      serveWaiting();
      throw error;
    }
  };

  const serveWaiting = (): void => {
    for (const waiter of waiting) {
      if (!hasRoom(waiter.role)) continue;
      stopWaiting(waiter);
      waiter.open();
    }
  };

  const stopWaiting = (waiter: Waiter<Connection>): void => {
    waiting.delete(waiter);
    waiter.role.waiters.delete(waiter);
  };

  /** A role without any connection that has waited longer than the slot's own role: otherwise busy roles would starve it. */
  const starving = (role: Role<Connection>): boolean => {
    if (total < limits.total || waiting.size === role.waiters.size) return false;
    const ownSince = role.waiters.values().next().value?.since ?? Infinity;
    for (const waiter of waiting) {
      if (waiter.since >= ownSince) return false;
      if (waiter.role.size === 0) return true;
    }
    return false;
  };

  const recycle = (slot: Slot<Connection>, isClean: boolean): void => {
    const { role } = slot;
    role.lent.delete(slot);
    if (!isClean || isShut || slot.generation !== role.generation || starving(role)) {
      close(slot.connection);
      shrink(role);
      serveWaiting();
      return;
    }
    const waiter = role.waiters.values().next().value;
    if (waiter !== undefined) {
      stopWaiting(waiter);
      waiter.take(slot);
      return;
    }
    enter(slot, 'idle');
    role.idle.push(slot);
    idle.add(slot);
    if (waiting.size > 0) serveWaiting();
  };

  const enter = (slot: Slot<Connection>, state: Lent<Connection>['state']): void => {
    slot.state = state;
    slot.since = clock.now();
  };

  const lend = (slot: Slot<Connection>): Borrowing<Connection> => {
    slot.role.lent.add(slot);
    enter(slot, 'lent');
    const giveBack = (clean: Promise<boolean>): void => {
      enter(slot, 'returning');
      void clean.then(
        (isClean) => recycle(slot, isClean),
        () => recycle(slot, false),
      );
    };
    return { kind: 'lent', lease: { connection: slot.connection, giveBack } };
  };

  const waitFor = (role: Role<Connection>, borrower: Borrower, wait: () => Promise<void>): Promise<Borrowing<Connection>> => {
    const { promise, resolve, reject } = Promise.withResolvers<Borrowing<Connection>>();
    arrivals += 1;
    const waiter: Waiter<Connection> = {
      role,
      since: arrivals,
      take: (slot) => resolve(lend(slot)),
      open: () => void openFor(role, borrower).then((slot) => resolve(lend(slot)), reject),
    };
    waiting.add(waiter);
    role.waiters.add(waiter);
    void wait().then(() => {
      if (!waiting.has(waiter)) return;
      stopWaiting(waiter);
      forgetIfEmpty(role);
      resolve(full(role));
    });
    return promise;
  };

  const full = (role: Role<Connection>): Borrowing<Connection> =>
    role.size >= limits.perRole
      ? { kind: 'full', limit: limits.perRole, current: role.size }
      : { kind: 'full', limit: limits.total, current: total };

  return {
    async borrow(name, borrower, wait) {
      const role = roleOf(name);
      const slot = role.idle.at(-1);
      if (slot !== undefined) {
        takeIdle(slot);
        return lend(slot);
      }
      if (hasRoom(role)) return lend(await openFor(role, borrower));
      if (waiting.size >= limits.waiting) {
        forgetIfEmpty(role);
        return full(role);
      }
      return waitFor(role, borrower, wait);
    },
    revoke(name) {
      const role = roles.get(name);
      if (role === undefined) return [];
      role.generation += 1;
      for (let slot = role.idle.at(-1); slot !== undefined; slot = role.idle.at(-1)) discardIdle(slot);
      serveWaiting();
      return [...role.lent].map((slot) => slot.connection);
    },
    sweep() {
      const before = clock.now() - limits.idleMs;
      for (const slot of idle) if (slot.since <= before) discardIdle(slot);
    },
    shut() {
      isShut = true;
      for (const slot of idle) discardIdle(slot);
    },
    counts: () => ({ open: total, idle: idle.size, waiting: waiting.size }),
    census() {
      const now = clock.now();
      const slots = [...roles.values()].flatMap((role) => [...role.idle, ...role.lent]);
      return slots.map(({ role, connection, state, since }) => ({ role: role.name, connection, state, forMs: now - since }));
    },
  };
}

/** A connection was asked for after the end. */
class ShutMistake extends Error {
  override readonly name = 'ShutMistake';
}
