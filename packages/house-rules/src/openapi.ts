/** The OpenAPI document: the edge's route table, told in the schemas of the services that answer. */
import type { Answer, Described, Media, Operation } from '@postern/service-kit/operations';
import { json, Problem, problem, text } from '@postern/service-kit/operations';
import { z } from 'zod';

/** What the document says of a row of the edge's table. */
export interface RouteRow {
  readonly path: string;
  readonly methods: readonly string[];
  readonly group: string;
  readonly target: { readonly service: string } | { readonly local: string };
  readonly auth: 'principal' | 'none' | 'own';
  readonly bodyBytesMax: number;
  readonly bodyErrors?: 'problem' | 'text';
  readonly cookie: boolean;
  readonly socket?: string;
  readonly dialect?: 'neon';
}

export interface DocumentOptions {
  readonly version: string;
  readonly table: readonly RouteRow[];
  /** By service; what the edge answers itself is under `edge`. */
  readonly described: Readonly<Record<string, Described>>;
}

type Json = Readonly<Record<string, unknown>>;

const ownerOf = ({ target }: RouteRow): string => ('service' in target ? target.service : 'edge');

const keyOf = (method: string, path: string): string => `${method} ${path}`;

/** Routes that nobody describes, and descriptions of routes that are not there, or are another's. */
export function descriptionMistakes({ table, described }: DocumentOptions): string[] {
  const routes = new Map(table.flatMap((row) => row.methods.map((method) => [keyOf(method, row.path), ownerOf(row)] as const)));
  const told = Object.entries(described).flatMap(([service, { operations }]) =>
    operations.map(({ method, path }) => ({ key: keyOf(method, path), service })),
  );
  const keys = told.map(({ key }) => key);
  return [
    ...[...routes]
      .filter(([key]) => !keys.includes(key))
      .map(([key, owner]) => `${key}: services/${owner}/src/http/openapi.ts does not describe it`),
    ...told
      .filter(({ key, service }) => routes.get(key) !== service)
      .map(({ key, service }) => `${key}: ${service} describes it, and has no such route`),
    ...keys.filter((key, at) => keys.indexOf(key) < at).map((key) => `${key}: is described twice`),
  ];
}

export function renderOpenApi(options: DocumentOptions): string {
  const components = new Components(options);
  const paths: Record<string, Record<string, Json>> = {};
  for (const row of options.table) {
    for (const method of row.methods) {
      const found = options.described[ownerOf(row)]?.operations.find((one) => one.method === method && one.path === row.path);
      if (found === undefined) continue;
      (paths[row.path] ??= {})[method.toLowerCase()] = operationOf(found, row, components);
    }
  }
  const groups = [...new Set(options.table.map(({ group }) => group))];
  const document = {
    openapi: '3.1.1',
    info: {
      title: 'Postern',
      version: options.version,
      description:
        'One guarded door to Postgres. Each listener has the groups of routes that its document switches on; a tag is a group.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: groups.map((name) => ({ name })),
    paths,
    components: { schemas: components.schemas(), securitySchemes: SECURITY_SCHEMES },
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

const SECURITY_SCHEMES = {
  basic: { type: 'http', scheme: 'basic', description: 'Name and password, or an API key in place of the password' },
  bearer: { type: 'http', scheme: 'bearer', description: 'An API key or a token' },
  cookie: {
    type: 'apiKey',
    in: 'cookie',
    name: 'postern_session',
    description: 'From /api/login; `__Host-postern_session` over TLS',
  },
  neon: {
    type: 'apiKey',
    in: 'header',
    name: 'Neon-Connection-String',
    description: 'A connection string; with name and password, if there is no token beside it',
  },
} as const;

function securityOf({ auth, cookie, dialect, socket }: RouteRow): Json[] {
  if (dialect === 'neon') return [{ neon: [] }, { neon: [], bearer: [] }];
  // A connection says who it is in its first message.
  if (socket !== undefined) return cookie ? [{}, { cookie: [] }] : [];
  if (auth !== 'principal') return [];
  return [{ basic: [] }, { bearer: [] }, ...(cookie ? [{ cookie: [] }] : [])];
}

/** What the edge may answer in place of the service. */
function edgeAnswers({ auth, dialect, socket, bodyBytesMax, bodyErrors }: RouteRow): Readonly<Record<number, Answer>> {
  const isNeon = dialect === 'neon';
  // Neon's driver shows what is called a message.
  const failing = (description: string): Answer => (isNeon ? { description, content: json(Message) } : problem(description));
  const tooLarge = `The body is larger than ${bodyBytesMax} bytes`;
  return {
    ...(auth === 'principal' &&
      socket === undefined && {
        // Neon's driver is told of wrong credentials as of any error of the database.
        ...(!isNeon && { 401: { description: 'Nobody is known by these credentials', content: text('Why') } }),
        403: failing('The role may not come in here, or a page of another site asks'),
      }),
    ...(socket !== undefined && {
      400: problem('The request does not open a WebSocket'),
      426: problem('This is spoken over WebSocket'),
    }),
    ...(bodyBytesMax > 0 && {
      413: bodyErrors === 'text' ? { description: tooLarge, content: text('Why') } : failing(tooLarge),
    }),
    429: failing('Too many failed attempts, or too many requests'),
    503: failing('A service that is needed is away'),
    504: failing('The answer did not begin in time'),
  };
}

const Message = z.looseObject({ message: z.string() });

/** One status may be the edge's answer or the service's, each in its own form. */
function together(edge: Readonly<Record<number, Answer>>, own: Readonly<Record<number, Answer>>): Record<number, Answer> {
  const both: Record<number, Answer> = { ...edge };
  for (const [status, answer] of Object.entries(own)) {
    const content = { ...edge[Number(status)]?.content, ...answer.content };
    both[Number(status)] = Object.keys(content).length > 0 ? { ...answer, content } : answer;
  }
  return both;
}

function operationOf(operation: Operation, row: RouteRow, components: Components): Json {
  const { method, path, summary, description, params, query, headers, body, socket } = operation;
  const answers = together(edgeAnswers(row), operation.answers);
  if (row.auth === 'none')
    for (const status of [429, 503, 504]) if (operation.answers[status] === undefined) delete answers[status];
  return {
    operationId:
      `${method.toLowerCase()}${path.replaceAll(/[^a-zA-Z0-9]+(\w?)/g, (_, next: string) => next.toUpperCase())}` || method,
    tags: [row.group],
    summary,
    ...(description !== undefined && { description }),
    parameters: [
      ...parametersOf('path', params ?? pathParams(path), components),
      ...parametersOf('query', query, components),
      ...parametersOf('header', headers, components),
    ],
    ...(body !== undefined && { requestBody: { required: true, content: contentOf(body, 'input', components) } }),
    responses: Object.fromEntries(Object.entries(answers).map(([status, answer]) => [status, answerOf(answer, components)])),
    security: securityOf(row),
    ...(socket !== undefined && { 'x-socket-messages': socket }),
  };
}

const pathParams = (path: string): z.ZodObject =>
  z.object(Object.fromEntries([...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => [name, z.string()])));

function parametersOf(place: string, schema: z.ZodObject | undefined, components: Components): Json[] {
  return Object.entries(schema?.shape ?? {}).map(([name, field]) => {
    const { description, ...rest } = components.schemaOf(field as z.ZodType, 'input');
    const isRequired = !(field as z.ZodType).safeParse(undefined).success;
    return { name, in: place, required: isRequired, ...(description !== undefined && { description }), schema: rest };
  });
}

const contentOf = (content: Readonly<Record<string, Media>>, io: 'input' | 'output', components: Components): Json =>
  Object.fromEntries(Object.entries(content).map(([type, { schema }]) => [type, { schema: components.schemaOf(schema, io) }]));

function answerOf({ description, content, headers }: Answer, components: Components): Json {
  const told = Object.entries(headers ?? {}).map(([name, what]) => [name, { description: what, schema: { type: 'string' } }]);
  return {
    description,
    ...(told.length > 0 && { headers: Object.fromEntries(told) as Json }),
    ...(content !== undefined && { content: contentOf(content, 'output', components) }),
  };
}

/** Shapes with a name are told once and referred to. */
class Components {
  readonly #named = z.registry<{ id: string }>();
  readonly #schemas = new Map<string, unknown>();

  constructor({ described }: DocumentOptions) {
    const shapes = Object.assign({ Problem }, ...Object.values(described).map((one) => one.shapes)) as Record<string, z.ZodType>;
    for (const [id, schema] of Object.entries(shapes)) this.#named.add(schema, { id });
  }

  schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
    const made = z.toJSONSchema(schema, { io, unrepresentable: 'any', metadata: this.#named });
    const { $schema: _, $defs = {}, ...whole } = inDocument(made, io) as Record<string, unknown>;
    for (const [name, definition] of Object.entries($defs as Json)) this.#add(name, definition);
    const id = this.#named.get(schema)?.id;
    if (id === undefined) return whole;
    if (whole['$ref'] === undefined) this.#add(id, whole);
    return { $ref: `#/components/schemas/${id}` };
  }

  #add(name: string, definition: unknown): void {
    const { id: _, ...rest } = definition as Record<string, unknown>;
    const known = this.#schemas.get(name);
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(rest))
      throw new TypeError(`${name} reads and writes differently: give each its name`);
    this.#schemas.set(name, rest);
  }

  schemas(): Json {
    return Object.fromEntries([...this.#schemas].toSorted(([one], [other]) => (one < other ? -1 : 1)));
  }
}

/** References into the document; and what is answered may have more fields one day. */
function inDocument(value: unknown, io: 'input' | 'output'): unknown {
  if (Array.isArray(value)) return value.map((inner) => inDocument(inner, io));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, inner]) => !(io === 'output' && key === 'additionalProperties' && inner === false))
      .map(([key, inner]) => [
        key,
        key === '$ref' && typeof inner === 'string' ? inner.replace('#/$defs/', '#/components/schemas/') : inDocument(inner, io),
      ]),
  );
}

/** A JSON schema of what is said on SQL's sockets, each direction under its name. */
export function renderSocketSchema({ described }: DocumentOptions): string {
  const $defs = Object.fromEntries(
    (['input', 'output'] as const).flatMap((io) =>
      Object.values(described).flatMap(({ messages }) =>
        Object.entries(messages?.[io] ?? {}).map(([name, schema]) => {
          const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
          return [name, inDocument(rest, io)];
        }),
      ),
    ),
  ) as Json;
  const document = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: '/api/schemas/sql-websocket.json',
    title: 'Messages of SQL over WebSocket',
    anyOf: Object.keys($defs).map((name) => ({ $ref: `#/$defs/${name}` })),
    $defs,
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}
