import type { TestPostgres } from '@postern/testkit/postgres-test';

import { createDeadlines } from '../src/domain/deadline.ts';
import type { Database } from '../src/stores/database.pg.ts';
import { openDatabase } from '../src/stores/database.pg.ts';
import { migrate, readMigrations } from '../src/stores/migrations.pg.ts';

export const deadlineIn = createDeadlines(() => performance.now());

export const openTestDatabase = (url: string, connectionsMax = 10): Database =>
  openDatabase({ url, connectionsMax, onIdleError: () => {} });

/** URL of an empty control database of its own, by a superuser. */
export async function migratedDatabase(postgres: TestPostgres): Promise<string> {
  const migrations = await readMigrations();
  const template = await postgres.template(`auth ${JSON.stringify(migrations)}`, async (url) => {
    await using database = openTestDatabase(url);
    await migrate(database, migrations, deadlineIn(60_000));
  });
  return (await postgres.createDatabase(template)).url;
}
