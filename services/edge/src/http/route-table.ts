/** Every route there is, as data: who may come, with how much, for how long, and where to. */
import type { Route } from '../domain/routes.ts';

const KiB = 1_024;

const base = {
  group: 'base',
  auth: 'principal',
  bodyBytesMax: 64 * KiB,
  bodyErrors: 'problem',
  deadlineMs: 30_000,
  challenge: false,
  cors: 'configured',
  trustedHeader: true,
  cookie: true,
} as const;

/** Longer than any statement may take: the service's own timeout speaks first. */
const STATEMENT_MS = 330_000;

const sql = { ...base, target: { service: 'sql' }, deadlineMs: STATEMENT_MS } as const;
/** Changes as they happen, as Server-Sent Events: a browser asks for them with GET, and resumes where it was. */
const feed = { ...sql, requestHeaders: ['last-event-id'], affinity: { header: 'last-event-id' } } as const;
const kept = { ...sql, requestHeaders: ['prefer'], affinity: { param: 0 } } as const;

/** No body, no CORS headers: what a page sends there it could not send by accident. */
const socket = { ...sql, methods: ['GET'], cors: 'none', bodyBytesMax: 0, deadlineMs: 30_000 } as const;
const NEON_ECHOED = ['neon-batch-isolation-level', 'neon-batch-read-only', 'neon-batch-deferrable'];

const metrics = { ...base, group: 'metrics', cors: 'none', trustedHeader: false } as const;
const login = { ...base, group: 'login', auth: 'own', bodyBytesMax: 16 * KiB, cors: 'none', trustedHeader: false } as const;

export const routeTable: readonly Route[] = [
  { ...base, path: '/', methods: ['GET'], target: { local: 'home' }, challenge: true },
  {
    ...feed,
    path: '/api/sql',
    methods: ['POST'],
    bodyBytesMax: 5 * KiB * KiB,
    bodyErrors: 'text',
  },
  { ...feed, path: '/api/sql/subscribe', methods: ['GET'], ownPagesOnly: true },
  { ...feed, path: '/api/sql/listen', methods: ['GET'], ownPagesOnly: true },
  { ...sql, path: '/api/sql/statements', methods: ['GET', 'POST'], bodyBytesMax: 5 * KiB * KiB, requestHeaders: ['prefer'] },
  { ...kept, path: '/api/sql/statements/{id}', methods: ['GET', 'DELETE'] },
  { ...kept, path: '/api/sql/statements/{id}/results', methods: ['GET'] },
  { ...socket, path: '/api/experimental/sql', socket: 'sql' },
  { ...socket, path: '/api/v1/sql', socket: 'sql' },
  { ...socket, path: '/v2', socket: 'postgres', trustedHeader: false, cookie: false },
  {
    ...sql,
    path: '/sql',
    methods: ['POST'],
    bodyBytesMax: 5 * KiB * KiB,
    dialect: 'neon',
    cors: 'any',
    trustedHeader: false,
    cookie: false,
    requestHeaders: ['neon-raw-text-output', 'neon-array-mode', ...NEON_ECHOED],
    answerHeaders: NEON_ECHOED,
  },
  { ...base, path: '/api/openapi.json', methods: ['GET'], target: { service: 'sql' } },
  { ...base, path: '/api/schemas/sql-websocket.json', methods: ['GET'], target: { service: 'sql' } },
  { ...base, path: '/api/people', methods: ['GET', 'POST'], target: { service: 'auth' } },
  { ...base, path: '/api/people/{name}', methods: ['GET', 'PATCH', 'DELETE'], target: { service: 'auth' } },
  { ...base, path: '/api/keys', methods: ['GET', 'POST'], target: { service: 'auth' } },
  { ...base, path: '/api/keys/{id}', methods: ['DELETE'], target: { service: 'auth' } },
  { ...base, path: '/api/me', methods: ['GET', 'PATCH'], target: { service: 'auth' } },
  { ...base, path: '/api/sessions', methods: ['GET', 'DELETE'], target: { local: 'sessions' } },
  { ...base, path: '/api/sessions/{id}', methods: ['DELETE'], target: { local: 'session' } },
  { ...login, path: '/api/login', methods: ['POST'], target: { local: 'login' } },
  { ...login, path: '/api/logout', methods: ['POST'], target: { local: 'logout' } },
  ...['/api/catalog/dump', '/api/catalog/check', '/api/coordinator/check', '/api/coordinator/dump'].map((path): Route => ({
    ...sql,
    group: 'internal',
    path,
    methods: ['GET'],
  })),
  ...['mz_usage', 'mz_frontier', 'mz_compute', 'mz_storage'].map((name): Route => ({
    ...metrics,
    path: `/metrics/${name}`,
    methods: ['GET'],
    target: { service: 'sql' },
  })),
  { ...metrics, path: '/metrics', methods: ['GET'], target: { local: 'metrics' } },
  { ...metrics, path: '/api/livez', methods: ['GET'], target: { local: 'livez' }, auth: 'none' },
  { ...metrics, path: '/api/readyz', methods: ['GET'], target: { local: 'readyz' }, auth: 'none' },
];
