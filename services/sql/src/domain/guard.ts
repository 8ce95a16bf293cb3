/**
 * The cost guard: what a role, a group or a key may ask of the database, and how it is told of. Pure; who runs statements
 * asks it first, and counts rows, bytes and time against what it answers.
 */
import type { Principal } from '@postern/contracts/common';

import type { SqlError } from './entries.ts';
import { humanSize } from './entries.ts';

export const LIMIT_NAMES = [
  'estimatedCostMax',
  'estimatedRowsMax',
  'rowsMax',
  'resultBytesMax',
  'statementTimeMs',
  'concurrentMax',
] as const;

export type LimitName = (typeof LIMIT_NAMES)[number];

/** The limits of one role, group or key. */
export type Limits = { readonly [Name in LimitName]?: number | undefined };

/** What is read from the file of limits. */
export interface LimitTable {
  /** By database role; `*` holds for every role. */
  readonly roles: ReadonlyMap<string, Limits>;
  /** By group role, such as `reader`. */
  readonly groups: ReadonlyMap<string, Limits>;
  /** By the id of an API key or token. */
  readonly keys: ReadonlyMap<string, Limits>;
}

const NO_LIMITS: LimitTable = { roles: new Map(), groups: new Map(), keys: new Map() };

/** The strictest of the limits of one name that hold for a caller. */
export interface Bound {
  readonly name: LimitName;
  readonly value: number;
  /** Whose limit it is: `role "alice"`, `group "reader"`, `key "…"`. */
  readonly of: string;
}

/** What holds for the statements of one request. An absent bound is no bound. */
export type Bounds = { readonly [Name in LimitName]?: Bound | undefined };

export type Admission =
  /** `leave` is to be called once, when nothing of the request runs any more. */
  | { readonly kind: 'admitted'; readonly bounds: Bounds; readonly leave: () => void }
  | { readonly kind: 'refused'; readonly error: SqlError };

export interface Guard {
  /** Counts a request (or a socket that runs one statement after the other, as one) against `concurrentMax`. */
  enter(principal: Principal): Admission;
  /** The bounds alone: for who counts elsewhere. */
  boundsOf(principal: Principal): Bounds;
}

export interface LiveGuard extends Guard {
  /** From now on these hold; requests under way keep what they were admitted with. */
  replace(table: LimitTable): void;
}

const GROUP_SCOPE = 'role:';
const NO_BOUNDS: Bounds = {};

export function createGuard(initial: LimitTable = NO_LIMITS): LiveGuard {
  let table = initial;
  const counts = new Map<string, number>();
  const count = (key: string, by: number): void => {
    const left = (counts.get(key) ?? 0) + by;
    if (left > 0) counts.set(key, left);
    else counts.delete(key);
  };
  const boundsOf = (principal: Principal): Bounds => strictest(limitsOf(table, principal));
  return {
    boundsOf,
    enter(principal) {
      const found = limitsOf(table, principal);
      const keys = countedBy(principal);
      for (const { of, limits, isKey } of found) {
        const value = limits.concurrentMax;
        const key = isKey ? keys.at(-1) : keys[0];
        if (value === undefined || key === undefined || (counts.get(key) ?? 0) < value) continue;
        return { kind: 'refused', error: tooManyAtOnce({ name: 'concurrentMax', value, of }) };
      }
      for (const key of keys) count(key, 1);
      let isInside = true;
      const leave = (): void => {
        if (!isInside) return;
        isInside = false;
        for (const key of keys) count(key, -1);
      };
      return { kind: 'admitted', bounds: strictest(found), leave };
    },
    replace(next) {
      table = next;
    },
  };
}

/** The role first, then the key if there is one: limits of roles and groups count what a role runs, those of a key what it runs. */
const countedBy = ({ dbRole, tokenId }: Principal): readonly string[] =>
  tokenId === undefined ? [`role ${dbRole}`] : [`role ${dbRole}`, `key ${tokenId}`];

interface Found {
  readonly of: string;
  readonly limits: Limits;
  readonly isKey: boolean;
}

function limitsOf({ roles, groups, keys }: LimitTable, { dbRole, tokenId, scopes }: Principal): readonly Found[] {
  const found: Found[] = [];
  const add = (of: string, limits: Limits | undefined, isKey = false): void => {
    if (limits !== undefined) found.push({ of, limits, isKey });
  };
  add('role "*"', roles.get('*'));
  // `*` is every role, not one of that name.
  if (dbRole !== '*') add(`role ${JSON.stringify(dbRole)}`, roles.get(dbRole));
  if (groups.size > 0) {
    for (const scope of scopes) {
      if (!scope.startsWith(GROUP_SCOPE)) continue;
      const group = scope.slice(GROUP_SCOPE.length);
      add(`group ${JSON.stringify(group)}`, groups.get(group));
    }
  }
  if (tokenId !== undefined) add(`key ${JSON.stringify(tokenId)}`, keys.get(tokenId), true);
  return found;
}

function strictest(found: readonly Found[]): Bounds {
  if (found.length === 0) return NO_BOUNDS;
  const bounds: { [Name in LimitName]?: Bound } = {};
  for (const { of, limits } of found) {
    for (const name of LIMIT_NAMES) {
      const value = limits[name];
      if (value !== undefined && value < (bounds[name]?.value ?? Infinity)) bounds[name] = { name, value, of };
    }
  }
  return bounds;
}

const named = ({ name, of }: Bound): string => `the limit ${name} of ${of}`;

/** SQLSTATE 54000 (program_limit_exceeded): what was asked for is too much as it stands. */
const TOO_MUCH = '54000';

/** 53400 (configuration_limit_exceeded): it may be asked again when others have ended. */
const tooManyAtOnce = (bound: Bound): SqlError => ({
  message: `${named(bound)} is reached: ${bound.value} statements at a time`,
  code: '53400',
  hint: 'Wait for a statement to end, or cancel one.',
});

/** 57014 (query_canceled). */
export const tookTooLong = (bound: Bound): SqlError => ({
  message: `canceling statement: ${named(bound)} is ${bound.value} ms`,
  code: '57014',
});

/** 53200, as for every result that is too large. */
export const tooManyRows = (bound: Bound): SqlError => ({
  message: `result exceeds ${named(bound)}: ${bound.value} rows`,
  code: '53200',
  hint: 'Ask for fewer rows, with LIMIT or a narrower WHERE.',
});

export const tooManyBytes = (bound: Bound): SqlError => ({
  message: `result exceeds ${named(bound)}: ${humanSize(bound.value)}`,
  code: '53200',
});

/** Whether statements are to be estimated before they run. */
export const needsEstimate = ({ estimatedCostMax, estimatedRowsMax }: Bounds): boolean =>
  estimatedCostMax !== undefined || estimatedRowsMax !== undefined;

/** What of the bounds cannot be seen to where statements are not read, as in the wire tunnel. */
export function unreadable({ estimatedCostMax, estimatedRowsMax, rowsMax, resultBytesMax }: Bounds): SqlError | undefined {
  const bound = estimatedCostMax ?? estimatedRowsMax ?? rowsMax ?? resultBytesMax;
  if (bound === undefined) return undefined;
  return {
    message: `${named(bound)} cannot be kept on this connection`,
    code: TOO_MUCH,
    hint: 'Use SQL over HTTP or the WebSocket messages.',
  };
}
