/** The header section of a request, read once from what came over the wire; refused where two readers could differ. */

/** Values by lower-case name. A header that may repeat is joined with commas (cookies with semicolons). */
export type Head = ReadonlyMap<string, string>;

export type ReadHead =
  | { readonly kind: 'head'; readonly head: Head }
  | { readonly kind: 'mistake'; readonly code: 'HEADER_MALFORMED' | 'HEADERS_TOO_LARGE'; readonly reason: string };

const HEADERS_MAX = 100;

/** Headers that decide something: twice is a mistake, even with the same value. */
const SINGLE: ReadonlySet<string> = new Set([
  'host',
  'authorization',
  'content-length',
  'transfer-encoding',
  'content-type',
  'content-encoding',
  'expect',
  'origin',
  'traceparent',
  'x-request-id',
  'x-materialize-user',
  'x-postern-user',
  'sec-websocket-key',
  'sec-websocket-version',
  'neon-connection-string',
]);

/** What a client may name in `Connection`; naming another header would have it removed on the way. */
const CONNECTION_TOKENS: ReadonlySet<string> = new Set(['close', 'keep-alive', 'upgrade', 'te', 'http2-settings']);

const HOST = /^(?:\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9._-]*[a-z0-9.])?)(?::\d{1,5})?$/i;

const mistake = (reason: string): ReadHead => ({ kind: 'mistake', code: 'HEADER_MALFORMED', reason });

export function readHead(rawHeaders: readonly string[], httpVersion: string): ReadHead {
  if (rawHeaders.length > HEADERS_MAX * 2) {
    return { kind: 'mistake', code: 'HEADERS_TOO_LARGE', reason: `there are more than ${HEADERS_MAX} headers` };
  }
  const head = new Map<string, string>();
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase();
    const value = rawHeaders[index + 1] ?? '';
    const earlier = head.get(name);
    if (earlier === undefined) head.set(name, value);
    else if (SINGLE.has(name)) return mistake(`${name} is there twice`);
    else head.set(name, `${earlier}${name === 'cookie' ? '; ' : ', '}${value}`);
  }
  const reason = ambiguity(head, httpVersion);
  return reason === undefined ? { kind: 'head', head } : mistake(reason);
}

function ambiguity(head: Head, httpVersion: string): string | undefined {
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return 'the version is not HTTP/1.1 or HTTP/1.0';
  const host = head.get('host');
  if (host === undefined ? httpVersion !== '1.0' : !HOST.test(host)) return 'host is missing or malformed';
  const length = head.get('content-length');
  const encoding = head.get('transfer-encoding');
  if (length !== undefined && !/^\d{1,15}$/.test(length)) return 'content-length is not a number';
  if (encoding !== undefined) {
    if (length !== undefined) return 'content-length and transfer-encoding are both there';
    if (encoding.toLowerCase() !== 'chunked' || httpVersion === '1.0') return 'transfer-encoding must be chunked';
  }
  const connection = head.get('connection');
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return undefined;
  const tokens = connection.split(',').map((token) => token.trim().toLowerCase());
  return tokens.every((token) => token === '' || CONNECTION_TOKENS.has(token)) ? undefined : 'connection names other headers';
}

/** Bytes the head promises; `undefined` for a body in chunks. */
export function promisedBytes(head: Head): number | undefined {
  if (head.has('transfer-encoding')) return undefined;
  return Number(head.get('content-length') ?? 0);
}
