import { expect } from 'vitest';
import { z } from 'zod';

import { bearer, makePerson, request, sql } from '../harness/client.ts';
import { verifies } from '../verifies.ts';

const Dump = z.object({
  snapshot: z.object({ takenBy: z.string() }),
  tables: z.array(z.object({ schema: z.string(), name: z.string() })),
  functions: z.array(z.unknown()),
});

verifies('operations:catalog', 'the catalog is dumped and checked as whoever asks, at every edge', async (mesh) => {
  await using writer = await makePerson(mesh, 'writer');
  await sql(mesh.edges[0], writer.basic, 'create table dumped (n integer primary key)');
  for (const edge of mesh.edges) {
    const dump = await request(edge, '/api/catalog/dump', { headers: writer.basic });
    expect(dump.status, dump.text.slice(0, 300)).toBe(200);
    const { snapshot, tables } = Dump.parse(JSON.parse(dump.text));
    expect(snapshot.takenBy).toBe(writer.name);
    expect(tables).toContainEqual({ schema: writer.name, name: 'dumped' });
    expect((await request(edge, '/api/catalog/check', { headers: writer.basic })).text).toBe('""');
    expect((await request(edge, '/api/coordinator/check', { headers: writer.basic })).text).toBe('""');
  }
  await sql(mesh.edges[0], writer.basic, 'drop table dumped');
});

verifies('operations:catalog', 'what is under way is told without the words of others', async (mesh) => {
  await using writer = await makePerson(mesh, 'writer');
  await sql(mesh.edges[0], writer.basic, `select 'of-the-writer-alone'`);
  const { status, text } = await request(mesh.edges[0], '/api/coordinator/dump', { headers: bearer(mesh.apiKey) });
  expect(status, text.slice(0, 300)).toBe(200);
  expect(text).toContain(writer.name);
  expect(text).not.toContain('of-the-writer-alone');
});

verifies('operations:catalog', 'without a credential there is none of it', async (mesh) => {
  for (const path of ['/api/catalog/dump', '/api/catalog/check', '/api/coordinator/dump', '/api/coordinator/check'])
    expect((await request(mesh.edges[0], path)).status).toBe(401);
});

verifies('operations:metrics', 'people are not admitted to metrics at the public door', async (mesh) => {
  await using reader = await makePerson(mesh, 'reader');
  for (const page of ['mz_usage', 'mz_frontier', 'mz_compute', 'mz_storage']) {
    expect((await request(mesh.edges[0], `/metrics/${page}`, { headers: reader.basic })).status).toBe(401);
    const told = await request(mesh.edges[0], `/metrics/${page}`, { headers: bearer(mesh.apiKey) });
    expect(told.status).toBe(401);
  }
});

const Document = z.object({ openapi: z.literal('3.1.1'), paths: z.record(z.string(), z.record(z.string(), z.unknown())) });

verifies('operations:documents', 'the document is served to people, and every path of it is a route', async (mesh) => {
  await using reader = await makePerson(mesh, 'reader');
  const document = await request(mesh.edges[0], '/api/openapi.json', { headers: reader.basic });
  expect(document.status).toBe(200);
  const { paths } = Document.parse(JSON.parse(document.text));
  expect(Object.keys(paths).length).toBeGreaterThan(30);
  for (const path of Object.keys(paths)) {
    // With a method that no route has, what is there answers 405 and what is not 404.
    const { status } = await request(mesh.edges[0], path.replaceAll(/\{\w+\}/g, 'x'), {
      method: 'PUT',
      headers: reader.basic,
    });
    expect([path, status]).toEqual([path, 405]);
  }
  const messages = await request(mesh.edges[0], '/api/schemas/sql-websocket.json', { headers: reader.basic });
  expect(messages.status).toBe(200);
  expect((await request(mesh.edges[0], '/api/openapi.json')).status).toBe(401);
});

const Responses = z.object({
  paths: z.record(
    z.string(),
    z.record(
      z.string(),
      z.object({ responses: z.record(z.string(), z.object({ content: z.record(z.string(), z.unknown()).default({}) })) }),
    ),
  ),
});

verifies(
  'operations:documents',
  'what is answered, with which status and in which form, is what the document says',
  async (mesh) => {
    await using writer = await makePerson(mesh, 'writer');
    const [edge] = mesh.edges;
    const { paths } = Responses.parse(JSON.parse((await request(edge, '/api/openapi.json', { headers: writer.basic })).text));
    const json = { 'content-type': 'application/json' };
    const known = { ...writer.basic, ...json };
    const as = (accept: string) => ({ ...known, accept });
    const neon = { ...json, 'neon-connection-string': `postgresql://${writer.name}:${writer.password}@localhost/app` };
    const token = `a.${'0'.repeat(32)}.1-1`;
    const large = JSON.stringify({ query: 'x'.repeat(5_500_000) });
    const asked: readonly (readonly [number, string, string, Readonly<Record<string, string>>, string?])[] = [
      [200, 'POST', '/api/sql', known, '{"query":"select 1"}'],
      [200, 'POST', '/api/sql', as('application/x-ndjson'), '{"query":"select 1"}'],
      [200, 'POST', '/api/sql', as('text/csv'), '{"query":"select 1"}'],
      [400, 'POST', '/api/sql', as('text/csv'), '{"query":"select 1/0"}'],
      [200, 'POST', '/api/sql', as('text/event-stream'), '{"query":"subscribe (values (1))"}'],
      [400, 'POST', '/api/sql', as('text/event-stream'), '{"query":"subscribe nowhere"}'],
      [410, 'POST', '/api/sql', { ...as('text/event-stream'), 'last-event-id': token }, '{"query":"subscribe (values (1))"}'],
      [401, 'POST', '/api/sql', json, '{"query":"select 1"}'],
      [400, 'POST', '/api/sql', known, '{'],
      [400, 'POST', '/api/sql?options=[]', known, '{"query":"select 1"}'],
      [413, 'POST', '/api/sql', known, large],
      [415, 'POST', '/api/sql', { ...writer.basic, 'content-type': 'text/plain' }, '{}'],
      [422, 'POST', '/api/sql', known, '{}'],
      [200, 'GET', '/api/sql/subscribe?query=values(1)', writer.basic],
      [400, 'GET', '/api/sql/subscribe?query=nowhere', writer.basic],
      [400, 'GET', '/api/sql/subscribe?query=values(1)&options=3', writer.basic],
      [401, 'GET', '/api/sql/subscribe?query=values(1)', {}],
      [410, 'GET', '/api/sql/subscribe?query=values(1)', { ...writer.basic, 'last-event-id': token }],
      [422, 'GET', '/api/sql/subscribe', writer.basic],
      [422, 'GET', '/api/sql/listen', writer.basic],
      [202, 'POST', '/api/sql/statements', known, '{"query":"select 1"}'],
      [200, 'POST', '/api/sql/statements', { ...known, prefer: 'wait=20' }, '{"query":"select 1"}'],
      [400, 'POST', '/api/sql/statements', known, '{"queries":[{"query":""}]}'],
      [413, 'POST', '/api/sql/statements', known, large],
      [200, 'GET', '/api/sql/statements', writer.basic],
      [200, 'POST', '/sql', neon, '{"query":"select 1"}'],
      [400, 'POST', '/sql', neon, '{"query":"select 1/0"}'],
      [400, 'POST', '/sql', json, '{"query":"select 1"}'],
      [413, 'POST', '/sql', neon, large],
      [200, 'GET', '/api/catalog/check', writer.basic],
      [401, 'GET', '/api/catalog/check', {}],
      [401, 'GET', '/metrics/mz_usage', {}],
      [200, 'GET', '/api/me', writer.basic],
      [401, 'GET', '/api/me', {}],
    ];
    for (const [expected, method, path, headers, body] of asked) {
      const told = await request(edge, path, { method, headers, ...(body !== undefined && { body }) });
      const responses = paths[path.split('?', 1)[0] ?? '']?.[method.toLowerCase()]?.responses ?? {};
      const form = told.headers.get('content-type')?.split(';', 1)[0] ?? '';
      expect([method, path, told.status], told.text.slice(0, 300)).toEqual([method, path, expected]);
      expect([method, path, told.status, Object.keys(responses[told.status]?.content ?? {})]).toEqual([
        method,
        path,
        told.status,
        expect.arrayContaining([form]) as unknown,
      ]);
    }
  },
);
