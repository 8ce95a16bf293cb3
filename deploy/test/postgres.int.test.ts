import { databaseUrl, removeFromPostgres, setUpPostgres, takeInventory } from '@postern/deploy/setup/postgres';
import { eventually } from '@postern/testkit/eventually';
import { temporaryFolder } from '@postern/testkit/temporary-folder';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import type { Cluster } from './clusters.ts';
import { findClusters } from './clusters.ts';

const logins = { app_owner: 'owner-1', postern_auth: 'auth-1', postern_sql: 'sql-1' };

describe.each(await findClusters())('on PostgreSQL $name', (kind) => {
  const scope = new AsyncDisposableStack();
  let cluster: Cluster;

  beforeAll(async () => {
    const folder = scope.use(await temporaryFolder());
    cluster = scope.use(await kind.start(folder.path));
    // Three at once, as three replicas of a set-up job would.
    await Promise.all([1, 2, 3].map(() => setUpPostgres(cluster.url, logins)));
    await ask('postern_auth', 'auth-1', 'postern', [
      ...['reader', 'writer', 'admin', 'agent'].flatMap((group) => [
        `CREATE ROLE a_${group} LOGIN PASSWORD 'secret'`,
        `GRANT postern_${group} TO a_${group}`,
      ]),
      "CREATE ROLE a_nobody LOGIN PASSWORD 'secret'",
    ]);
    await ask('app_owner', 'owner-1', 'app', ['CREATE TABLE items (id serial, name text)']);
  });
  afterAll(() => scope.disposeAsync());

  /** The SQLSTATE of the first statement that is refused, or `ok`. */
  async function ask(user: string, password: string, database: string, statements: readonly string[]): Promise<string> {
    const client = new pg.Client(databaseUrl(cluster.url, { user, password, database }));
    client.on('error', () => {});
    try {
      await client.connect();
      for (const statement of statements) await client.query(statement);
      return 'ok';
    } catch (error) {
      if (error instanceof pg.DatabaseError) return error.code ?? 'unknown';
      throw error;
    } finally {
      await client.end();
    }
  }
  const person = (group: string, ...statements: string[]): Promise<string> => ask(`a_${group}`, 'secret', 'app', statements);

  test.each([
    ['reader', 'SELECT * FROM items', 'ok'],
    ['reader', 'CREATE TEMPORARY TABLE mine ()', 'ok'],
    ['reader', "INSERT INTO items (name) VALUES ('x')", '42501'],
    ['reader', 'CREATE TABLE public.mine ()', '42501'],
    ['reader', 'SELECT * FROM pg_authid', '42501'],
    ['writer', "INSERT INTO items (name) VALUES ('x')", 'ok'],
    ['writer', "UPDATE items SET name = 'y'", 'ok'],
    ['writer', 'DELETE FROM items', 'ok'],
    ['writer', 'CREATE TABLE public.of_a_writer ()', 'ok'],
    ['writer', 'DROP TABLE items', '42501'],
    ['admin', 'ALTER TABLE items ADD COLUMN seen boolean', 'ok'],
    ['admin', 'CREATE SCHEMA of_an_admin', 'ok'],
    ['admin', 'SELECT * FROM pg_authid', '42501'],
    ['admin', 'CREATE ROLE another', '42501'],
    ['agent', 'SELECT 1', 'ok'],
    ['agent', 'SELECT * FROM items', '42501'],
    ['agent', 'CREATE TEMPORARY TABLE mine ()', '42501'],
    ['nobody', 'SELECT 1', '42501'],
  ])('a person in group %s who says %s gets %s', async (group, statement, outcome) => {
    expect(await person(group, statement)).toBe(outcome);
  });

  test.each(['reader', 'writer', 'admin', 'agent', 'nobody'])('group %s reaches no database but app', async (group) => {
    for (const database of ['postern', 'postgres', 'template1']) {
      expect(await ask(`a_${group}`, 'secret', database, ['SELECT 1'])).toBe('42501');
    }
  });

  test('the login of sql connects to app and can do nothing there', async () => {
    expect(await ask('postern_sql', 'sql-1', 'app', ['SELECT 1'])).toBe('ok');
    expect(await ask('postern_sql', 'sql-1', 'app', ['SELECT * FROM items'])).toBe('42501');
    expect(await ask('postern_sql', 'sql-1', 'app', ['CREATE TEMPORARY TABLE mine ()'])).toBe('42501');
    expect(await ask('postern_sql', 'sql-1', 'postern', ['SELECT 1'])).toBe('42501');
  });

  test('the login of auth owns its schema, makes logins, and does not reach what people keep', async () => {
    expect(await ask('postern_auth', 'auth-1', 'postern', ['CREATE TABLE things ()', 'DROP TABLE auth.things'])).toBe('ok');
    expect(await ask('postern_auth', 'auth-1', 'app', ['SELECT 1'])).toBe('42501');
    expect(await ask('postern_auth', 'auth-1', 'postern', ['CREATE TABLE public.things ()'])).toBe('42501');
  });

  test('a secret that changed is the new one from then on, and set-up again takes nothing away', async () => {
    await setUpPostgres(cluster.url, { ...logins, postern_sql: 'sql-2' });
    expect(await ask('postern_sql', 'sql-1', 'app', ['SELECT 1'])).toBe('28P01');
    expect(await ask('postern_sql', 'sql-2', 'app', ['SELECT 1'])).toBe('ok');
    expect(await person('reader', 'SELECT * FROM items')).toBe('ok');
    await setUpPostgres(cluster.url, logins);
  });

  test('a database app that belongs to somebody else is not taken over', async () => {
    const change = (owner: string): Promise<string> =>
      ask('postgres', new URL(cluster.url).password, 'postgres', [`ALTER DATABASE app OWNER TO ${owner}`]);
    await change('postgres');
    await expect(setUpPostgres(cluster.url, logins)).rejects.toThrow('does not belong to "app_owner"');
    await change('app_owner');
    await setUpPostgres(cluster.url, logins);
  });

  test('removal leaves the cluster as it was', async () => {
    const folder = scope.use(await temporaryFolder());
    await using other = await kind.start(folder.path);
    const before = await takeInventory(other.url);
    await setUpPostgres(other.url, logins);
    await removeFromPostgres(other.url, before);
    await eventually(async () => expect(await takeInventory(other.url)).toEqual(before));
  });
});
