/** Whose names a route group admits (`allowed_roles` of the listener document). */
export const ROLE_POLICIES = ['Normal', 'Internal', 'NormalAndInternal'] as const;

export type RolePolicy = (typeof ROLE_POLICIES)[number];

const INTERNAL: ReadonlySet<string> = new Set(['mz_system', 'mz_support', 'mz_analytics']);
const RESERVED_PREFIXES = ['mz_', 'pg_', 'external_'];

const isInternal = (name: string): boolean => INTERNAL.has(name);

export const isReserved = (name: string): boolean =>
  name === 'PUBLIC' || RESERVED_PREFIXES.some((prefix) => name.startsWith(prefix));

/** A group without a policy admits nobody. */
export function admits(policy: RolePolicy | undefined, name: string): boolean {
  switch (policy) {
    case 'Normal':
      return !isReserved(name);
    case 'Internal':
      return isInternal(name);
    case 'NormalAndInternal':
      return !isReserved(name) || isInternal(name);
    case undefined:
      return false;
  }
}
