import fc from 'fast-check';
import { expect, test } from 'vitest';

import { forwardedHeaders, isAnswerHeader } from './forwarding.ts';
import type { Head } from './head.ts';
import { promisedBytes, readHead } from './head.ts';

const read = (headers: readonly (readonly [string, string])[], version = '1.1') =>
  readHead([['Host', 'edge:80'] as const, ...headers].flat(), version);

const headOf = (headers: readonly (readonly [string, string])[]): Head => {
  const answer = read(headers);
  if (answer.kind === 'mistake') throw new Error(answer.reason);
  return answer.head;
};

const attached = { host: 'sql:1', requestId: 'id', assertion: 'a.b.c', deadlineMs: 5 };

test.each(['Authorization', 'x-materialize-user', 'X-Postern-User', 'Content-Type', 'Host', 'Content-Length', 'Origin'])(
  'two %s headers are refused, also with the same value',
  (name) => {
    const value = name === 'Content-Length' ? '3' : 'edge';
    expect(
      read([
        [name, value],
        [name.toUpperCase(), value],
      ]).kind,
    ).toBe('mistake');
  },
);

test.each([
  [[['Content-Length', '+5']]],
  [[['Content-Length', '5, 5']]],
  [[['Content-Length', '0x5']]],
  [[['Content-Length', '-1']]],
  [[['Content-Length', '']]],
  [
    [
      ['Content-Length', '5'],
      ['Transfer-Encoding', 'chunked'],
    ],
  ],
  [[['Transfer-Encoding', 'gzip, chunked']]],
  [[['Transfer-Encoding', 'xchunked']]],
  [[['Transfer-Encoding', 'identity']]],
  [[['Connection', 'x-postern-principal']]],
  [[['Connection', 'keep-alive, authorization']]],
] as [string, string][][][])('%j is ambiguous', (headers) => {
  expect(read(headers).kind).toBe('mistake');
});

test('a request names one host, in the form of a host', () => {
  expect(readHead([], '1.1').kind).toBe('mistake');
  expect(readHead([], '1.0').kind).toBe('head');
  for (const host of ['', 'a b', 'a/b', 'user@host', 'a,b', '[::1', 'a:port'])
    expect(readHead(['host', host], '1.1').kind).toBe('mistake');
  for (const host of ['a', 'a.b:80', '[::1]:80', '127.0.0.1', 'service_name:1', 'a.'])
    expect(readHead(['host', host], '1.1').kind).toBe('head');
});

test('usual connection tokens are taken, and a body is promised by length or not at all', () => {
  expect(
    read([
      ['Connection', 'Keep-Alive, Upgrade, HTTP2-Settings'],
      ['TE', 'trailers'],
    ]).kind,
  ).toBe('head');
  expect(promisedBytes(headOf([]))).toBe(0);
  expect(promisedBytes(headOf([['content-length', '12']]))).toBe(12);
  expect(promisedBytes(headOf([['Transfer-Encoding', 'Chunked']]))).toBeUndefined();
});

test('more than 100 headers are too many', () => {
  const many = Array.from({ length: 101 }, (_, index) => [`x-${index}`, ''] as const);
  expect(read(many)).toMatchObject({ kind: 'mistake', code: 'HEADERS_TOO_LARGE' });
});

/** imm-001, imm-002, imm-008: whatever a client calls its headers, the identity that goes upstream is ours, once. */
test('of identity headers in any spelling only our own go upstream', () => {
  const names = [
    'x-postern-principal',
    'x-materialize-user',
    'x-forwarded-user',
    'x-forwarded-for',
    'x-forwarded-host',
    'x-forwarded-proto',
    'forwarded',
    'x-real-ip',
    'x-original-url',
    'x-rewrite-url',
    'x-deadline-ms',
    'x-request-id',
    'cookie',
    'authorization',
    'proxy-authorization',
  ];
  const spelling = fc
    .tuple(fc.constantFrom(...names), fc.constantFrom('-', '_', '.'), fc.array(fc.boolean(), { minLength: 40, maxLength: 40 }))
    .map(([name, separator, upper]) =>
      name
        .replaceAll('-', separator)
        .split('')
        .map((letter, index) => (upper[index] === true ? letter.toUpperCase() : letter))
        .join(''),
    );
  const header = fc.tuple(spelling, fc.constantFrom('mz_system', 'mz_system,mz_system', 'a.b.c ', '\tx'));
  fc.assert(
    fc.property(fc.array(header, { maxLength: 8 }), (headers) => {
      const answer = read([...headers, ['Content-Type', 'application/json']]);
      if (answer.kind === 'mistake') return;
      const sent = forwardedHeaders(answer.head, attached);
      expect(sent).toEqual([
        ['host', 'sql:1'],
        ['x-request-id', 'id'],
        ['x-postern-principal', 'a.b.c'],
        ['x-deadline-ms', '5'],
        ['content-type', 'application/json'],
      ]);
    }),
    { numRuns: 500 },
  );
});

test('a trace is passed on only in its own form', () => {
  const trace = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
  const names = (head: Head): string[] => forwardedHeaders(head, attached).map(([name]) => name);
  expect(
    names(
      headOf([
        ['traceparent', trace],
        ['tracestate', 'a=1'],
      ]),
    ),
  ).toContain('tracestate');
  expect(
    names(
      headOf([
        ['traceparent', `${trace}x`],
        ['tracestate', 'a=1'],
      ]),
    ),
  ).not.toContain('traceparent');
  expect(names(headOf([['tracestate', 'a=1']]))).not.toContain('tracestate');
});

test('an answer shows no header that would set a cookie, frame it anew, or name who serves', () => {
  for (const name of [
    'set-cookie',
    'connection',
    'transfer-encoding',
    'content-length',
    'server',
    'x-powered-by',
    'x-postern-principal',
    'www-authenticate',
    'access-control-allow-origin',
    'keep-alive',
    'trailer',
    'upgrade',
  ]) {
    expect(isAnswerHeader(name)).toBe(false);
  }
});

/** imm-128 */
test('headers named as members of every object are just headers', () => {
  const head = headOf([
    ['__proto__', 'x'],
    ['constructor', 'y'],
    ['toString', 'z'],
  ]);
  expect([head.get('__proto__'), head.get('constructor'), head.get('hasownproperty')]).toEqual(['x', 'y', undefined]);
});
