import { databaseUrl, removeFromPostgres, setUpPostgres, takeInventory } from '@postern/deploy/setup/postgres';
import { eventually } from '@postern/testkit/eventually';
import { temporaryFolder } from '@postern/testkit/temporary-folder';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import type { Cluster } from './clusters.ts';
import { findClusters } from './clusters.ts';
import { isReviewed } from './reviewed-functions.ts';

const logins = { app_owner: 'owner-1', postern_auth: 'auth-1', postern_sql: 'sql-1', postern_changes: 'changes-1' };

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
  async function superuser(statement: string): Promise<Record<string, unknown>[]> {
    const client = new pg.Client(databaseUrl(cluster.url, { database: 'app' }));
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(statement)).rows;
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
    ['reader', 'SELECT lo_create(0)', '42501'],
    ['reader', 'SELECT lo_creat(-1)', '42501'],
    ['reader', "SELECT lo_from_bytea(0, 'kept')", '42501'],
    ['reader', "SELECT pg_logical_emit_message(false, 'kept', 'kept')", '42501'],
    ['reader', "SELECT pg_logical_emit_message(true, 'kept', 'kept'::bytea)", '42501'],
    ['writer', "SELECT lo_unlink(lo_from_bytea(0, 'kept'))", 'ok'],
    ['writer', "SELECT pg_logical_emit_message(false, 'kept', 'kept')", '42501'],
    ['writer', "SELECT lo_import('/etc/passwd')", '42501'],
    ['admin', "SELECT pg_logical_emit_message(false, 'kept', 'kept')", '42501'],
    ['admin', "SELECT lo_import('/etc/passwd')", '42501'],
    ['agent', 'SELECT lo_create(0)', '42501'],
    ['writer', "INSERT INTO items (name) VALUES ('x')", 'ok'],
    ['writer', "UPDATE items SET name = 'y'", 'ok'],
    ['writer', 'DELETE FROM items', 'ok'],
    ['writer', 'CREATE TABLE public.of_a_writer ()', '42501'],
    ['writer', 'CREATE VIEW public.of_a_writer AS SELECT 1', '42501'],
    ['writer', "CREATE FUNCTION public.lower(varchar) RETURNS text LANGUAGE sql AS 'SELECT 1::text'", '42501'],
    ['writer', 'CREATE OPERATOR public.+ (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = bigint)', '42501'],
    ['writer', 'CREATE SCHEMA a_admin', '42501'],
    ['writer', 'CREATE SCHEMA of_a_writer', '42501'],
    ['writer', 'CREATE TABLE postern.of_a_writer ()', '42501'],
    ['writer', 'DROP EVENT TRIGGER postern_own_schema', '42501'],
    ['admin', 'DROP EVENT TRIGGER postern_own_schema', '42501'],
    ['admin', 'DROP SCHEMA postern CASCADE', '42501'],
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

  /** The schemas that have something of this name, and who owns it. */
  async function whereIs(name: string): Promise<unknown[]> {
    return superuser(
      `SELECT relnamespace::regnamespace::text AS schema, relowner::regrole::text AS owner FROM pg_class WHERE relname = '${name}'`,
    );
  }

  test('what a writer creates without a schema is in their own, where their own statements find it first', async () => {
    const words = ['CREATE TABLE things (a int)', 'INSERT INTO things VALUES (1)', 'SELECT a FROM a_writer.things'];
    expect(await person('writer', ...words)).toBe('ok');
    expect(await whereIs('things')).toEqual([{ schema: 'a_writer', owner: 'a_writer' }]);
    expect(await person('writer', 'SELECT 1 AS a INTO others', 'CREATE VIEW of_others AS TABLE others', 'TABLE of_others')).toBe(
      'ok',
    );
    expect(await whereIs('of_others')).toEqual([{ schema: 'a_writer', owner: 'a_writer' }]);
    expect(await person('admin', 'TABLE a_writer.things')).toBe('42501');
  });

  test('what an admin or the owner creates without a schema is in public', async () => {
    expect(await person('admin', 'CREATE TABLE of_the_admin ()')).toBe('ok');
    expect(await whereIs('of_the_admin')).toEqual([{ schema: 'public', owner: 'a_admin' }]);
    expect(await ask('app_owner', 'owner-1', 'app', ['CREATE TABLE of_the_owner ()'])).toBe('ok');
    expect(await whereIs('of_the_owner')).toEqual([{ schema: 'public', owner: 'app_owner' }]);
  });

  test('nobody but a writer who creates gets a schema', async () => {
    await person('reader', 'CREATE TEMPORARY TABLE mine ()');
    await ask('postern_auth', 'auth-1', 'postern', [
      "CREATE ROLE idle_writer LOGIN PASSWORD 'secret'",
      'GRANT postern_writer TO idle_writer',
    ]);
    expect(await ask('idle_writer', 'secret', 'app', ['SELECT 1'])).toBe('ok');
    expect(await superuser("SELECT nspname FROM pg_namespace WHERE nspname ~ '^(a|idle)_' AND nspname <> 'a_writer'")).toEqual(
      [],
    );
    expect(await ask('postern_auth', 'auth-1', 'postern', ['DROP ROLE idle_writer'])).toBe('ok');
  });

  test('a schema that has the name of a writer and another owner is not theirs', async () => {
    await ask('postern_auth', 'auth-1', 'postern', [
      "CREATE ROLE late_writer LOGIN PASSWORD 'secret'",
      'GRANT postern_writer TO late_writer',
      `CREATE ROLE information_schema LOGIN PASSWORD 'secret'`,
      'GRANT postern_writer TO information_schema',
    ]);
    await person('admin', 'CREATE SCHEMA late_writer');
    for (const name of ['late_writer', 'information_schema']) {
      expect(await ask(name, 'secret', 'app', ['CREATE TABLE mine ()'])).toBe('42501');
    }
  });

  test('two first statements of a writer at once both find the schema', async () => {
    await ask('postern_auth', 'auth-1', 'postern', [
      `CREATE ROLE "Two Hands" LOGIN PASSWORD 'secret'`,
      'GRANT postern_writer TO "Two Hands"',
    ]);
    const hands = ['left', 'right', 'third'].map((hand) => ask('Two Hands', 'secret', 'app', [`CREATE TABLE ${hand}_hand ()`]));
    expect(await Promise.all(hands)).toEqual(['ok', 'ok', 'ok']);
    expect(await whereIs('left_hand')).toEqual([{ schema: '"Two Hands"', owner: '"Two Hands"' }]);
  });

  /** A writer who could put a function where an admin's statements look would be an admin as soon as one came by. */
  test('a function of a writer is not run by the statements of an admin (imm-073)', async () => {
    const trap = `(varchar) RETURNS text LANGUAGE plpgsql AS 'BEGIN CREATE TABLE public.sprung (); RETURN $1; END'`;
    expect(await person('writer', `CREATE FUNCTION lower${trap}`)).toBe('ok');
    expect(await person('writer', `CREATE FUNCTION public.lower${trap}`)).toBe('42501');
    expect(await person('admin', "SELECT lower('ABC'::varchar)")).toBe('ok');
    expect(await whereIs('sprung')).toEqual([]);
    // The trap is sound: it springs for the writer, as the writer.
    expect(await person('writer', "SELECT lower('ABC'::varchar)")).toBe('42501');
  });

  /** Each new version of PostgreSQL brings functions; one that writes would let a reader keep something. */
  test('every function with effects that a reader may call was looked at (imm-071)', async () => {
    const callable = await superuser(
      `SELECT DISTINCT proname AS name FROM pg_proc
       WHERE provolatile = 'v' AND has_function_privilege('a_reader', oid, 'EXECUTE')
         AND has_schema_privilege('a_reader', pronamespace, 'USAGE')
         AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
         AND NOT 'internal'::regtype = ANY (proargtypes::oid[]) ORDER BY 1`,
    );
    expect(callable.length).toBeGreaterThan(50);
    expect(callable.map(({ name }) => String(name)).filter((name) => !isReviewed(name))).toEqual([]);
  });

  test('set-up takes back what an earlier one gave', async () => {
    await superuser('GRANT CREATE ON SCHEMA public TO postern_writer, PUBLIC; GRANT CREATE ON DATABASE app TO postern_writer');
    expect(await person('writer', 'CREATE TABLE public.early ()', 'DROP TABLE public.early')).toBe('ok');
    await setUpPostgres(cluster.url, logins);
    expect(await person('writer', 'CREATE TABLE public.early ()')).toBe('42501');
    expect(await person('writer', 'CREATE SCHEMA early')).toBe('42501');
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

  test('the login of change streams reads no table, makes nothing, and reaches no other database', async () => {
    expect(await ask('postern_changes', 'changes-1', 'app', ['SELECT 1'])).toBe('ok');
    expect(await ask('postern_changes', 'changes-1', 'app', ['SELECT * FROM items'])).toBe('42501');
    expect(await ask('postern_changes', 'changes-1', 'app', ['CREATE TABLE mine ()'])).toBe('42501');
    expect(await ask('postern_changes', 'changes-1', 'postern', ['SELECT 1'])).toBe('42501');
    expect(
      await superuser("SELECT rolsuper, rolcreaterole, rolreplication FROM pg_roles WHERE rolname = 'postern_changes'"),
    ).toEqual([{ rolsuper: false, rolcreaterole: false, rolreplication: true }]);
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
