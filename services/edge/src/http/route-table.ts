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

const metrics = { ...base, group: 'metrics', cors: 'none', trustedHeader: false } as const;
const login = { ...base, group: 'login', auth: 'own', bodyBytesMax: 16 * KiB, cors: 'none', trustedHeader: false } as const;

export const routeTable: readonly Route[] = [
  { ...base, path: '/', methods: ['GET'], target: { local: 'home' }, challenge: true },
  {
    ...base,
    path: '/api/sql',
    methods: ['POST'],
    target: { service: 'sql' },
    bodyBytesMax: 5 * KiB * KiB,
    bodyErrors: 'text',
    // Longer than any statement may take: the service's own timeout speaks first.
    deadlineMs: 330_000,
  },
  { ...base, path: '/api/people', methods: ['GET', 'POST'], target: { service: 'auth' } },
  { ...base, path: '/api/people/{name}', methods: ['GET', 'PATCH', 'DELETE'], target: { service: 'auth' } },
  { ...base, path: '/api/keys', methods: ['GET', 'POST'], target: { service: 'auth' } },
  { ...base, path: '/api/keys/{id}', methods: ['DELETE'], target: { service: 'auth' } },
  { ...base, path: '/api/me', methods: ['GET', 'PATCH'], target: { service: 'auth' } },
  { ...base, path: '/api/sessions', methods: ['GET', 'DELETE'], target: { local: 'sessions' } },
  { ...base, path: '/api/sessions/{id}', methods: ['DELETE'], target: { local: 'session' } },
  { ...login, path: '/api/login', methods: ['POST'], target: { local: 'login' } },
  { ...login, path: '/api/logout', methods: ['POST'], target: { local: 'logout' } },
  { ...metrics, path: '/metrics', methods: ['GET'], target: { local: 'metrics' } },
  { ...metrics, path: '/api/livez', methods: ['GET'], target: { local: 'livez' }, auth: 'none' },
  { ...metrics, path: '/api/readyz', methods: ['GET'], target: { local: 'readyz' }, auth: 'none' },
];
