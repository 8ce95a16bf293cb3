/** The file of limits that the cost guard holds people to: read at the start, and again whenever it has changed. */
import { GroupRole } from '@postern/contracts/common';
import { readDocument, readText } from '@postern/service-kit/json-file';
import { ConfigMistake } from '@postern/service-kit/run';
import { z } from 'zod';

import type { LimitTable, LiveGuard } from '../domain/guard.ts';
import { createGuard } from '../domain/guard.ts';

const whole = z.number().int().nonnegative();
const atLeastOne = z.number().int().positive();

const LimitsShape = z.strictObject({
  estimatedCostMax: z.number().nonnegative().optional(),
  estimatedRowsMax: whole.optional(),
  rowsMax: whole.optional(),
  resultBytesMax: atLeastOne.optional(),
  // A timer's longest time.
  statementTimeMs: atLeastOne.max(2_147_483_647).optional(),
  concurrentMax: whole.optional(),
});

const FileShape = z.strictObject({
  roles: z.record(z.string().min(1).max(63), LimitsShape).default({}),
  groups: z.partialRecord(GroupRole, LimitsShape).default({}),
  keys: z.record(z.string().min(1), LimitsShape).default({}),
});

export type LimitsRead =
  | { readonly kind: 'table'; readonly table: LimitTable }
  | { readonly kind: 'mistakes'; readonly mistakes: readonly string[] };

export function parseLimits(text: string | undefined): LimitsRead {
  const read = readDocument(text, FileShape);
  if (read.kind === 'mistakes') return read;
  const { roles, groups, keys } = read.document;
  const table = [roles, groups, keys].map((limits) => new Map(Object.entries(limits)));
  const [byRole = new Map(), byGroup = new Map(), byKey = new Map()] = table;
  return { kind: 'table', table: { roles: byRole, groups: byGroup, keys: byKey } };
}

const LOOK_MS = 2_000;

export interface GuardOptions {
  /** Without one nobody has limits. */
  readonly path: string | undefined;
  /** A new file is in force. */
  readonly changed: () => void;
  /** A new file cannot be used: what was in force stays. */
  readonly mistaken: (mistakes: readonly string[]) => void;
  readonly lookMs?: number;
}

export interface FileGuard extends LiveGuard, Disposable {}

/**
 * Throws a {@link ConfigMistake} with all mistakes of the file. The text itself is looked at again and again: a mounted
 * secret is changed by moving a link, which watchers of files do not see.
 */
export async function openGuard({ path, changed, mistaken, lookMs = LOOK_MS }: GuardOptions): Promise<FileGuard> {
  if (path === undefined) return { ...createGuard(), [Symbol.dispose]() {} };
  let last = await readText(path);
  const first = parseLimits(last);
  if (first.kind === 'mistakes') throw new ConfigMistake(`SQL_LIMITS_FILE: ${first.mistakes.join('; ')}`);
  const guard = createGuard(first.table);
  let isLooking = false;
  const look = async (): Promise<void> => {
    if (isLooking) return;
    isLooking = true;
    const text = await readText(path);
    isLooking = false;
    if (text === last) return;
    last = text;
    const read = parseLimits(text);
    if (read.kind === 'mistakes') return mistaken(read.mistakes);
    guard.replace(read.table);
    changed();
  };
  const timer = setInterval(() => void look(), lookMs);
  timer.unref();
  return { ...guard, [Symbol.dispose]: () => clearInterval(timer) };
}
