/**
 * Which names a person may have. A name is also a database role, a user name of HTTP Basic and a part of a path, so it is
 * 1 to 63 bytes of letters, marks and digits of any one script, and `_ . @ + | ~ = -` after the first; it is compared byte by
 * byte (case matters) and is never changed: a name that is not in its canonical form (NFKC) is refused, not repaired.
 */

export const ANONYMOUS_NAME = 'anonymous_http_user';

/** Principals of the mesh's operators; only a trusted header or a None listener can name them. */
export const INTERNAL_NAMES: ReadonlySet<string> = new Set(['mz_system', 'mz_support', 'mz_analytics']);

const RESERVED_PREFIXES = ['mz_', 'pg_', 'external_', 'postern_'];
const RESERVED = new Set([
  ANONYMOUS_NAME,
  'app_owner',
  'postgres',
  'postern',
  'public',
  'none',
  'user',
  'current_user',
  'current_role',
  'session_user',
]);

const BYTES_MAX = 63;
const SHAPE = /^[\p{L}\p{Nd}_][\p{L}\p{M}\p{Nd}_.@+|~=-]*$/u;
const SCRIPTS_THAT_LOOK_ALIKE = [/\p{Script=Latin}/u, /\p{Script=Cyrillic}/u, /\p{Script=Greek}/u];

export type NameVerdict = 'fine' | 'malformed' | 'reserved';

export function judgeName(name: string): NameVerdict {
  const lowered = name.toLowerCase();
  if (RESERVED.has(lowered) || RESERVED_PREFIXES.some((prefix) => lowered.startsWith(prefix))) return 'reserved';
  if (Buffer.byteLength(name) > BYTES_MAX || !SHAPE.test(name) || name.normalize('NFKC') !== name) return 'malformed';
  const scripts = SCRIPTS_THAT_LOOK_ALIKE.filter((script) => script.test(name)).length;
  return scripts > 1 ? 'malformed' : 'fine';
}
