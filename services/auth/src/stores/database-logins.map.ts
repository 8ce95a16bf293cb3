/** Database logins that somebody else keeps, for a cluster where none may be made: a file says whose is which. */
import { readDocument, readText } from '@postern/service-kit/json-file';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';

import type { DatabaseLogins } from '../domain/ports.ts';

const Entry = z
  .strictObject({
    role: z.string().min(1).max(63),
    password: z.string().min(1).optional(),
    passwordFile: z.string().min(1).optional(),
  })
  .refine((entry) => (entry.password === undefined) !== (entry.passwordFile === undefined), 'needs password or passwordFile');

/** `{"alice": {"role": "app_reader", "password": "…"}}`, or `passwordFile`, read beside the map. */
const RoleMap = z.record(z.string(), Entry);

type MappedLogins = ReadonlyMap<string, { readonly dbRole: string; readonly password: string }>;

export type RoleMapOutcome =
  | { readonly kind: 'logins'; readonly logins: MappedLogins }
  | { readonly kind: 'mistakes'; readonly mistakes: readonly string[] };

export async function readRoleMap(path: string): Promise<RoleMapOutcome> {
  const read = readDocument(await readText(path), RoleMap);
  if (read.kind === 'mistakes') return read;
  const logins = new Map<string, { dbRole: string; password: string }>();
  const mistakes: string[] = [];
  for (const [name, { role, password, passwordFile }] of Object.entries(read.document)) {
    const secret = password ?? (await readText(resolve(dirname(path), passwordFile ?? '')))?.trim();
    if (secret === undefined || secret === '') mistakes.push(`/${name}/passwordFile: it cannot be read`);
    else logins.set(name, { dbRole: role, password: secret });
  }
  return mistakes.length > 0 ? { kind: 'mistakes', mistakes } : { kind: 'logins', logins };
}

export const createMappedLogins = (logins: MappedLogins): DatabaseLogins => ({
  made: false,
  mapped: (name) => logins.get(name),
  put: async () => 'done',
  endConnections: async () => {},
  remove: async () => 'absent',
  list: async () => new Map(),
});
