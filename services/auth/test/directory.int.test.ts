import { postgresTest } from '@postern/testkit/postgres-test';

import { migrate, readMigrations } from '../src/stores/migrations.pg.ts';
import { createPgDirectory } from '../src/stores/directory.pg.ts';
import { deadlineIn, openTestDatabase } from './databases.ts';
import { directorySuite } from './directory.suite.ts';

directorySuite((title, body) =>
  postgresTest(title, async ({ postgres }) => {
    await using database = openTestDatabase(postgres.url);
    await database.query(deadlineIn(60_000), 'DROP SCHEMA IF EXISTS auth CASCADE');
    await migrate(database, await readMigrations(), deadlineIn(60_000));
    await body(createPgDirectory(database));
  }),
);
