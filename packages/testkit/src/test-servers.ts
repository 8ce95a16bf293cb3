/** The servers of this test run, as a test file sees them; each is started by the first file that asks. */
import { inject } from 'vitest';
import { z } from 'zod';

import type {} from './global-setup.ts';

const PostgresAddress = z.object({ url: z.string() });
const NatsAddress = z.object({ url: z.string(), credsDir: z.string() });

/** URL of a superuser. Shared by all files: make a database of your own. */
export const sharedPostgres = async (): Promise<z.output<typeof PostgresAddress>> => PostgresAddress.parse(await ask('postgres'));

/** URL of a user who may do everything. Shared by all files: take a database of your own. */
export const sharedRedis = async (): Promise<z.output<typeof PostgresAddress>> => PostgresAddress.parse(await ask('redis'));

/** The bus, in operator mode, with an account that no other worker has. */
export const sharedNats = async (): Promise<z.output<typeof NatsAddress>> => NatsAddress.parse(await ask('nats'));

async function ask(server: string): Promise<unknown> {
  const url = new URL(inject('testServersUrl'));
  url.search = new URLSearchParams({ server, worker: process.env['VITEST_POOL_ID'] ?? '1' }).toString();
  const response = await fetch(url);
  const text = await response.text();
  if (!response.ok) throw new Error(`no ${server} for tests: ${text}`);
  return JSON.parse(text);
}
