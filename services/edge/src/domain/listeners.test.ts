import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

import { parseListeners } from './listeners.ts';
import { shippedListeners } from './shipped-listeners.ts';

const listener = (changes: object = {}): object => ({
  version: '26.32.0',
  http: { main: { addr: '127.0.0.1:0', routes: { base: { enabled: true, allowed_roles: 'Normal' } }, ...changes } },
});

const mistakesOf = (document: unknown): Record<string, string> => {
  const parsed = parseListeners(document);
  if (parsed.kind !== 'mistakes') throw new Error('the document was accepted');
  return Object.fromEntries(parsed.mistakes.map(({ pointer, message }) => [pointer, message]));
};

const accepted = (document: unknown) => {
  const parsed = parseListeners(document);
  if (parsed.kind !== 'listeners') throw new Error(JSON.stringify(parsed.mistakes));
  return parsed;
};

test('the shipped document is accepted, and is the one that deployments start with', () => {
  expect(accepted(shippedListeners).listeners.map(({ name, kind }) => [name, kind])).toEqual([
    ['external', 'Oidc'],
    ['internal', 'None'],
  ]);
  const deployed: unknown = JSON.parse(readFileSync(new URL('../../../../deploy/listeners.json', import.meta.url), 'utf8'));
  expect(deployed).toEqual(shippedListeners);
});

test('a listener is of kind None, without TLS and without a proxy unless it says otherwise', () => {
  expect(accepted(listener()).listeners[0]).toEqual({
    name: 'main',
    host: '127.0.0.1',
    port: 0,
    kind: 'None',
    tls: false,
    behindTrustedProxy: false,
    routes: new Map([['base', 'Normal']]),
    oidc: undefined,
  });
});

test.each([
  ['Frontegg', /vendor/],
  ['Sasl', /PostgreSQL protocol/],
  ['Talos', /not supported/],
  ['password', /one of None, Password, Oidc/],
  ['toString', /one of None, Password, Oidc/],
])('kind %s is refused with a reason', (kind, reason) => {
  expect(mistakesOf(listener({ authenticator_kind: kind }))['/http/main/authenticator_kind']).toMatch(reason);
});

test('an enabled group without roles is a mistake, a disabled one ignores its roles', () => {
  expect(mistakesOf(listener({ routes: { base: { enabled: true } } }))).toEqual({
    '/http/main/routes/base/allowed_roles': 'is required for an enabled group',
  });
  const { listeners } = accepted(
    listener({ routes: { base: { enabled: false, allowed_roles: 'Nobody' }, metrics: { enabled: false } } }),
  );
  expect(listeners[0]?.routes.size).toBe(0);
});

test('the older shape is migrated: the roles of the listener go to each group that is on', () => {
  const { listeners } = accepted(listener({ allowed_roles: 'Internal', routes: { base: true, metrics: true, webhook: false } }));
  expect([...(listeners[0]?.routes ?? [])]).toEqual([
    ['base', 'Internal'],
    ['metrics', 'Internal'],
  ]);
  expect(mistakesOf(listener({ routes: { base: true } }))).toHaveProperty('/http/main/routes/base');
  expect(mistakesOf(listener({ allowed_roles: 'Normal', routes: { base: true, metrics: { enabled: false } } }))).toHaveProperty(
    '/http/main/routes/metrics',
  );
});

test('listeners of the PostgreSQL protocol are understood and said not to be served', () => {
  const document = {
    ...listener(),
    sql: { pg: { addr: '0.0.0.0:6875', authenticator_kind: 'Sasl', allowed_roles: 'Normal', enable_tls: true } },
  };
  expect(accepted(document).warnings).toEqual([expect.stringContaining('/sql/pg')]);
});

test('a None listener that others can reach is warned about', () => {
  expect(accepted(listener({ addr: '0.0.0.0:80' })).warnings).toHaveLength(1);
  expect(accepted(listener({ addr: '[::1]:80' })).warnings).toHaveLength(0);
});

test('all mistakes are listed, each with its JSON pointer', () => {
  const document = {
    version: 7,
    extra: true,
    sql: { pg: { addr: 'x', kind: 1 } },
    http: {
      'a/b': { addr: '127.0.0.1:99999', routes: { nothing: { enabled: true } }, colour: 1 },
      one: { addr: '127.0.0.1:80', enable_tls: 'yes', behind_trusted_proxy: 1, routes: { base: { enabled: 'on', role: 1 } } },
      two: { addr: '127.0.0.1:80', authenticator_kind: 'Password', oidc: { issuer: 'https://x/?q', audience: [1] }, routes: [] },
      three: 1,
      __proto__x: { routes: {} },
    },
  };
  expect(Object.keys(mistakesOf(document)).toSorted()).toEqual([
    '/extra',
    '/http/__proto__x',
    '/http/__proto__x/addr',
    '/http/a~1b',
    '/http/a~1b/addr',
    '/http/a~1b/colour',
    '/http/a~1b/routes/nothing',
    '/http/one/behind_trusted_proxy',
    '/http/one/enable_tls',
    '/http/one/routes/base/enabled',
    '/http/one/routes/base/role',
    '/http/three',
    '/http/three/addr',
    '/http/three/routes',
    '/http/two',
    '/http/two/oidc',
    '/http/two/oidc/audience',
    '/http/two/oidc/issuer',
    '/http/two/routes',
    '/sql/pg/addr',
    '/sql/pg/kind',
    '/version',
  ]);
});

/** imm-128: a document is data, also where its keys are those of every object. */
test('keys of Object.prototype are unknown keys like any other', () => {
  const document: unknown = JSON.parse('{"__proto__": {"http": {}}, "constructor": 1, "http": {}}');
  expect(mistakesOf(document)).toHaveProperty('/__proto__');
  const routes: unknown = JSON.parse('{"__proto__": {"enabled": true, "allowed_roles": "Normal"}, "constructor": true}');
  expect(Object.keys(mistakesOf(listener({ routes })))).toEqual(['/http/main/routes/__proto__', '/http/main/routes/constructor']);
});

test.each([undefined, null, [], 'x', {}, { http: {} }, { http: [] }])('%j is not a document', (document) => {
  expect(parseListeners(document).kind).toBe('mistakes');
});
