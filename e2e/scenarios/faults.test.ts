import { eventually } from '@postern/testkit/eventually';
import { expect } from 'vitest';

import type { Credential } from '../harness/client.ts';
import { bearer, login, makePerson, request } from '../harness/client.ts';
import type { Mesh, ServiceName } from '../harness/mesh.ts';
import { verifies } from '../verifies.ts';

const SERVICES: readonly ServiceName[] = ['edge', 'auth', 'session', 'sql'];

interface Doors {
  readonly origin: string;
  readonly credentials: Readonly<Record<string, Credential>>;
}

/** The status of each protected route with each credential. */
async function statuses({
  origin,
  credentials,
}: Doors): Promise<readonly { what: string; status: number; problem: boolean; retry: string | null }[]> {
  const asked = Object.entries(credentials).flatMap(([name, headers]) => [
    { what: `sql with ${name}`, path: '/api/sql', options: { json: { query: 'select 1' }, headers } },
    { what: `me with ${name}`, path: '/api/me', options: { headers } },
  ]);
  return Promise.all(
    asked.map(async ({ what, path, options }) => {
      const answer = await request(origin, path, { ...options, timeoutMs: 20_000 });
      return {
        what,
        status: answer.status,
        problem: answer.headers.get('content-type')?.startsWith('application/problem+json') === true,
        retry: answer.headers.get('retry-after'),
      };
    }),
  );
}

const probe = async (origin: string, path: string): Promise<number> => (await request(origin, path)).status;

const processes = async (mesh: Mesh): Promise<string> =>
  JSON.stringify(
    await Promise.all(SERVICES.map(async (service) => (await mesh.replicas(service)).map((replica) => replica.process))),
  );

async function everythingWorks(mesh: Mesh, credentials: Doors['credentials']): Promise<void> {
  for (const origin of mesh.edges) {
    await eventually(
      async () => {
        for (const { what, status } of await statuses({ origin, credentials })) expect(status, what).toBe(200);
        expect(await probe(origin, '/api/readyz')).toBe(200);
      },
      { timeoutMs: 60_000, intervalMs: 200 },
    );
  }
}

for (const part of ['redis', 'nats', 'postgres', 'auth'] as const) {
  verifies('faults:away', `without ${part} nobody gets in, and the doors say so`, async (mesh) => {
    await using person = await makePerson(mesh, 'reader');
    const credentials = {
      'a key': bearer(mesh.apiKey),
      'a password': person.basic,
      'a cookie': await login(mesh.edges[0], person.name, person.password),
    };
    await everythingWorks(mesh, credentials);
    const before = await processes(mesh);
    const away = await mesh.takeAway(part);
    try {
      for (const origin of mesh.edges) {
        await eventually(
          async () => {
            for (const { what, status } of await statuses({ origin, credentials })) expect(status, what).toBe(503);
          },
          { timeoutMs: 30_000, intervalMs: 200 },
        );
        // From then on it stays so, with every detail.
        for (let turn = 0; turn < 3; turn += 1) {
          for (const { what, status, problem, retry } of await statuses({ origin, credentials })) {
            expect({ status, problem, retries: Number(retry) > 0 }, what).toEqual({ status: 503, problem: true, retries: true });
          }
        }
        const attempt = await request(origin, '/api/login', { json: { username: person.name, password: person.password } });
        expect(attempt.status).toBe(503);
        expect(await probe(origin, '/api/livez')).toBe(200);
        // What replicas tell of themselves comes each second, and each look at a server that is away takes its time.
        await eventually(async () => expect(await probe(origin, '/api/readyz')).toBe(503), {
          timeoutMs: 15_000,
          intervalMs: 100,
        });
      }
    } finally {
      await away[Symbol.asyncDispose]();
    }
    await everythingWorks(mesh, credentials);
    if (part !== 'auth') expect(await processes(mesh)).toBe(before);
  });
}

verifies('faults:back', 'a wait for readiness ends when the missing part is back', async (mesh) => {
  const [origin] = mesh.edges;
  const away = await mesh.takeAway('redis');
  let waiting: Promise<number>;
  try {
    await eventually(async () => expect(await probe(origin, '/api/readyz')).toBe(503), { timeoutMs: 30_000, intervalMs: 100 });
    waiting = probe(origin, '/api/readyz?wait=true');
    waiting.catch(() => {});
  } finally {
    await away[Symbol.asyncDispose]();
  }
  expect(await waiting).toBe(200);
  await everythingWorks(mesh, { 'a key': bearer(mesh.apiKey) });
});
