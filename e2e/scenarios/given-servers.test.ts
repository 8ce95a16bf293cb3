import { startNats } from '@postern/deploy/servers/nats';
import { startPostgres } from '@postern/deploy/servers/postgres';
import { startRedis } from '@postern/deploy/servers/redis';
import { setUpNats } from '@postern/deploy/setup/nats';
import { takeInventory } from '@postern/deploy/setup/postgres';
import { redisUrl, REDIS_SESSION, writeRedisAcl } from '@postern/deploy/setup/redis';
import { temporaryFolder } from '@postern/testkit/temporary-folder';
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';

import { bearer, makePerson, valueOf } from '../harness/client.ts';
import { startSupervisor } from '../harness/supervisor.ts';
import { verifies } from '../verifies.ts';

/** The servers that an operator would have, each with what the mesh needs in it. */
async function openServers(scope: AsyncDisposableStack): Promise<{ readonly postgres: string; readonly env: NodeJS.ProcessEnv }> {
  const { path } = scope.use(await temporaryFolder());
  const postgres = scope.use(
    await startPostgres({ dataDir: join(path, 'postgres'), password: 'of-the-operator', ephemeral: true }),
  );
  const secret = 'of-the-operator-for-session';
  const aclFile = await writeRedisAcl(join(path, 'secrets'), { admin: 'of-the-operator', session: secret });
  const redis = scope.use(await startRedis({ dataDir: join(path, 'redis'), aclFile, ephemeral: true }));
  const { configFile, credsFiles } = await setUpNats(join(path, 'bus'));
  const credsFolder = join(path, 'creds');
  await mkdir(credsFolder);
  for (const [name, file] of Object.entries(credsFiles)) await copyFile(file, join(credsFolder, `${name}.creds`));
  const nats = scope.use(await startNats({ configFile }));
  return {
    postgres: postgres.url,
    env: {
      POSTGRES_URL: postgres.url,
      REDIS_URL: redisUrl(`redis://127.0.0.1:${redis.port}`, REDIS_SESSION, secret),
      NATS_URL: nats.url,
      NATS_CREDS_DIR: credsFolder,
    },
  };
}

verifies(
  'start:given',
  'servers that are named are used, and an ephemeral mesh leaves them as they were',
  async () => {
    await using scope = new AsyncDisposableStack();
    const { postgres, env } = await openServers(scope);
    const before = await takeInventory(postgres);
    const supervisor = startSupervisor(['--ephemeral', '--json'], env);
    scope.use(supervisor);
    const ready = await supervisor.ready;
    const origin = ready.listeners['external'] ?? '';
    expect(new URL(ready.databaseUrl).port).toBe(new URL(postgres).port);
    // A person's role and what it owns go as well.
    const person = await makePerson({ edges: [origin], apiKey: ready.apiKey }, 'writer');
    expect(await valueOf(origin, person.basic, 'create table mine (); select current_user')).toBe(person.name);
    expect(await valueOf(origin, bearer(ready.apiKey), 'select current_user')).toBe('admin');
    expect((await takeInventory(postgres)).roles).toContain(person.name);
    supervisor.signal('SIGTERM');
    expect((await supervisor.ended).code).toBe(0);
    expect(await takeInventory(postgres)).toEqual(before);
  },
  { only: 'local' },
);

verifies(
  'start:given',
  'a server that is named wrongly ends the start and says which',
  async () => {
    await using supervisor = startSupervisor(['--ephemeral'], { POSTGRES_URL: 'mysql://x', NATS_URL: 'nats://127.0.0.1:1' });
    expect((await supervisor.ended).code).toBe(78);
    expect(supervisor.errors()).toContain('POSTGRES_URL');
    expect(supervisor.errors()).toContain('NATS_CREDS_DIR');
    await using away = startSupervisor(['--ephemeral'], { POSTGRES_URL: 'postgres://postgres:x@127.0.0.1:1/postgres' });
    expect((await away.ended).code).toBe(1);
    expect(away.errors()).toContain('POSTGRES_URL');
  },
  { only: 'local' },
);
