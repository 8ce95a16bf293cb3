import fc from 'fast-check';
import { expect, test } from 'vitest';

import { routeTable } from '../http/route-table.ts';
import { createMatcher } from './routes.ts';
import type { RouteGroup } from './listeners.ts';
import { ROUTE_GROUPS } from './listeners.ts';
import type { RolePolicy } from './role-policy.ts';
import { readTarget } from './targets.ts';

const everything = new Map<RouteGroup, RolePolicy>(ROUTE_GROUPS.map((group) => [group, 'NormalAndInternal']));
const match = createMatcher(routeTable, { kind: 'Oidc', routes: everything });

test.each([
  '/api/../metrics',
  '/./api/sql',
  '/api/sql/..',
  '/.',
  '/api/%2e%2e/metrics',
  '/api/%2E/sql',
  '/api%2fsql',
  '/api%5Csql',
  '/api\\sql',
  '//api/sql',
  '/api//sql',
  '/api/people/a%00b',
  '/api/people/a%0d%0ab',
  '/api/people/%252e',
  '/api/people/%25',
  '/api/sql;x=1',
  '/api/people/a%3Bb',
  '/api/people/%c0%ae',
  '/api/people/%ff',
  '/api/people/%',
  '/api/people/%4',
  '/api/people/%zz',
  '/api/people/a b',
  '/api/people/\u00fc',
  '/api/sql#x',
  '/api/sql?a#b',
  '/api/sql?\u00fc',
  'http://127.0.0.1/api/sql',
  'api/sql',
  '127.0.0.1:80',
  '*',
  '',
])('target %j has more than one reading, and is refused', (raw) => {
  expect(readTarget(raw).kind).toBe('malformed');
});

test('a plain target is split at the first question mark and otherwise left as it is', () => {
  expect(readTarget('/api/sql?options=%7B%7D?&%zz')).toEqual({ kind: 'target', path: '/api/sql', query: '?options=%7B%7D?&%zz' });
  expect(readTarget('/api/people/a%20b')).toEqual({ kind: 'target', path: '/api/people/a%20b', query: '' });
});

/** imm-020, imm-026: what decides is the path itself; a reader that decodes or normalises arrives at the same route. */
test('any target that is accepted reads the same to a strict URL parser', () => {
  const piece = fc.constantFrom(
    '/',
    '.',
    '..',
    '%2e',
    '%2f',
    '%5c',
    '%00',
    '\\',
    ';',
    '//',
    'api',
    'sql',
    'people',
    'metrics',
    'A',
    '%C3%BC',
    'x',
    '?',
    '#',
    '%',
    '%25',
    '\u3002',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const raw = `/${pieces.join('')}`;
      const target = readTarget(raw);
      if (target.kind === 'malformed') return;
      const parsed = new URL(raw, 'http://edge');
      expect(parsed.pathname).toBe(target.path);
      const decided = match('GET', target.path);
      const normalised = match('GET', decodeURI(parsed.pathname));
      expect(normalised.kind).toBe(decided.kind);
      if (decided.kind === 'route' && normalised.kind === 'route') expect(normalised.route).toBe(decided.route);
    }),
    { numRuns: 2_000 },
  );
});

/** imm-025, imm-026: an independent matcher of a few lines agrees, also about case. */
test('the matcher agrees with a regular expression made from the same table', () => {
  const segment = fc.constantFrom(
    '',
    'api',
    'API',
    'sql',
    'Sql',
    'people',
    'keys',
    'me',
    'sessions',
    'metrics',
    'livez',
    'login',
    'x',
    '{name}',
    '{id}',
    'constructor',
    '__proto__',
  );
  const method = fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'get', 'TRACE');
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 4 }), method, (segments, verb) => {
      const path = `/${segments.join('/')}`;
      const candidates = routeTable.filter((route) => new RegExp(`^${route.path.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path));
      const literal = candidates.filter((route) => route.path === path && !path.includes('{'));
      const wins = literal.length > 0 ? literal : candidates;
      const taken = wins.find((route) => route.methods.some((known) => known === verb || (known === 'GET' && verb === 'HEAD')));
      const answer = match(verb, path);
      if (wins.length === 0) expect(answer.kind).toBe('none');
      else if (taken === undefined) expect(answer.kind).toBe('otherMethod');
      else expect(answer).toMatchObject({ kind: 'route', route: taken });
    }),
    { numRuns: 2_000 },
  );
});

test('a group that is off is not there, and a path that is known says which methods it takes', () => {
  const onlyMetrics = createMatcher(routeTable, { kind: 'None', routes: new Map([['metrics', 'Normal'] as const]) });
  expect(onlyMetrics('POST', '/api/sql').kind).toBe('none');
  expect(onlyMetrics('POST', '/api/login').kind).toBe('none');
  expect(onlyMetrics('GET', '/metrics').kind).toBe('route');
  expect(match('PUT', '/api/people')).toMatchObject({ kind: 'otherMethod', allow: ['GET', 'HEAD', 'POST'] });
  expect(match('GET', '/api/sql')).toMatchObject({ kind: 'otherMethod', allow: ['POST'] });
  expect(match('GET', '/api/sql/').kind).toBe('none');
});
