import { createHash, randomBytes } from 'node:crypto';
import pg from 'pg';
import { test } from 'vitest';

import { sharedPostgres } from './test-servers.ts';

export interface TestDatabase extends AsyncDisposable {
  readonly name: string;
  /** Of a superuser, on this database. */
  readonly url: string;
}

export interface TestPostgres {
  /** Of a superuser, on database `postgres`. */
  readonly adminUrl: string;
  /** A fresh database of this file; a superuser's URL. */
  readonly url: string;
  /** One more database, a copy of `template` if one is named. It is dropped at the end of the file. */
  createDatabase(template?: string): Promise<TestDatabase>;
  /**
   * A database that `prepare` has filled once in this run, to be copied by name. Give the same `name` only to the same
   * content.
   */
  template(name: string, prepare: (url: string) => Promise<void>): Promise<string>;
}

/**
 * Tests with a real PostgreSQL: a database of its own for each file. Roles belong to the whole server and are shared with
 * files that run at the same time: give yours names that nobody else makes.
 */
// oxlint-disable-next-line no-empty-pattern -- vitest reads a fixture's needs from the pattern, and this one has none
export const postgresTest = test.extend('postgres', { scope: 'file' }, async ({}, { onCleanup }): Promise<TestPostgres> => {
  const { url: adminUrl } = await sharedPostgres();
  const scope = new AsyncDisposableStack();
  onCleanup(() => scope.disposeAsync());
  const createDatabase = async (template?: string): Promise<TestDatabase> => scope.use(await makeDatabase(adminUrl, template));
  const { url } = await createDatabase();
  return { adminUrl, url, createDatabase, template: (name, prepare) => makeTemplate(adminUrl, name, prepare) };
});

/** The same server and login, another database. */
export function onDatabase(url: string, name: string): string {
  const changed = new URL(url);
  changed.pathname = `/${encodeURIComponent(name)}`;
  return changed.href;
}

async function makeDatabase(adminUrl: string, template: string | undefined): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  const from = template === undefined ? '' : ` TEMPLATE ${pg.escapeIdentifier(template)}`;
  await onServer(adminUrl, (client) => client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}${from}`));
  const drop = async (): Promise<void> => {
    await onServer(adminUrl, (client) => client.query(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`));
  };
  return { name, url: onDatabase(adminUrl, name), [Symbol.asyncDispose]: drop };
}

async function makeTemplate(adminUrl: string, name: string, prepare: (url: string) => Promise<void>): Promise<string> {
  const database = `template_${createHash('sha256').update(name).digest('hex').slice(0, 12)}`;
  await onServer(adminUrl, async (client) => {
    // Of two files that want it at once, one makes it while the other waits.
    await client.query('SELECT pg_advisory_lock(hashtext($1))', [database]);
    const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [database]);
    if (rowCount !== 0) return;
    const draft = pg.escapeIdentifier(`${database}_draft`);
    await client.query(`DROP DATABASE IF EXISTS ${draft} WITH (FORCE)`);
    await client.query(`CREATE DATABASE ${draft}`);
    await prepare(onDatabase(adminUrl, `${database}_draft`));
    await client.query(`ALTER DATABASE ${draft} RENAME TO ${pg.escapeIdentifier(database)}`);
  });
  return database;
}

async function onServer(url: string, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}
