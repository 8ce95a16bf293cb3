import { expect } from 'vitest';

import { bearer, request, valueOf } from '../harness/client.ts';
import type { RequestOptions } from '../harness/client.ts';
import { verifies } from '../verifies.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const FIVE_MIB = 5 * 1_048_576;

/** A body of exactly so many bytes. */
const bodyOf = (bytes: number): string => {
  const framed = (text: string): string => JSON.stringify({ queries: [{ query: 'select length($1)', params: [text] }] });
  return framed('x'.repeat(bytes - framed('').length));
};

const SQL_CASES: readonly (readonly [string, RequestOptions, number, RegExp])[] = [
  ['a body that is not JSON', { body: 'select 1', headers: JSON_TYPE }, 400, /./],
  ['half a body', { body: '{"query":', headers: JSON_TYPE }, 400, /./],
  ['an empty body', { body: '', method: 'POST', headers: JSON_TYPE }, 400, /./],
  ['another content type', { body: '{"query":"select 1"}', headers: { 'content-type': 'text/plain' } }, 415, /./],
  ['a form', { body: 'query=select+1', headers: { 'content-type': 'application/x-www-form-urlencoded' } }, 415, /./],
  ['a list', { json: [] }, 422, /./],
  ['no query', { json: {} }, 422, /./],
  ['a number for a query', { json: { query: 1 } }, 422, /./],
  ['a number for a parameter', { json: { queries: [{ query: 'select $1', params: [1] }] } }, 422, /./],
  [
    'no statement in an extended query',
    { json: { queries: [{ query: 'select 1' }, { query: '' }] } },
    400,
    /exactly 1 statement/,
  ],
  ['two statements in an extended query', { json: { queries: [{ query: 'select 1; select 2' }] } }, 400, /exactly 1 statement/],
  ['a body of 5 MiB', { body: bodyOf(FIVE_MIB), headers: JSON_TYPE }, 200, /"rows"/],
  ['a body of 5 MiB and a byte', { body: bodyOf(FIVE_MIB + 1), headers: JSON_TYPE }, 413, /./],
  ['a wrong method', { method: 'GET' }, 405, /./],
];

for (const [what, options, status, text] of SQL_CASES) {
  verifies('input:bad', `${what} gets ${status}`, async (mesh) => {
    const answer = await request(mesh.edges[0], '/api/sql', {
      ...options,
      headers: { ...options.headers, ...bearer(mesh.apiKey) },
    });
    expect(answer.status).toBe(status);
    expect(answer.text).toMatch(text);
  });
}

verifies('input:bad', 'options that are no object of strings get 400, and unknown ones a notice', async (mesh) => {
  const ask = (options: string) =>
    request(mesh.edges[0], `/api/sql?options=${encodeURIComponent(options)}`, {
      json: { query: 'show application_name' },
      headers: bearer(mesh.apiKey),
    });
  for (const bad of ['[]', '{"a":1}', 'nonsense']) {
    const answer = await ask(bad);
    expect(answer.status).toBe(400);
    expect(answer.text).toContain('Failed to deserialize "options" map');
  }
  expect((await ask('{"application_name":"e2e"}')).text).toContain('"e2e"');
  const unknown = await ask('{"nonsense":"x"}');
  expect(unknown.status).toBe(200);
  expect(unknown.text).toContain('startup setting nonsense not set');
});

const API_CASES: readonly (readonly [string, string, RequestOptions, number])[] = [
  ['a person with an unknown key', '/api/people', { json: { name: 'x', roles: ['reader'], colour: 'red' } }, 422],
  ['a person without a name', '/api/people', { json: { roles: ['reader'] } }, 422],
  ['a person in an unknown group', '/api/people', { json: { name: 'x', roles: ['owner'] } }, 422],
  ['a person with a reserved name', '/api/people', { json: { name: 'pg_person', roles: ['reader'] } }, 422],
  ['a person twice', '/api/people', { json: { name: 'admin', roles: ['reader'] } }, 409],
  ['a body that is not JSON', '/api/people', { body: '{', headers: JSON_TYPE }, 400],
  ['a body of another type', '/api/people', { method: 'POST', body: '{}', headers: { 'content-type': 'text/plain' } }, 415],
  ['a body that is too large', '/api/people', { json: { name: 'x'.repeat(65_536) } }, 413],
  ['a path that is not there', '/api/nothing', {}, 404],
  ['a person who is not there', '/api/people/nobody_by_this_name', {}, 404],
];

for (const [what, path, options, status] of API_CASES) {
  verifies('input:bad', `${what} gets ${status} as a problem`, async (mesh) => {
    const answer = await request(mesh.edges[0], path, { ...options, headers: { ...options.headers, ...bearer(mesh.apiKey) } });
    expect(answer.status).toBe(status);
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(answer.json()).toMatchObject({ status, title: expect.any(String), type: expect.stringContaining('#') });
  });
}

const LOGIN_CASES: readonly (readonly [string, RequestOptions, number])[] = [
  ['a login that is not JSON', { body: 'x', headers: JSON_TYPE }, 400],
  ['a login of another type', { body: '{}', headers: { 'content-type': 'text/plain' } }, 415],
  ['a login without a password', { json: { username: 'admin' } }, 422],
];

for (const [what, options, status] of LOGIN_CASES) {
  verifies('input:bad', `${what} gets ${status}`, async (mesh) => {
    expect((await request(mesh.edges[0], '/api/login', options)).status).toBe(status);
  });
}

verifies('input:bad', 'after all of it the mesh answers as before', async (mesh) => {
  expect(await valueOf(mesh.edges[0], bearer(mesh.apiKey), 'select 1')).toBe('1');
});
