/** A process that owns servers, for tests to kill: starts one of each below the folder it is given and tells where they are. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { startPostgres } from '../src/servers/postgres.ts';
import { startRedis } from '../src/servers/redis.ts';

const folder = process.argv[2] ?? '';
const aclFile = join(folder, 'users.acl');
await mkdir(folder, { recursive: true });
await writeFile(aclFile, 'user default on nopass ~* &* +@all\n');
const postgres = await startPostgres({ dataDir: join(folder, 'postgres'), password: 'a secret' });
const redis = await startRedis({ dataDir: join(folder, 'redis'), aclFile });
process.stdout.write(`${JSON.stringify({ postgres: postgres.pid, redis: redis.pid })}\n`);
