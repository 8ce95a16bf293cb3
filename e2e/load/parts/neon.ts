import { once } from 'node:events';
import { fork } from 'node:child_process';
import { z } from 'zod';

import { startMesh } from '../mesh.ts';
import { preparePgbench } from '../pgbench.ts';
import type { Part } from '../row.ts';
import { shown } from '../row.ts';
import type { Measured } from '../wrk.ts';

const Result = z.object({ requestsPerSecond: z.number(), p50Ms: z.number(), p99Ms: z.number(), failures: z.number() });

const CONNECTIONS = 16;

async function load(driver: string, url: string, seconds: number): Promise<Measured> {
  const env = { ...process.env, DRIVER: driver, URL: url, CONNECTIONS: String(CONNECTIONS), SECONDS: String(seconds) };
  const child = fork(new URL('../peers/driver-load.ts', import.meta.url), { env });
  const [message] = (await once(child, 'message')) as unknown[];
  return Result.parse(message);
}

/** The same statement by the same kind of program, a driver each. */
export const benchNeon: Part = async (note, seconds) => {
  const path = 'neon-http';
  await using mesh = await startMesh(['edge', 'auth', 'session', 'sql']);
  await preparePgbench(mesh.databaseUrl);
  const through = new URL(mesh.databaseUrl);
  through.host = new URL(mesh.url).host;
  through.username = 'admin';
  through.password = mesh.apiKey;

  const direct = await load('pg', mesh.databaseUrl, seconds);
  note({ path, what: `pg over TCP, ${CONNECTIONS} at once`, measured: shown(direct) });
  for (const [driver, what] of [
    ['neon', 'neon() through the edge, API key, against pg'],
    ['neon-pool', 'Pool over WebSocket through the edge, API key, against pg'],
  ] as const) {
    const measured = await load(driver, through.href, seconds);
    const ratio = (measured.requestsPerSecond / direct.requestsPerSecond).toFixed(2);
    note({ path, what, measured: shown(measured), ratio });
  }
};
