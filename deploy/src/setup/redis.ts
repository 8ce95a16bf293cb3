/** Redis users: one per service, who reaches its own keys by the commands it needs and nothing else. */
import { createHash } from 'node:crypto';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';

import type { Secrets } from './secrets.ts';
import { writeSecret } from './secret-files.ts';

export const REDIS_ADMIN = 'postern_admin';
export const REDIS_SESSION = 'session';

/** What a client does before it works: log in, name itself, ask how the server is. */
const CONNECTING = '+auth +hello +ping +info +client|setname +client|id';
/** What session's stores call; a script sees only what its caller may. A new command there is added here. */
const STORING =
  '+get +set +del +exists +incr +pexpire +pttl +hget +hset +hmget +hincrby ' +
  '+zadd +zrem +zrange +zcard +zscore +zremrangebyscore +eval +evalsha';

/** The ACL file's text. It holds hashes of the secrets, and the default user is off. */
export function redisAcl(secrets: Secrets['redis']): string {
  return [
    // Nobody is let in as it, but Redis itself replays its append-only file with its rights.
    'user default off resetpass ~* &* +@all',
    `user ${REDIS_ADMIN} on #${sha256(secrets.admin)} ~* &* +@all`,
    `user ${REDIS_SESSION} on #${sha256(secrets.session)} resetchannels ~postern:{session}:* -@all ${CONNECTING} ${STORING}`,
  ].join('\n');
}

/** Writes the ACL file that the server is started with, and answers its path. */
export async function writeRedisAcl(folder: string, secrets: Secrets['redis']): Promise<string> {
  const path = join(folder, 'redis', 'users.acl');
  await writeSecret(path, redisAcl(secrets));
  // Its folder is closed; a server in a container, where it is mounted alone, reads it as another user.
  await chmod(path, 0o644);
  return path;
}

export function redisUrl(serverUrl: string, user: string, secret: string): string {
  const url = new URL(serverUrl);
  url.username = user;
  url.password = encodeURIComponent(secret);
  return url.href;
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
