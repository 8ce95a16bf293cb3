/**
 * Database logins as roles of the cluster, marked by their comment: `postern:<mesh>:<person>`, and `postern-removed:…` for one
 * that is kept, shut, because it owns something. What is not marked so is never touched. PostgreSQL 15 and later.
 */
import { GroupRole } from '@postern/contracts/common';
import pg from 'pg';
import { z } from 'zod';

import type { DatabaseLogins, LoginState, LoginWish } from '../domain/ports.ts';
import { scramVerifier } from '../domain/scram.ts';
import type { Database, Query } from './database.pg.ts';
import { hasCode } from './database.pg.ts';

const GROUP_PREFIX = 'postern_';
const NAME_LOCK = 0x6175_746a;

const RoleRow = z.object({
  name: z.string(),
  enabled: z.boolean(),
  comment: z.string().nullable(),
  groups: z.array(z.string()),
});

/** From PostgreSQL 16 on, only who granted a membership can take it back: what somebody else granted by hand is left to them. */
const ROLES = `SELECT r.rolname AS name, r.rolcanlogin AS enabled, shobj_description(r.oid, 'pg_authid') AS comment,
    coalesce((SELECT array_agg(DISTINCT g.rolname::text) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
              WHERE m.member = r.oid AND (m.grantor = me.oid OR me.rolsuper OR current_setting('server_version_num')::int < 160000)),
             '{}') AS groups
  FROM pg_roles r, (SELECT oid, rolsuper FROM pg_roles WHERE rolname = current_user) me`;

type Found = LoginState & { readonly isKept: boolean };

export function createPgDatabaseLogins(database: Database, meshId: string): DatabaseLogins {
  const find = async (query: Query, name: string): Promise<Found | 'absent' | 'foreign'> => {
    const [row] = await query(`${ROLES} WHERE r.rolname = $1`, [name]);
    return row === undefined ? 'absent' : (readRole(row, meshId)?.login ?? 'foreign');
  };
  return {
    made: true,
    mapped: () => undefined,
    async put(deadline, wish) {
      const verifier = await scramVerifier(wish.secret);
      return database.transact(deadline, async (query) => {
        await lock(query, wish.name);
        const found = await find(query, wish.name);
        if (found === 'foreign') return 'taken';
        if (found !== 'absent' && found.isKept && found.personId !== wish.personId) return 'taken';
        await shape(query, wish, { verifier, held: found === 'absent' ? undefined : found.groups, meshId });
        return 'done';
      });
    },
    async endConnections(deadline, name) {
      await database
        .transact(deadline, async (query) => {
          await lock(query, name);
          const found = await find(query, name);
          if (found === 'absent' || found === 'foreign') return;
          await endAs(query, name);
          throw new Undone();
        })
        .catch(unlessUndone);
    },
    async remove(deadline, name) {
      const shut = await database.transact(deadline, async (query) => {
        await lock(query, name);
        const found = await find(query, name);
        if (found === 'absent' || found === 'foreign') return undefined;
        await query(`ALTER ROLE ${pg.escapeIdentifier(name)} NOLOGIN PASSWORD NULL`);
        await revoke(query, name, found.groups);
        return found;
      });
      if (shut === undefined) return 'absent';
      await this.endConnections(deadline, name);
      return dropOrKeep(database, deadline, { name, mark: `${KEPT}:${meshId}:${shut.personId}` });
    },
    async list(deadline) {
      const rows = await database.query(deadline, `${ROLES} WHERE shobj_description(r.oid, 'pg_authid') LIKE $1`, [
        `${OURS}:${meshId}:%`,
      ]);
      const logins = rows.flatMap((row) => readRole(row, meshId) ?? []);
      return new Map(logins.map(({ name, login }) => [name, login]));
    },
  };
}

const OURS = 'postern';
const KEPT = 'postern-removed';

function readRole(row: unknown, meshId: string): { readonly name: string; readonly login: Found } | undefined {
  const { name, enabled, comment, groups } = RoleRow.parse(row);
  const [kind, mesh, personId] = comment?.split(':') ?? [];
  if ((kind !== OURS && kind !== KEPT) || mesh !== meshId || personId === undefined) return undefined;
  return { name, login: { personId, enabled, groups: groups.flatMap(groupOf), isKept: kind === KEPT } };
}

function groupOf(role: string): GroupRole[] {
  if (!role.startsWith(GROUP_PREFIX)) return [];
  const parsed = GroupRole.safeParse(role.slice(GROUP_PREFIX.length));
  return parsed.success ? [parsed.data] : [];
}

const lock = (query: Query, name: string) => query('SELECT pg_advisory_xact_lock($1, hashtext($2))', [NAME_LOCK, name]);

interface Shape {
  readonly verifier: string;
  /** Groups it has; undefined if it is to be created. */
  readonly held: readonly GroupRole[] | undefined;
  readonly meshId: string;
}

async function shape(query: Query, wish: LoginWish, { verifier, held, meshId }: Shape): Promise<void> {
  const role = pg.escapeIdentifier(wish.name);
  const login = wish.enabled ? 'LOGIN' : 'NOLOGIN';
  const password = pg.escapeLiteral(verifier);
  if (held === undefined) {
    await query(
      `CREATE ROLE ${role} ${login} INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD ${password}`,
    );
  } else {
    await query(`ALTER ROLE ${role} ${login} PASSWORD ${password}`);
    await resetSettings(query, wish.name);
  }
  await query(`COMMENT ON ROLE ${role} IS ${pg.escapeLiteral(`${OURS}:${meshId}:${wish.personId}`)}`);
  await revoke(query, wish.name, held?.filter((group) => !wish.groups.includes(group)) ?? []);
  const given = wish.groups.filter((group) => held?.includes(group) !== true);
  if (given.length === 0) return;
  const names = given.map((group) => pg.escapeIdentifier(`${GROUP_PREFIX}${group}`)).join(', ');
  await query(`GRANT ${names} TO ${role}${(await separatesSet(query)) ? ' WITH INHERIT TRUE, SET FALSE' : ''}`);
}

/** Whoever has a role may give it settings, and some of them shut out every new session. */
async function resetSettings(query: Query, name: string): Promise<void> {
  const role = pg.escapeIdentifier(name);
  await query(`ALTER ROLE ${role} RESET ALL`);
  const rows = await query(
    `SELECT d.datname AS database FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
     JOIN pg_database d ON d.oid = s.setdatabase WHERE r.rolname = $1`,
    [name],
  );
  for (const { database } of rows) {
    await query(`ALTER ROLE ${role} IN DATABASE ${pg.escapeIdentifier(String(database))} RESET ALL`);
  }
}

async function revoke(query: Query, name: string, groups: readonly GroupRole[]): Promise<void> {
  if (groups.length === 0) return;
  const names = groups.map((group) => pg.escapeIdentifier(`${GROUP_PREFIX}${group}`)).join(', ');
  await query(`REVOKE ${names} FROM ${pg.escapeIdentifier(name)}`);
}

/** From PostgreSQL 16 on a member can have a group's rights without being able to become it. */
async function separatesSet(query: Query): Promise<boolean> {
  const [row] = await query("SELECT current_setting('server_version_num')::int >= 160000 AS separates");
  return row?.['separates'] === true;
}

/**
 * Whoever may make a role may not yet end its connections; the role itself may. So the membership is taken for the length of
 * a transaction that is rolled back: what was ended stays ended, what was granted never was.
 */
async function endAs(query: Query, name: string): Promise<void> {
  const role = pg.escapeIdentifier(name);
  await query(`GRANT ${role} TO CURRENT_USER${(await separatesSet(query)) ? ' WITH INHERIT FALSE, SET TRUE' : ''}`);
  await query(`SET LOCAL ROLE ${role}`);
  await query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [name]);
}

class Undone extends Error {
  override readonly name = 'Undone';
}

const unlessUndone = (error: unknown): void => {
  if (!(error instanceof Undone)) throw error;
};

const DEPENDENT_OBJECTS_STILL_EXIST = '2BP01';

async function dropOrKeep(
  database: Database,
  deadline: Parameters<Database['query']>[0],
  { name, mark }: { readonly name: string; readonly mark: string },
): Promise<'dropped' | 'kept'> {
  const role = pg.escapeIdentifier(name);
  try {
    await database.query(deadline, `DROP ROLE IF EXISTS ${role}`);
    return 'dropped';
  } catch (error) {
    if (!hasCode(error, DEPENDENT_OBJECTS_STILL_EXIST)) throw error;
    await database.query(deadline, `COMMENT ON ROLE ${role} IS ${pg.escapeLiteral(mark)}`);
    return 'kept';
  }
}
