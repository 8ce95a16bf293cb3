/** Load of one driver, as a program that uses it: so many queries at once, one after the other, for some seconds. */
import { neon } from '@neondatabase/serverless';
import pg from 'pg';

import { neonPool, useOwnServer } from '../../drivers/neon.ts';

const WARM_MS = 3_000;
const ACCOUNTS = 1_000_000;
const SELECT = 'select abalance from pgbench_accounts where aid = $1';

const { DRIVER = '', URL = '', CONNECTIONS = '1', SECONDS = '1' } = process.env;
const connections = Number(CONNECTIONS);

type Query = (values: readonly number[]) => Promise<unknown>;

function open(): Query {
  switch (DRIVER) {
    case 'neon': {
      useOwnServer();
      const sql = neon(URL);
      return (values) => sql.query(SELECT, [...values]);
    }
    case 'neon-pool': {
      const pool = neonPool(URL, connections);
      return (values) => pool.query(SELECT, [...values]);
    }
    default: {
      const pool = new pg.Pool({ connectionString: URL, max: connections });
      return (values) => pool.query(SELECT, [...values]);
    }
  }
}

const query = open();
const latencies: number[] = [];
const begin = performance.now() + WARM_MS;
const end = begin + Number(SECONDS) * 1_000;
let failures = 0;

async function ask(): Promise<void> {
  for (let from = performance.now(); from < end;) {
    await query([1 + Math.floor(Math.random() * ACCOUNTS)]).catch(() => (failures += 1));
    const to = performance.now();
    if (from >= begin) latencies.push(to - from);
    from = to;
  }
}

await Promise.all(Array.from({ length: connections }, ask));
latencies.sort((one, other) => one - other);
const at = (part: number): number => latencies[Math.floor(latencies.length * part)] ?? 0;
process.send?.({ requestsPerSecond: latencies.length / Number(SECONDS), p50Ms: at(0.5), p99Ms: at(0.99), failures }, () =>
  process.exit(0),
);
