/** The desk of statements of this process: its ids, its room on the disk, its clock. */
import { randomBytes } from 'node:crypto';

import type { Keeper } from '../domain/keeping.ts';
import type { Clock } from '../domain/ports.ts';
import type { Desk, DeskLimits } from '../domain/statements-desk.ts';
import { createDesk } from '../domain/statements-desk.ts';
import type { SpoolSpace } from './spool.fs.ts';
import { createSpoolSpace } from './spool.fs.ts';

export interface StatementsOptions {
  readonly keeper: Keeper;
  /** Ids begin with it, so that the edge finds the way back to this process. */
  readonly replicaId: string;
  readonly clock: Clock;
  readonly limits: DeskLimits & { readonly bytes: number; readonly bytesPerPrincipal: number };
  /** Where the bytes of all results of the process count. */
  readonly space: SpoolSpace;
  /** How long what runs may go on when the process is to end. */
  readonly drainMs: number;
  readonly failed: (error: unknown) => void;
}

const RANDOM_BYTES = 24;
const SWEEP_MS = 5_000;

export interface OpenDesk extends Desk, AsyncDisposable {
  /** Nothing begins any more; what runs has until then to end. To be called before anything else is waited for. */
  startDraining(): void;
}

export function openDesk(options: StatementsOptions): OpenDesk {
  const { keeper, replicaId, clock, limits, failed } = options;
  const space = createSpoolSpace(limits.bytes, options.space);
  const desk = createDesk({
    keeper,
    limits,
    clock,
    wall: () => Date.now(),
    newId: () => `${replicaId}.${randomBytes(RANDOM_BYTES).toString('base64url')}`,
    newRoom: () => createSpoolSpace(limits.bytesPerPrincipal, space),
    failed,
  });
  const sweeping = setInterval(() => desk.sweep(), SWEEP_MS);
  sweeping.unref();
  let drained: Promise<void> | undefined;
  const drain = async (): Promise<void> => {
    clearInterval(sweeping);
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, options.drainMs);
    await desk.drain(promise);
    clearTimeout(timer);
  };
  return {
    ...desk,
    startDraining() {
      drained ??= drain();
    },
    async [Symbol.asyncDispose]() {
      drained ??= drain();
      await drained;
    },
  };
}
