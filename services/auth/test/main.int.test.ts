/** auth as a process: what it refuses to start with, and that it starts and stops. */
import { eventually } from '@postern/testkit/eventually';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

import type { World } from './world.ts';
import { ADMIN_PASSWORD, SEALING_KEY, worldTest } from './world.ts';

interface Run extends AsyncDisposable {
  readonly output: () => string;
  readonly exit: Promise<number | null>;
  stop(): void;
}

function run(world: World, given: Record<string, string | undefined> = {}): Run {
  const environment = {
    PATH: process.env['PATH'],
    NATS_URL: world.nats.url,
    NATS_CREDS_FILE: world.nats.credsFile('auth'),
    AUTH_DATABASE_URL: world.cluster.url,
    AUTH_SEALING_KEY: SEALING_KEY.toString('base64'),
    AUTH_FIRST_ADMIN_NAME: world.name('admin'),
    AUTH_FIRST_ADMIN_PASSWORD: ADMIN_PASSWORD,
    ...given,
  };
  const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
  const child = spawn(process.execPath, [main], { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const exit = new Promise<number | null>((resolve) => void child.once('close', resolve));
  return {
    output: () => output,
    exit,
    stop: () => void child.kill('SIGTERM'),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exit;
    },
  };
}

async function refusal(world: World, given: Record<string, string | undefined>): Promise<string> {
  await using refused = run(world, given);
  expect(await refused.exit, refused.output()).toBe(78);
  return refused.output();
}

worldTest(
  'it starts, serves, stops at SIGTERM with 0, starts again with another first password, and prints no secret',
  async ({ world }) => {
    const key = `pst_abcd1234_${randomBytes(32).toString('base64url')}`;
    await using first = run(world, { AUTH_FIRST_ADMIN_KEY: key });
    await eventually(() => first.output().includes('"started"'), { timeoutMs: 35_000 });
    const principal = await world.edge.verifyApiKey({ key });
    expect(principal).toMatchObject({ name: world.name('admin'), scopes: ['role:admin'], method: 'apiKey', tokenId: 'abcd1234' });
    await world.session.verifyPassword({ name: world.name('admin'), password: ADMIN_PASSWORD });
    first.stop();
    expect(await first.exit).toBe(0);

    await using second = run(world, { AUTH_FIRST_ADMIN_PASSWORD: 'quite another password', LOG_LEVEL: 'trace' });
    await eventually(() => second.output().includes('"started"'), { timeoutMs: 35_000 });
    await world.session.verifyPassword({ name: world.name('admin'), password: ADMIN_PASSWORD });
    const attempt = world.session.verifyPassword({ name: world.name('admin'), password: 'quite another password' });
    await expect(attempt).rejects.toMatchObject({ code: 'CREDENTIAL_INVALID' });
    const output = first.output() + second.output();
    const { username, password } = new URL(world.cluster.url);
    for (const secret of [
      ADMIN_PASSWORD,
      'quite another password',
      key,
      key.slice(13),
      SEALING_KEY.toString('base64'),
      password,
    ]) {
      expect(output).not.toContain(secret);
    }
    expect(username).not.toBe('');

    // Another sealing key than the one in the database: said at the start, not found out later.
    const other = await refusal(world, { AUTH_SEALING_KEY: randomBytes(32).toString('base64') });
    expect(other).toContain('AUTH_SEALING_KEY: it is not the key that the secrets in this database were sealed with');
    // The new one with the old one beside it takes over.
    const fresh = randomBytes(32).toString('base64');
    await using third = run(world, { AUTH_SEALING_KEY: fresh, AUTH_SEALING_KEY_PREVIOUS: SEALING_KEY.toString('base64') });
    await eventually(() => third.output().includes('"started"'), { timeoutMs: 35_000 });
    await world.edge.verifyApiKey({ key });
    await refusal(world, {});
  },
);

worldTest('without an admin and without a password for one it does not start, and says so', async ({ world }) => {
  const output = await refusal(world, { AUTH_FIRST_ADMIN_PASSWORD: undefined });
  expect(output).toContain('AUTH_FIRST_ADMIN_PASSWORD: there is no admin yet, and the first one needs a password');
});

/** imm-052: a secret that everybody knows is none. */
worldTest('known-bad secrets and settings that make no sense are all listed, and their values are not', async ({ world }) => {
  const output = await refusal(world, {
    AUTH_FIRST_ADMIN_PASSWORD: 'changeme',
    AUTH_FIRST_ADMIN_KEY: 'pst_tooshort',
    AUTH_FIRST_ADMIN_NAME: 'postgres',
  });
  for (const name of ['AUTH_FIRST_ADMIN_PASSWORD', 'AUTH_FIRST_ADMIN_KEY', 'AUTH_FIRST_ADMIN_NAME'])
    expect(output).toContain(name);
  const more = await refusal(world, {
    AUTH_SEALING_KEY: Buffer.alloc(32).toString('base64'),
    AUTH_TRUSTED_ROLES: 'root',
    AUTH_OIDC_GROUP_ROLES: '{"a":',
    AUTH_DATABASE_URL: 'mysql://root:hunter22@localhost',
    AUTH_KEY_ROTATION_SECONDS: '5',
  });
  for (const name of ['SEALING_KEY', 'TRUSTED_ROLES', 'OIDC_GROUP_ROLES', 'DATABASE_URL', 'KEY_ROTATION_SECONDS']) {
    expect(more).toContain(`AUTH_${name}`);
  }
  expect(output + more).not.toMatch(/changeme|tooshort|hunter22/);
});

worldTest(
  'a database that is newer than the code, or was made with another migration, is refused and left as it is',
  async ({ world }) => {
    await world.start();
    const checksum = createHash('sha256').update('x').digest('hex');
    await world.cluster.sql("INSERT INTO auth.migrations VALUES ('9999_later.sql', $1, now())", [checksum]);
    expect(await refusal(world, {})).toContain('the database has the migration 9999_later.sql, which this version does not know');
    await world.cluster.sql("DELETE FROM auth.migrations WHERE name = '9999_later.sql'");
    await world.cluster.sql("UPDATE auth.migrations SET checksum = $1 WHERE name LIKE '0001%'", [checksum]);
    expect(await refusal(world, {})).toMatch(/the migration 0001_\w+\.sql is not the one that the database was made with/);
  },
);

worldTest('four that start at once on an empty database agree on one mesh', async ({ world }) => {
  const runs = Array.from({ length: 4 }, () => run(world));
  try {
    await eventually(() => runs.every(({ output }) => output().includes('"started"')), { timeoutMs: 80_000 });
  } finally {
    await Promise.all(runs.map((each) => each[Symbol.asyncDispose]()));
  }
  expect(await world.cluster.sql('SELECT FROM auth.people')).toHaveLength(1);
  expect(await world.cluster.sql('SELECT FROM auth.roots')).toHaveLength(1);
  expect(await world.cluster.sql('SELECT FROM auth.signing_keys')).toHaveLength(2);
});
