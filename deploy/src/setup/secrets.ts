/** All secrets of a mesh: made once, kept below one folder, one folder in it per service that may read them. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';

import { keepSecret } from './secret-files.ts';

export interface Secrets {
  readonly postgres: Readonly<Record<'superuser' | 'appOwner' | 'auth' | 'sql' | 'changes', string>>;
  readonly redis: { readonly admin: string; readonly session: string };
  /** The first admin's own, as auth takes them over at the first start. */
  readonly firstAdmin: { readonly password: string; readonly apiKey: string };
}

/** Reads the secrets below a folder and makes those that are not there. */
export async function keepSecrets(folder: string): Promise<Secrets> {
  const keep = (service: string, name: string, make: () => string = password): Promise<string> =>
    keepSecret(join(folder, service, name), make);
  const [superuser, appOwner, auth, sql, changes, admin, session, adminPassword, apiKey] = await Promise.all([
    keep('postgres', 'superuser-password'),
    keep('app', 'owner-password'),
    keep('auth', 'database-password'),
    keep('sql', 'database-password'),
    keep('sql', 'changes-password'),
    keep('redis', 'admin-password'),
    keep('session', 'redis-password'),
    keep('auth', 'first-admin-password', () => randomBytes(15).toString('base64url')),
    keep('auth', 'first-admin-key', makeApiKey),
    keep('auth', 'sealing-key', () => randomBytes(32).toString('base64')),
  ]);
  return {
    postgres: { superuser, appOwner, auth, sql, changes },
    redis: { admin, session },
    firstAdmin: { password: adminPassword, apiKey },
  };
}

const password = (): string => randomBytes(32).toString('base64url');

/** `pst_<8 characters to look it up by>_<43 characters, 256 bits>`. */
function makeApiKey(): string {
  const id = Array.from(randomBytes(8), (byte) => 'abcdefghijklmnopqrstuvwxyz234567'.charAt(byte % 32)).join('');
  return `pst_${id}_${randomBytes(32).toString('base64url')}`;
}
