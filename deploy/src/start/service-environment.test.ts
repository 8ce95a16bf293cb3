import type { ServiceName } from '@postern/contracts/mesh';
import { expect, test } from 'vitest';

import { serviceEnvironment } from './service-environment.ts';

const addresses = {
  postgresUrl: 'postgres://postgres:superuser@127.0.0.1:5432/postgres',
  sessionRedisUrl: 'redis://session:secret@127.0.0.1:6379',
  natsUrl: 'nats://127.0.0.1:4222',
  credsFile: (service: string) => `/secrets/${service}/nats.creds`,
};
const given = {
  PATH: '/bin',
  HOME: '/root',
  SQL_POOL_MAX: '7',
  AUTH_FIRST_ADMIN_NAME: 'anna',
  POSTGRES_URL: 'x',
  LOG_LEVEL: 'warn',
};

const environmentOf = (service: ServiceName, own: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  serviceEnvironment(service, { secretsFolder: '/secrets', addresses, given: own });

test('a service sees its own settings and the shared ones, and nothing of the other services', () => {
  expect(environmentOf('sql', given)).toEqual({
    PATH: '/bin',
    LOG_LEVEL: 'warn',
    SQL_POOL_MAX: '7',
    SQL_DATABASE_URL_FILE: '/secrets/sql/database-url',
    SQL_CHANGES_DATABASE_URL_FILE: '/secrets/sql/changes-url',
    NATS_URL: 'nats://127.0.0.1:4222',
    NATS_CREDS_FILE: '/secrets/sql/nats.creds',
  });
});

test('no secret is in the environment of a service, only the names of files', () => {
  for (const service of ['edge', 'auth', 'session', 'sql'] as const) {
    expect(JSON.stringify(environmentOf(service, given))).not.toMatch(/superuser|secret@/);
  }
});

test('a secret that the caller sets takes the place of the generated file', () => {
  const env = environmentOf('sql', { SQL_DATABASE_URL: 'postgres://own' });
  expect(env).toMatchObject({ SQL_DATABASE_URL: 'postgres://own' });
  expect(env).not.toHaveProperty('SQL_DATABASE_URL_FILE');
});
