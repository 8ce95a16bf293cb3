/** Makes a Postgres cluster ready for the mesh: databases, groups, service logins, grants. Safe to repeat and to race. */
import { readFile } from 'node:fs/promises';
import pg from 'pg';

import { isVerifierOf, scramVerifier } from './scram.ts';

/** Database of the services' own tables. */
export const CONTROL_DATABASE = 'postern';
/** Default database that people work in. */
export const APP_DATABASE = 'app';

/** The secret of each login that the set-up makes. */
export type PostgresLogins = Readonly<Record<'app_owner' | 'postern_auth' | 'postern_sql' | 'postern_changes', string>>;

const LOCK_KEY = 0x706f_7374;

/** Sets up the cluster that a superuser's URL leads to. A secret that differs from the login's own becomes its new one. */
export async function setUpPostgres(superuserUrl: string, logins: PostgresLogins): Promise<void> {
  await using cluster = await connect(databaseUrl(superuserUrl, { database: 'postgres' }));
  await cluster.query('SELECT pg_advisory_lock($1)', [LOCK_KEY]);
  await cluster.query(await script('roles'));
  for (const [login, secret] of Object.entries(logins)) await setSecret(cluster, login, secret);
  await makeDatabase(cluster, CONTROL_DATABASE, undefined);
  await makeDatabase(cluster, APP_DATABASE, 'app_owner');
  for (const [database, name] of [
    [CONTROL_DATABASE, 'control'],
    [APP_DATABASE, 'app'],
  ] as const) {
    await using inside = await connect(databaseUrl(superuserUrl, { database }));
    await inside.query(await script(name));
  }
}

/** What was in a cluster before a mesh was set up there for a while. */
export interface Inventory {
  readonly roles: readonly string[];
  readonly databases: readonly string[];
  /** What everybody may do with the databases that the set-up closes, as `CONNECT ON DATABASE postgres`. */
  readonly publicRights: readonly string[];
}

export async function takeInventory(superuserUrl: string): Promise<Inventory> {
  await using cluster = await connect(databaseUrl(superuserUrl, { database: 'postgres' }));
  const names = async (text: string): Promise<string[]> => (await cluster.query(text)).rows.map((row) => String(row['name']));
  return {
    roles: await names('SELECT rolname AS name FROM pg_roles ORDER BY 1'),
    databases: await names('SELECT datname AS name FROM pg_database ORDER BY 1'),
    publicRights: await names(
      `SELECT privilege || ' ON DATABASE ' || datname AS name
       FROM unnest(ARRAY['postgres', 'template1']) AS datname, unnest(ARRAY['CONNECT', 'TEMPORARY']) AS privilege
       WHERE has_database_privilege('public', datname, privilege) ORDER BY 1`,
    ),
  };
}

/** Removes the databases of the mesh and every role that was not there before, and opens what was open. */
export async function removeFromPostgres(superuserUrl: string, before: Inventory): Promise<void> {
  const { roles } = await takeInventory(superuserUrl);
  await using cluster = await connect(databaseUrl(superuserUrl, { database: 'postgres' }));
  await cluster.query('SELECT pg_advisory_lock($1)', [LOCK_KEY]);
  for (const database of [CONTROL_DATABASE, APP_DATABASE]) {
    if (!before.databases.includes(database)) {
      await cluster.query(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(database)} WITH (FORCE)`);
    }
  }
  const added = roles.filter((role) => !before.roles.includes(role)).map((role) => pg.escapeIdentifier(role));
  if (added.length > 0) {
    await cluster.query(`DROP OWNED BY ${added.join(', ')}`);
    await cluster.query(`DROP ROLE IF EXISTS ${added.join(', ')}`);
  }
  for (const right of before.publicRights) await cluster.query(`GRANT ${right} TO PUBLIC`);
}

export interface DatabaseLogin {
  readonly user?: string;
  readonly password?: string;
  readonly database: string;
}

/** The same server, other login or database. */
export function databaseUrl(serverUrl: string, { user, password, database }: DatabaseLogin): string {
  const url = new URL(serverUrl);
  if (user !== undefined) url.username = encodeURIComponent(user);
  if (password !== undefined) url.password = encodeURIComponent(password);
  url.pathname = `/${encodeURIComponent(database)}`;
  return url.href;
}

interface Connection extends AsyncDisposable {
  query(text: string, values?: readonly unknown[]): Promise<pg.QueryResult<Record<string, unknown>>>;
}

/** A session that never writes statements to the server's log: they carry verifiers. */
async function connect(url: string): Promise<Connection> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'postern-setup',
    connectionTimeoutMillis: 10_000,
    options:
      '-c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic -c client_min_messages=warning',
  });
  await client.connect();
  return {
    query: (text, values) => client.query(text, values === undefined ? undefined : [...values]),
    [Symbol.asyncDispose]: () => client.end(),
  };
}

const script = (name: string): Promise<string> => readFile(new URL(`../../postgres/${name}.sql`, import.meta.url), 'utf8');

async function setSecret(cluster: Connection, login: string, secret: string): Promise<void> {
  const { rows } = await cluster.query('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [login]);
  const verifier = rows[0]?.['rolpassword'];
  if (typeof verifier === 'string' && isVerifierOf(verifier, secret)) return;
  await cluster.query(`ALTER ROLE ${pg.escapeIdentifier(login)} PASSWORD ${pg.escapeLiteral(scramVerifier(secret))}`);
}

async function makeDatabase(cluster: Connection, name: string, owner: string | undefined): Promise<void> {
  const { rows } = await cluster.query('SELECT pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = $1', [name]);
  const [found] = rows;
  if (found === undefined) {
    const owned = owner === undefined ? '' : ` OWNER ${pg.escapeIdentifier(owner)}`;
    await cluster.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}${owned} TEMPLATE template0 ENCODING 'UTF8'`);
  } else if (owner !== undefined && found['owner'] !== owner) {
    throw new Error(`database "${name}" is there already and does not belong to "${owner}"`);
  }
}
