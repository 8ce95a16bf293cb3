/** Settings that every service has, spread into its own table. */
import { accessSync, constants } from 'node:fs';
import { z } from 'zod';

import { setting } from './config.ts';

function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

const port = z.coerce.number().int().min(0).max(65_535);

export const sharedSettings = {
  natsUrl: setting('NATS_URL', z.url().default('nats://127.0.0.1:4222'), 'Where the bus is'),
  natsCredsFile: setting(
    'NATS_CREDS_FILE',
    z.string().refine(isReadable, 'names a file that cannot be read'),
    "The service's own NATS creds file (operator mode)",
  ),
  logLevel: setting(
    'LOG_LEVEL',
    z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
    'Least level that is logged',
  ),
  opsHost: setting('OPS_HOST', z.string().default('127.0.0.1'), 'Address that probes and metrics listen on'),
  opsPort: setting('OPS_PORT', port.default(0), 'Port for /livez, /readyz and /metrics; 0 takes a free one'),
  drainTimeoutMs: setting(
    'DRAIN_TIMEOUT_MS',
    z.coerce.number().int().positive().default(10_000),
    'Longest time a stop waits for work under way',
  ),
};

/** Settings of a service with an inner HTTP door. */
export const doorSettings = {
  httpHost: setting('HTTP_HOST', z.string().default('127.0.0.1'), 'Address the inner door listens on'),
  httpPort: setting('HTTP_PORT', port.default(0), 'Port of the inner door; 0 takes a free one'),
  advertiseUrl: setting(
    'ADVERTISE_URL',
    z.url().optional(),
    'Origin at which the edge reaches this replica; else made from the address and port it listens on',
  ),
};
