/** Brings the schema to what this code knows. Forward only; several replicas may start at once. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';

import type { Deadline } from '../domain/ports.ts';
import type { Database, Query } from './database.pg.ts';

export interface Migration {
  readonly name: string;
  readonly sql: string;
}

export type MigrationOutcome =
  | { readonly kind: 'migrated'; readonly applied: readonly string[] }
  | { readonly kind: 'refused'; readonly reason: string };

const LOCK = 0x6175_7468;

/** The files of this service, in the order of their names; line ends do not count. */
export async function readMigrations(): Promise<readonly Migration[]> {
  const folder = new URL('../../migrations/', import.meta.url);
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).toSorted();
  return Promise.all(
    names.map(async (name) => ({ name, sql: (await readFile(new URL(name, folder), 'utf8')).replaceAll('\r\n', '\n') })),
  );
}

export function migrate(database: Database, migrations: readonly Migration[], deadline: Deadline): Promise<MigrationOutcome> {
  return database.transact(deadline, async (query) => {
    await query('SELECT pg_advisory_xact_lock($1, 1)', [LOCK]);
    const [schema] = await query("SELECT 1 FROM pg_namespace WHERE nspname = 'auth'");
    if (schema === undefined) await query('CREATE SCHEMA auth');
    const [table] = await query("SELECT 1 WHERE to_regclass('auth.migrations') IS NOT NULL");
    if (table === undefined) {
      await query(
        'CREATE TABLE auth.migrations (name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL)',
      );
    }
    return apply(query, migrations);
  });
}

async function apply(query: Query, migrations: readonly Migration[]): Promise<MigrationOutcome> {
  const recorded = await query('SELECT name, checksum FROM auth.migrations ORDER BY name COLLATE "C"');
  for (const [index, { name, checksum }] of recorded.entries()) {
    const known = migrations[index];
    if (known === undefined || known.name !== name) {
      return { kind: 'refused', reason: `the database has the migration ${String(name)}, which this version does not know` };
    }
    if (checksumOf(known) !== checksum) {
      return { kind: 'refused', reason: `the migration ${known.name} is not the one that the database was made with` };
    }
  }
  const applied: string[] = [];
  for (const migration of migrations.slice(recorded.length)) {
    await query(migration.sql);
    await query('INSERT INTO auth.migrations (name, checksum, applied_at) VALUES ($1, $2, now())', [
      migration.name,
      checksumOf(migration),
    ]);
    applied.push(migration.name);
  }
  return { kind: 'migrated', applied };
}

const checksumOf = ({ sql }: Migration): string => createHash('sha256').update(sql).digest('hex');
