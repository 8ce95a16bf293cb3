import { expect, test } from 'vitest';

import { corsHeaders, createCorsRules, isForeign, preflightHeaders, isFixedHost } from './cors.ts';

const rules = createCorsRules(['https://app.example.org', '*.example.com', 'http://localhost:3000']);

test.each([
  ['https://app.example.org', true],
  ['https://APP.example.org', false],
  ['https://app.example.org:443', false],
  ['http://app.example.org', false],
  ['https://a.example.com', true],
  ['http://a.b.example.com:8080', true],
  ['https://example.com', false],
  ['https://.example.com', false],
  ['https://evilexample.com', false],
  ['https://a.example.com.evil.org', false],
  ['https://evil.org/.example.com', false],
  ['https://evil.org#.example.com', false],
  ['https://user@a.example.com', false],
  ['a.example.com', false],
  ['null', false],
  ['http://localhost:3000', true],
  ['http://localhost:3001', false],
])('origin %s is allowed: %s', (origin, allowed) => {
  expect(rules.allows(origin)).toBe(allowed);
  expect(Object.fromEntries(corsHeaders(rules, origin))['access-control-allow-origin']).toBe(allowed ? origin : undefined);
});

test('a bare star allows all, and credentials are never allowed', () => {
  const all = createCorsRules(['*']);
  expect(corsHeaders(all, 'https://x.test')).toContainEqual(['access-control-allow-origin', '*']);
  for (const headers of [corsHeaders(all, 'a'), preflightHeaders(all, 'a'), preflightHeaders(rules, 'https://a.example.com')]) {
    expect(Object.fromEntries(headers)).not.toHaveProperty('access-control-allow-credentials');
  }
});

test('a preflight names methods, headers and how long it holds', () => {
  expect(Object.fromEntries(preflightHeaders(rules, 'https://a.example.com'))).toEqual({
    vary: 'origin',
    'access-control-allow-origin': 'https://a.example.com',
    'access-control-expose-headers': '*',
    'access-control-allow-methods': '*',
    'access-control-allow-headers': 'authorization,content-type,last-event-id,x-materialize-version,x-postern-version',
    'access-control-max-age': '3600',
  });
  expect(preflightHeaders(rules, 'https://evil.test')).toEqual([['vary', 'origin']]);
});

const here = { host: 'edge.test:6876', tls: false, behindTrustedProxy: false };

test.each([
  [{}, false],
  [{ origin: 'http://edge.test:6876' }, false],
  [{ origin: 'https://edge.test:6876' }, true],
  [{ origin: 'http://edge.test' }, true],
  [{ origin: 'http://evil.test' }, true],
  [{ origin: 'null' }, true],
  [{ 'sec-fetch-site': 'same-origin' }, false],
  [{ 'sec-fetch-site': 'none' }, false],
  [{ 'sec-fetch-site': 'same-site' }, true],
  [{ 'sec-fetch-site': 'cross-site' }, true],
])('a request with %j comes from another site: %s', (headers, foreign) => {
  expect(isForeign(here, new Map(Object.entries(headers)))).toBe(foreign);
});

test('behind a proxy that ends TLS, pages of https are at home', () => {
  const headers = new Map([['origin', 'https://edge.test:6876']]);
  expect(isForeign({ ...here, behindTrustedProxy: true }, headers)).toBe(false);
  expect(isForeign({ ...here, tls: true }, headers)).toBe(false);
});

test.each([
  ['127.0.0.1', true],
  ['127.0.0.1:6876', true],
  ['10.1.2.3:80', true],
  ['[::1]:6876', true],
  ['localhost', true],
  ['LOCALHOST:80', true],
  ['evil.test', false],
  ['127.0.0.1.evil.test', false],
  ['localhost.evil.test:80', false],
  ['evil.localhost', false],
  ['127.1', false],
  ['2130706433', false],
  ['', false],
] as const)('%j is a host that no name server answers for: %s', (host, isFixed) => {
  expect(isFixedHost(host)).toBe(isFixed);
});
