import type { Logger } from 'pino';
import { Registry, collectDefaultMetrics } from 'prom-client';

import { beforeExit } from './before-exit.ts';
import type { Config, Refine, Settings } from './config.ts';
import { helpText, parseConfig } from './config.ts';
import { createLogger } from './log.ts';
import type { sharedSettings } from './settings.ts';

/** What a service is started with. */
export interface Start<S extends Settings> {
  readonly config: Config<S>;
  /** Opened first, closed last: put what others need in first. */
  readonly scope: AsyncDisposableStack;
  readonly log: Logger;
  readonly metrics: Registry;
  /** This process; new at every start. */
  readonly replicaId: string;
}

export interface RunOptions<S extends Settings> {
  readonly refine?: Refine<S>;
}

/** Exit status for a configuration that cannot be used (sysexits `EX_CONFIG`). */
const EXIT_CONFIG = 78;

const BEFORE_EXIT_MS = 2_000;

/**
 * Runs a service as a process: `--help` prints its settings; bad settings print every mistake and exit 78; SIGTERM or
 * SIGINT closes the scope in reverse under the drain deadline and exits 0; a second signal exits at once.
 */
export async function runService<S extends Settings & typeof sharedSettings>(
  name: string,
  settings: S,
  start: (given: Start<S>) => Promise<void>,
  options: RunOptions<S> = {},
): Promise<void> {
  if (process.argv.includes('--help')) {
    process.stdout.write(helpText(name, settings));
    return;
  }
  const parsed = parseConfig(settings, process.env, options.refine);
  if (parsed.kind === 'mistakes') {
    process.stderr.write(`postern ${name}: the configuration cannot be used\n`);
    for (const mistake of parsed.mistakes) process.stderr.write(`  ${mistake}\n`);
    process.exitCode = EXIT_CONFIG;
    return;
  }
  const { config } = parsed;
  const shared = config as Config<typeof sharedSettings>;
  const log = createLogger({ service: name, level: shared.logLevel });
  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics, prefix: 'postern_' });
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'uncaught');
    process.exit(1);
  });
  const stopped = stopSignal(log);
  const scope = new AsyncDisposableStack();
  try {
    await start({ config, scope, log, metrics, replicaId: crypto.randomUUID() });
  } catch (error) {
    log.fatal({ err: error }, 'start failed');
    await Promise.race([scope.disposeAsync().catch(() => {}), expiry(shared.drainTimeoutMs)]);
    process.exit(error instanceof ConfigMistake ? EXIT_CONFIG : 1);
  }
  log.info('started');
  log.info({ signal: await stopped }, 'stopping');
  const outcome = await Promise.race([
    scope.disposeAsync().then(
      () => 'drained',
      (error: unknown) => {
        log.error({ err: error }, 'drain failed');
        return 'failed';
      },
    ),
    expiry(shared.drainTimeoutMs),
  ]);
  log.info({ outcome }, 'stopped');
  await Promise.race([Promise.allSettled(beforeExit.map((send) => send())), expiry(BEFORE_EXIT_MS)]);
  process.exit(outcome === 'failed' ? 1 : 0);
}

/** A mistake in what a setting points to (a file, a document) that shows only when it is opened: exit 78. */
export class ConfigMistake extends Error {
  override readonly name = 'ConfigMistake';
}

function stopSignal(log: Logger): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let asked = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (asked) {
        log.warn({ signal }, 'second signal: exiting at once');
        process.exit(1);
      }
      asked = true;
      resolve(signal);
    });
  }
  return promise;
}

const expiry = (ms: number): Promise<'deadline'> =>
  new Promise((resolve) => void setTimeout(() => resolve('deadline'), ms).unref());
