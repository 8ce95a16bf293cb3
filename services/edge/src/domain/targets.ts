/** The request target: decided on exactly as it came, or refused. Nothing is decoded, normalised or repaired. */

export type Target =
  | { readonly kind: 'target'; readonly path: string; readonly query: string }
  | { readonly kind: 'malformed'; readonly reason: string };

const malformed = (reason: string): Target => ({ kind: 'malformed', reason });

/** RFC 3986 `pchar` and `/`, without `;`: some servers read path parameters out of it. */
const PLAIN_PATH = /^[A-Za-z0-9\-._~!$&'()*+,=:@/%]*$/;
const QUERY = /^[\x21\x22\x24-\x7e]*$/;
const ESCAPE = /%(?:[0-9A-Fa-f]{2})?/g;
/** Escapes that some reader downstream could turn into structure: control characters, `.`, `/`, `\`, `;` and `%` itself. */
const STRUCTURAL_ESCAPE = /%(?:[01][0-9A-Fa-f]|7[Ff]|2[EeFf5]|5[Cc]|3[Bb])/;

/** Reads an origin-form target (RFC 9112 3.2.1) whose path has one reading only. */
export function readTarget(raw: string): Target {
  if (!raw.startsWith('/')) return malformed('only the origin form is served');
  const mark = raw.indexOf('?');
  const path = mark === -1 ? raw : raw.slice(0, mark);
  const query = mark === -1 ? '' : raw.slice(mark);
  if (!PLAIN_PATH.test(path)) return malformed('the path has characters that must be escaped');
  if (!QUERY.test(query)) return malformed('the query has characters that must be escaped');
  if (path.includes('//')) return malformed('the path has an empty segment');
  if (path.includes('/.') && /\/\.{1,2}(?:\/|$)/.test(path)) return malformed('the path has dot segments');
  if (path.includes('%')) {
    if (STRUCTURAL_ESCAPE.test(path)) return malformed('the path escapes structural characters');
    if (path.match(ESCAPE)?.some((escape) => escape.length !== 3) === true) return malformed('the path has a broken escape');
    if (!isUtf8Escaped(path)) return malformed('the path escapes bytes that are not UTF-8');
  }
  return { kind: 'target', path, query };
}

function isUtf8Escaped(path: string): boolean {
  try {
    decodeURIComponent(path);
    return true;
  } catch {
    return false;
  }
}
