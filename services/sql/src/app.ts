/** Ports in, handlers out: every route of the inner door is named here. */
import type { VerifyAssertion } from '@postern/service-kit/assertion';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';

import type { QueryRunner } from './domain/ports.ts';
import { sqlRoute } from './http/routes/sql.ts';
import type { Listener } from './http/server.ts';
import { createListener } from './http/server.ts';

export interface AppOptions {
  readonly runner: QueryRunner;
  readonly verify: VerifyAssertion;
  readonly log: Logger;
  readonly metrics: Registry;
}

export function createApp({ runner, verify, log, metrics }: AppOptions): Listener {
  return createListener({ routes: [sqlRoute(runner)], socketRoutes: [], verify, log, metrics });
}
