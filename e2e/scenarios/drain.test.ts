import { eventually } from '@postern/testkit/eventually';
import { expect } from 'vitest';

import { bearer } from '../harness/client.ts';
import { underLoad } from '../harness/load.ts';
import type { Mesh, ServiceName } from '../harness/mesh.ts';
import { verifies } from '../verifies.ts';

/** Stops each replica of a service in turn, and waits for each to be back. */
async function stopInTurn(mesh: Mesh, service: ServiceName): Promise<void> {
  const before = await mesh.replicas(service);
  for (const replica of before) {
    await mesh.terminate(replica);
    await eventually(
      async () => {
        const now = await mesh.replicas(service);
        const again = now.find(({ name }) => name === replica.name);
        expect(again !== undefined && again.process !== replica.process && again.ready).toBe(true);
      },
      { timeoutMs: 55_000, intervalMs: 100 },
    );
  }
}

for (const service of ['sql', 'auth', 'session', 'edge'] as const) {
  verifies('drain:no-loss', `each ${service} that is stopped under load finishes what it has`, async (mesh) => {
    const load = {
      origins: mesh.edges,
      headers: bearer(mesh.apiKey),
      query: 'select 1 from pg_sleep(0.02)',
      movesOn: service === 'edge',
    };
    const outcomes = await underLoad(load, () => stopInTurn(mesh, service));
    const lost = outcomes.filter(({ status, text }) => status !== 200 || !text.includes('"rows":[["1"]]'));
    const words = lost.map(({ status, text, error }) => error ?? `${status} ${text.replaceAll(/[0-9a-f-]{36}/g, '…')}`);
    const counts = [...Map.groupBy(words, (word) => word)].map(([word, all]) => `${all.length} × ${word}`);
    expect(counts).toEqual([]);
    expect(outcomes.length).toBeGreaterThan(50);
  });
}
