/** Cross-origin rules of routes that browsers of other origins may use. */

export interface CorsRules {
  allows(origin: string): boolean;
  /** Whether any origin is allowed, so that answers do not depend on it. */
  readonly any: boolean;
}

const ORIGIN = /^([a-z][a-z0-9+.-]*):\/\/(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?$/i;

/** `*` allows all; `*.example.com` any host below it, not itself; everything else matches byte for byte. */
export function createCorsRules(entries: readonly string[]): CorsRules {
  const exact = new Set(entries);
  const any = exact.has('*');
  const suffixes = entries.filter((entry) => entry.startsWith('*.')).map((entry) => entry.slice(1).toLowerCase());
  return {
    any,
    allows(origin) {
      if (any || exact.has(origin)) return true;
      const host = ORIGIN.exec(origin)?.[2]?.toLowerCase();
      return host !== undefined && suffixes.some((suffix) => host.length > suffix.length && host.endsWith(suffix));
    },
  };
}

export type Headers = readonly (readonly [name: string, value: string])[];

/** Headers of any answer of the route. An origin that is not allowed is answered without them. */
export function corsHeaders(rules: CorsRules, origin: string | undefined): Headers {
  const vary: Headers = rules.any ? [] : [['vary', 'origin']];
  if (origin === undefined || !rules.allows(origin)) return vary;
  return [...vary, ['access-control-allow-origin', rules.any ? '*' : origin], ['access-control-expose-headers', '*']];
}

const PREFLIGHT: Headers = [
  ['access-control-allow-methods', '*'],
  ['access-control-allow-headers', 'authorization,content-type,last-event-id,x-materialize-version,x-postern-version'],
  ['access-control-max-age', '3600'],
];

/** What Neon's driver sends, from pages of any site. */
const NEON_PREFLIGHT: Headers = [
  ['access-control-allow-methods', 'POST, OPTIONS'],
  [
    'access-control-allow-headers',
    'authorization,content-type,neon-connection-string,neon-raw-text-output,neon-array-mode,neon-batch-isolation-level,neon-batch-read-only,neon-batch-deferrable',
  ],
  ['access-control-max-age', '86400'],
];

export function preflightHeaders(rules: CorsRules, origin: string, dialect?: 'neon'): Headers {
  const own = corsHeaders(rules, origin);
  if (!rules.allows(origin)) return own;
  return [...own, ...(dialect === 'neon' ? NEON_PREFLIGHT : PREFLIGHT)];
}

/** A host that no name server has a say in, so that no page of another site can come to be at it (DNS rebinding). */
export const isFixedHost = (host: string): boolean =>
  /^(?:localhost|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i.test(host);

/**
 * Whether a request that a cookie vouches for comes from a page of another site. Credentials in a header are shown on
 * purpose; a cookie is sent by itself.
 */
export function isForeign(
  request: { readonly host: string; readonly tls: boolean; readonly behindTrustedProxy: boolean },
  head: ReadonlyMap<string, string>,
): boolean {
  const origin = head.get('origin');
  const site = head.get('sec-fetch-site');
  if (origin === undefined) return site !== undefined && site !== 'same-origin' && site !== 'none';
  const own = [`${request.tls ? 'https' : 'http'}://${request.host}`];
  // A proxy that ends TLS makes pages of https out of a plain listener.
  if (request.behindTrustedProxy) own.push(`https://${request.host}`);
  return !own.some((allowed) => allowed.toLowerCase() === origin.toLowerCase());
}
