/**
 * The set-up as one-shot processes, for containers: `secrets` makes all secrets and configurations below SECRETS_DIR, one
 * folder per container that may see them; `database` makes a cluster ready with the secrets that are there.
 */
import { join } from 'node:path';

import { writeServiceUrls, ownRedisUrl } from '../start/service-environment.ts';
import { setUpNats } from './nats.ts';
import { databaseUrl, setUpPostgres } from './postgres.ts';
import { writeRedisAcl } from './redis.ts';
import { readSecret } from './secret-files.ts';
import { keepSecrets } from './secrets.ts';

const folder = process.env['SECRETS_DIR'] || '/secrets';
const postgresServer = process.env['POSTGRES_SERVER'] || 'postgres://postgres@postgres:5432';
const redisServer = process.env['REDIS_SERVER'] || 'redis://redis:6379';
const natsServer = process.env['NATS_SERVER'] || 'nats://nats:4222';

const tasks: Readonly<Record<string, () => Promise<void>>> = {
  async secrets() {
    const secrets = await keepSecrets(folder);
    await writeRedisAcl(folder, secrets.redis);
    const { credsFiles } = await setUpNats(folder, { host: '0.0.0.0', port: 4_222, monitorPort: 8_222 });
    await writeServiceUrls(folder, secrets, {
      postgresUrl: postgresServer,
      sessionRedisUrl: ownRedisUrl(redisServer, secrets),
      natsUrl: natsServer,
      credsFile: (service) => credsFiles[service],
    });
  },
  async database() {
    const read = async (...path: string[]): Promise<string> => (await readSecret(join(folder, ...path))) ?? '';
    const superuser = databaseUrl(postgresServer, {
      user: 'postgres',
      password: await read('postgres', 'superuser-password'),
      database: 'postgres',
    });
    await setUpPostgres(superuser, {
      app_owner: await read('app', 'owner-password'),
      postern_auth: await read('auth', 'database-password'),
      postern_sql: await read('sql', 'database-password'),
      postern_changes: await read('sql', 'changes-password'),
    });
  },
};

const [name = ''] = process.argv.slice(2);
const task = tasks[name];
if (task === undefined) {
  process.stderr.write(`setup: needs one of ${Object.keys(tasks).join(', ')}\n`);
  process.exit(64);
}
await task();
process.stdout.write(`${name}: done\n`);
