import express from 'express';
import type { Registry } from 'prom-client';

import type { Door } from './door.ts';
import { openDoor } from './door.ts';

/** Checks a thing the service cannot work without: resolves if it is there. */
export type ReadyCheck = () => Promise<unknown>;

export interface OpsOptions {
  readonly host: string;
  readonly port: number;
  readonly metrics: Registry;
  readonly isReady: () => Promise<boolean>;
}

/** Long enough for a busy machine; silence of a replica is judged by more than this. */
const CHECK_TIMEOUT_MS = 2_500;

/** Whether all checks pass in time; answers that arrive together share one round of checks. */
export function createReadiness(checks: Readonly<Record<string, ReadyCheck>>): () => Promise<boolean> {
  let underWay: Promise<boolean> | undefined;
  const check = async (): Promise<boolean> => {
    const late = new Promise<never>((_, reject) => void setTimeout(() => reject(new Error('late')), CHECK_TIMEOUT_MS).unref());
    late.catch(() => {});
    const outcomes = await Promise.allSettled(Object.values(checks).map((run) => Promise.race([run(), late])));
    return outcomes.every((outcome) => outcome.status === 'fulfilled');
  };
  return () => {
    underWay ??= check().finally(() => {
      underWay = undefined;
    });
    return underWay;
  };
}

/** `/livez`, `/readyz` and `/metrics` of one process, on a port that is not public. */
export function serveOps({ host, port, metrics, isReady }: OpsOptions): Promise<Door> {
  const app = express().disable('x-powered-by');
  app.get('/livez', (_request, response) => void response.type('text/plain').send('alive'));
  app.get('/readyz', async (_request, response) => {
    const ready = await isReady();
    response
      .status(ready ? 200 : 503)
      .type('text/plain')
      .send(ready ? 'ready' : 'not ready');
  });
  app.get('/metrics', async (_request, response) => {
    response.type(metrics.contentType).send(await metrics.metrics());
  });
  return openDoor(app, { host, port });
}
