import { prepareNats, startNats } from '@postern/deploy/servers/nats';
import { startPostgres } from '@postern/deploy/servers/postgres';
import { prepareRedis, startRedis } from '@postern/deploy/servers/redis';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { ServerSource, SharedServersOptions } from './shared-servers.ts';
import { makeTestBus } from './test-bus.ts';

/** The servers as child processes, the same that `npm start` embeds. */
export function embeddedServers({ folder, workers }: SharedServersOptions): ServerSource {
  return {
    prepare: () => Promise.allSettled([prepareNats(), prepareRedis()]),
    async postgres() {
      const password = randomBytes(16).toString('base64url');
      const server = await startPostgres({ dataDir: join(folder, 'postgres'), password, ephemeral: true });
      return { address: { url: server.url }, [Symbol.asyncDispose]: server.stop };
    },
    async redis() {
      const password = randomBytes(16).toString('base64url');
      const aclFile = join(folder, 'users.acl');
      await writeFile(aclFile, `user default on >${password} ~* &* +@all\n`, { mode: 0o600 });
      const server = await startRedis({ dataDir: join(folder, 'redis'), aclFile, ephemeral: true, databases: 256 });
      return { address: { url: `redis://:${password}@127.0.0.1:${server.port}` }, [Symbol.asyncDispose]: server.stop };
    },
    async nats() {
      const bus = await makeTestBus(join(folder, 'nats'), workers, {});
      const configFile = join(folder, 'nats', 'nats-server.conf');
      await writeFile(configFile, bus.config);
      const server = await startNats({ configFile });
      return { address: bus.credsDirs.map((credsDir) => ({ url: server.url, credsDir })), [Symbol.asyncDispose]: server.stop };
    },
  };
}
