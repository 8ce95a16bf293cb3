import { postgresTest } from '@postern/testkit/postgres-test';

import { createPgDirectory } from '../src/stores/directory.pg.ts';
import { openTestDatabase, migratedDatabase } from './databases.ts';
import { directorySuite } from './directory.suite.ts';

directorySuite((title, body) =>
  postgresTest(title, async ({ postgres }) => {
    await using database = openTestDatabase(await migratedDatabase(postgres));
    await body(createPgDirectory(database));
  }),
);
