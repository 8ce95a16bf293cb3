/** Which headers pass the edge. Everything that is not named here stays behind, whatever its spelling. */
import type { Head } from './head.ts';

const REQUEST_HEADERS = [
  'accept',
  'accept-encoding',
  'accept-language',
  'content-encoding',
  'content-type',
  'if-match',
  'if-none-match',
  'user-agent',
  'x-materialize-version',
  'x-postern-version',
] as const;

const RESPONSE_HEADERS: ReadonlySet<string> = new Set([
  'accept-ranges',
  'allow',
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-range',
  'content-type',
  'etag',
  'expires',
  'last-modified',
  'location',
  'preference-applied',
  'retry-after',
  'vary',
]);

const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/** What the edge itself says about a request that it forwards. */
export interface Attached {
  readonly host: string;
  readonly requestId: string;
  readonly assertion: string;
  readonly deadlineMs: number;
  /** The database that was asked for, where the protocol names one. */
  readonly database?: string | undefined;
}

export type HeaderPairs = [name: string, value: string][];

/** The complete header section of a forwarded request, but for how its body is framed; `also` names what its route forwards. */
export function forwardedHeaders(head: Head, attached: Attached, also: readonly string[] = []): HeaderPairs {
  const pairs: HeaderPairs = [
    ['host', attached.host],
    ['x-request-id', attached.requestId],
    ['x-postern-principal', attached.assertion],
    ['x-deadline-ms', String(attached.deadlineMs)],
  ];
  const { database = '' } = attached;
  if (database !== '') pairs.push(['x-postern-database', encodeURIComponent(database)]);
  for (const names of [REQUEST_HEADERS, also]) {
    for (const name of names) {
      const value = head.get(name);
      if (value !== undefined) pairs.push([name, value]);
    }
  }
  const traceparent = head.get('traceparent');
  if (traceparent !== undefined && TRACEPARENT.test(traceparent)) {
    pairs.push(['traceparent', traceparent]);
    const tracestate = head.get('tracestate');
    if (tracestate !== undefined && tracestate.length <= 512) pairs.push(['tracestate', tracestate]);
  }
  return pairs;
}

/** Whether a service's answer may show this header; `content-length` is the forwarder's own business. */
export const isAnswerHeader = (name: string, also: readonly string[] = []): boolean =>
  RESPONSE_HEADERS.has(name) || also.includes(name);
