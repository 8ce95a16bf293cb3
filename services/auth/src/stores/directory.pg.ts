/** People, their identities elsewhere and their API keys, in schema `auth`. */
import { GroupRole, PrincipalKind } from '@postern/contracts/common';
import { z } from 'zod';

import type { ApiKey, Directory, DirectoryQueries, DirectoryTransaction, Person } from '../domain/ports.ts';
import type { Database, Query, Row } from './database.pg.ts';

const Time = z.date().transform((date) => date.getTime());

const PersonRow = z.object({
  id: z.string(),
  name: z.string(),
  kind: PrincipalKind,
  origin: z.enum(['created', 'trusted', 'external', 'internal']),
  roles: z.array(GroupRole),
  passwordHash: z.string().nullable(),
  sealedLogin: z.string().nullable(),
  disabled: z.boolean(),
  epoch: z.number(),
  createdAt: Time,
  updatedAt: Time,
});

const KeyRow = z.object({
  id: z.string(),
  personId: z.string(),
  name: z.string(),
  secretHash: z.instanceof(Buffer),
  createdAt: Time,
  expiresAt: Time.nullable(),
  lastUsedAt: Time.nullable(),
});

const StandingRow = z.object({ disabled: z.boolean(), epoch: z.number(), roles: z.array(GroupRole), keyExists: z.boolean() });
const CountRow = z.object({ count: z.coerce.number() });
const IdentityRow = z.object({ issuer: z.string(), subject: z.string() });

const PERSON = `p.id, p.name, p.kind, p.origin, p.roles, p.password_hash AS "passwordHash", p.sealed_login AS "sealedLogin",
  p.disabled, p.credential_epoch AS "epoch", p.created_at AS "createdAt", p.updated_at AS "updatedAt"`;
const KEY = `k.id, k.person_id AS "personId", k.name, k.secret_hash AS "secretHash", k.created_at AS "createdAt",
  k.expires_at AS "expiresAt", k.last_used_at AS "lastUsedAt"`;

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export const createPgDirectory = (database: Database): Directory => ({
  at: (deadline) => queries((...statement) => database.query(deadline, ...statement)),
  transact: (deadline, work) =>
    database.transact(deadline, (query) => work(Object.assign(queries(query), locks(query)) satisfies DirectoryTransaction)),
});

const LOCK = 0x6175_7468;
const NAME_LOCK = 0x6175_7469;

const locks = (query: Query): Pick<DirectoryTransaction, 'lockLogins' | 'lockAdmins' | 'lockName'> => ({
  async lockLogins(mode) {
    await query(`SELECT pg_advisory_xact_lock${mode === 'shared' ? '_shared' : ''}($1, 2)`, [LOCK]);
  },
  async lockAdmins() {
    await query('SELECT pg_advisory_xact_lock($1, 3)', [LOCK]);
  },
  async lockName(name) {
    if (name.includes('\0')) return;
    await query('SELECT pg_advisory_xact_lock($1, hashtext($2))', [NAME_LOCK, name]);
  },
});

const queries = (query: Query): DirectoryQueries => ({
  ...peopleQueries(query),
  ...identityQueries(query),
  ...keyQueries(query),
});

const first = <T>(rows: readonly Row[], parse: (row: Row) => T): T | undefined =>
  rows[0] === undefined ? undefined : parse(rows[0]);

const person = (row: Row): Person => PersonRow.parse(row);
const apiKey = (row: Row): ApiKey => KeyRow.parse(row);

type PeopleQueries = Pick<
  DirectoryQueries,
  | 'personByName'
  | 'personById'
  | 'people'
  | 'insertPerson'
  | 'updatePerson'
  | 'replacePasswordHash'
  | 'deletePerson'
  | 'countAdmins'
  | 'standing'
>;

const peopleQueries = (query: Query): PeopleQueries => ({
  async personByName(name) {
    // The server's text cannot hold this character; nobody can have it in their name.
    if (name.includes('\0')) return undefined;
    return first(await query(`SELECT ${PERSON} FROM auth.people p WHERE name = $1`, [name], 'person-by-name'), person);
  },
  async personById(id) {
    if (!UUID.test(id)) return undefined;
    return first(await query(`SELECT ${PERSON} FROM auth.people p WHERE id = $1`, [id], 'person-by-id'), person);
  },
  async people({ after, limit }) {
    const rows = await query(`SELECT ${PERSON} FROM auth.people p WHERE name > $1 ORDER BY name LIMIT $2`, [after ?? '', limit]);
    return rows.map(person);
  },
  async insertPerson(made) {
    await query(
      `INSERT INTO auth.people (id, name, kind, origin, roles, password_hash, sealed_login, disabled, credential_epoch,
         created_at, updated_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
      [
        made.id,
        made.name,
        made.kind,
        made.origin,
        made.roles,
        made.passwordHash,
        made.sealedLogin,
        made.disabled,
        made.epoch,
        new Date(made.createdAt),
        new Date(made.updatedAt),
      ],
    );
  },
  async updatePerson({ id, roles, passwordHash, sealedLogin, disabled, epoch, updatedAt }) {
    await query(
      `UPDATE auth.people SET roles = $2, password_hash = $3, sealed_login = $4, disabled = $5, credential_epoch = $6,
         updated_at = $7 WHERE id = $1`,
      [id, roles, passwordHash, sealedLogin, disabled, epoch, new Date(updatedAt)],
    );
  },
  async replacePasswordHash(id, { from, to }) {
    await query('UPDATE auth.people SET password_hash = $3 WHERE id = $1 AND password_hash = $2', [id, from, to]);
  },
  async deletePerson(id) {
    await query('DELETE FROM auth.people WHERE id = $1', [id]);
  },
  async countAdmins() {
    const rows = await query(
      `SELECT count(*) FROM auth.people WHERE 'admin' = ANY (roles) AND NOT disabled AND origin <> 'internal'`,
    );
    return first(rows, (row) => CountRow.parse(row).count) ?? 0;
  },
  async standing(personId, keyId) {
    if (!UUID.test(personId)) return undefined;
    const rows = await query(
      `SELECT disabled, credential_epoch AS "epoch", roles, ($2::text IS NULL OR EXISTS (
         SELECT FROM auth.api_keys k WHERE k.id = $2 AND k.person_id = p.id)) AS "keyExists"
       FROM auth.people p WHERE id = $1`,
      [personId, keyId ?? null],
      'standing',
    );
    return first(rows, (row) => {
      const { keyExists, ...rest } = StandingRow.parse(row);
      return { person: rest, keyExists };
    });
  },
});

const identityQueries = (query: Query): Pick<DirectoryQueries, 'personByIdentity' | 'identityAt' | 'linkIdentity'> => ({
  async personByIdentity({ issuer, subject }) {
    if (subject.includes('\0')) return undefined;
    const rows = await query(
      `SELECT ${PERSON} FROM auth.people p JOIN auth.external_identities e ON e.person_id = p.id
       WHERE e.issuer = $1 AND e.subject = $2`,
      [issuer, subject],
      'person-by-identity',
    );
    return first(rows, person);
  },
  async identityAt(personId, issuer) {
    const rows = await query('SELECT issuer, subject FROM auth.external_identities WHERE person_id = $1 AND issuer = $2', [
      personId,
      issuer,
    ]);
    return first(rows, (row) => IdentityRow.parse(row));
  },
  async linkIdentity(personId, { issuer, subject }) {
    await query('INSERT INTO auth.external_identities (issuer, subject, person_id) VALUES ($1, $2, $3)', [
      issuer,
      subject,
      personId,
    ]);
  },
});

type KeyQueries = Pick<DirectoryQueries, 'keyById' | 'keysOf' | 'countKeys' | 'insertKey' | 'deleteKey' | 'noteKeyUse'>;

const keyQueries = (query: Query): KeyQueries => ({
  async keyById(id) {
    if (id.includes('\0')) return undefined;
    const rows = await query(
      `SELECT ${PERSON}, k.person_id AS "personId", k.name AS "keyName",
         k.secret_hash AS "secretHash", k.created_at AS "keyCreatedAt", k.expires_at AS "expiresAt", k.last_used_at AS "lastUsedAt"
       FROM auth.api_keys k JOIN auth.people p ON p.id = k.person_id WHERE k.id = $1`,
      [id],
      'key-by-id',
    );
    return first(rows, (row) => ({
      key: apiKey({ ...row, id, name: row['keyName'], createdAt: row['keyCreatedAt'] }),
      person: person(row),
    }));
  },
  async keysOf(personId, { after, limit }) {
    const rows = await query(`SELECT ${KEY} FROM auth.api_keys k WHERE person_id = $1 AND id > $2 ORDER BY id LIMIT $3`, [
      personId,
      after ?? '',
      limit,
    ]);
    return rows.map(apiKey);
  },
  async countKeys(personId) {
    const rows = await query('SELECT count(*) FROM auth.api_keys WHERE person_id = $1', [personId]);
    return first(rows, (row) => CountRow.parse(row).count) ?? 0;
  },
  async insertKey({ id, personId, name, secretHash, createdAt, expiresAt }) {
    await query(
      `INSERT INTO auth.api_keys (id, person_id, name, secret_hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)`,
      [id, personId, name, secretHash, new Date(createdAt), expiresAt === null ? null : new Date(expiresAt)],
    );
  },
  async deleteKey(id) {
    const rows = await query('DELETE FROM auth.api_keys WHERE id = $1 RETURNING id', [id]);
    return rows.length > 0;
  },
  async noteKeyUse(id, { at, unlessAfter }) {
    await query('UPDATE auth.api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)', [
      id,
      new Date(at),
      new Date(unlessAfter),
    ]);
  },
});
