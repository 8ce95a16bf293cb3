import { Validator } from '@seriousme/openapi-schema-validator';
import { expect, test } from 'vitest';
import { z } from 'zod';

import { loadRoutes } from './generated.ts';
import type { DocumentOptions, RouteRow } from './openapi.ts';
import { descriptionMistakes, renderOpenApi } from './openapi.ts';

const row: RouteRow = {
  path: '/attic/{box}',
  methods: ['GET'],
  group: 'base',
  target: { service: 'attic' },
  auth: 'principal',
  bodyBytesMax: 10,
  cookie: true,
};
const operation = { method: 'GET', path: '/attic/{box}', summary: 'A box', answers: { 200: { description: 'It' } } } as const;

const documentOf = (options: Partial<DocumentOptions>) =>
  JSON.parse(
    renderOpenApi({ version: '1', table: [row], described: { attic: { shapes: {}, operations: [operation] } }, ...options }),
  ) as { paths: Record<string, Record<string, Record<string, unknown>>>; components: { schemas: Record<string, unknown> } };

test('every route of the edge is described by the service that answers it, and nothing else is', async () => {
  expect(descriptionMistakes(await loadRoutes())).toEqual([]);
});

test('a route without a description, and a description without a route, are mistakes', () => {
  const described = { attic: { shapes: {}, operations: [] }, cellar: { shapes: {}, operations: [operation, operation] } };
  expect(descriptionMistakes({ version: '1', table: [row], described })).toEqual([
    'GET /attic/{box}: cellar describes it, and has no such route',
    'GET /attic/{box}: cellar describes it, and has no such route',
    'GET /attic/{box}: is described twice',
  ]);
  expect(descriptionMistakes({ version: '1', table: [row], described: {} })).toEqual([
    'GET /attic/{box}: services/attic/src/http/openapi.ts does not describe it',
  ]);
});

test('the document is OpenAPI 3.1, and every reference in it leads somewhere', async () => {
  const document: unknown = JSON.parse(renderOpenApi(await loadRoutes()));
  const validator = new Validator();
  expect(await validator.validate(document as Record<string, unknown>)).toMatchObject({ valid: true });
  expect(validator.version).toBe('3.1');
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name);
  const { schemas } = (document as { components: { schemas: Record<string, unknown> } }).components;
  expect(references.filter((name) => !Object.hasOwn(schemas, name ?? ''))).toEqual([]);
  expect(references.length).toBeGreaterThan(20);
});

test('an operation has a name of its own', async () => {
  const { paths } = documentOf(await loadRoutes());
  const names = Object.values(paths).flatMap((methods) => Object.values(methods).map((told) => String(told['operationId'])));
  expect(names.filter((name, at) => names.indexOf(name) < at)).toEqual([]);
});

test('what a route asks of its caller is told: credentials, parameters of the path, and how large a body may be', () => {
  const told = documentOf({}).paths['/attic/{box}']?.['get'];
  expect(told).toMatchObject({
    security: [{ basic: [] }, { bearer: [] }, { cookie: [] }],
    parameters: [{ name: 'box', in: 'path', required: true, schema: { type: 'string' } }],
    responses: { 401: {}, 403: {}, 413: {}, 503: {}, 504: {} },
  });
  const open = documentOf({ table: [{ ...row, auth: 'none', bodyBytesMax: 0 }] }).paths['/attic/{box}']?.['get'];
  expect(open).toMatchObject({ security: [] });
  expect(Object.keys(open?.['responses'] ?? {})).toEqual(['200']);
});

test('a shape with a name is told once; one that would be told in two ways is refused', () => {
  const Box = z.object({ size: z.number().default(1) });
  const answers = { 200: { description: 'It', content: { 'application/json': { schema: z.array(Box) } } } };
  const described = { attic: { shapes: { Box }, operations: [{ ...operation, answers }] } };
  expect(documentOf({ described }).components.schemas['Box']).toMatchObject({ properties: { size: { type: 'number' } } });
  const body = { 'application/json': { schema: Box } };
  const both = { attic: { shapes: { Box }, operations: [{ ...operation, answers, body }] } };
  expect(() => documentOf({ described: both })).toThrow(/Box reads and writes differently/);
});
