/** What the catalog says of a table whose changed rows are shown, read with nothing but pg_catalog in the search path. */
import { z } from 'zod';

import type { ChangedTable } from '../domain/changes-query.ts';
import { quoteName } from '../domain/changes-query.ts';
import type { Question } from './changes-asking.pg.ts';

/**
 * The policies are printed as text that names everything by its schema. `plantable`: one of them calls a function or operator
 * from a schema in which the caller may create, or of a name that others have made too: a call by name could find one of the
 * caller's.
 */
const FACTS = `
  SELECT json_build_object(
    'schema', n.nspname, 'name', c.relname, 'logged', quote_ident(n.nspname) || '.' || quote_ident(c.relname),
    'kind', c.relkind, 'persistence', c.relpersistence, 'identity', c.relreplident,
    'parent', EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid),
    'secured', row_security_active(c.oid),
    'columns', (
      SELECT json_agg(json_build_object(
               'name', a.attname, 'number', a.attnum, 'type', format_type(a.atttypid, -1), 'oid', a.atttypid::int8,
               'modifier', a.atttypmod, 'generated', a.attgenerated, 'domain', t.typtype = 'd',
               'large', a.attlen = -1 AND a.attstorage <> 'p', 'readable', has_column_privilege(c.oid, a.attnum, 'SELECT')
             ) ORDER BY a.attnum)
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    'key', (
      SELECT json_agg(a.attname ORDER BY k.place)
        FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, place), pg_attribute a
       WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND k.place <= i.indnkeyatts
         AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'n' THEN false ELSE i.indisprimary END
         AND a.attrelid = c.oid AND a.attnum = k.attnum),
    'policies', (
      SELECT json_agg(json_build_object('permissive', p.polpermissive, 'condition', pg_get_expr(p.polqual, p.polrelid)))
        FROM pg_policy p
       WHERE p.polrelid = c.oid AND p.polcmd IN ('r', '*') AND p.polqual IS NOT NULL
         AND EXISTS (SELECT FROM unnest(p.polroles) AS r(role)
                      WHERE CASE WHEN r.role = 0 THEN true ELSE pg_has_role(current_user, r.role, 'USAGE') END)),
    'plantable', EXISTS (
      SELECT FROM pg_policy p
        JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid
        LEFT JOIN pg_proc f ON d.refclassid = 'pg_proc'::regclass AND f.oid = d.refobjid
        LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
       WHERE p.polrelid = c.oid
         AND CASE WHEN coalesce(f.pronamespace, o.oprnamespace) IS NULL THEN false
                  ELSE has_schema_privilege(coalesce(f.pronamespace, o.oprnamespace), 'CREATE')
                    OR EXISTS (SELECT FROM pg_proc x
                                WHERE x.proname = f.proname AND x.pronamespace = f.pronamespace AND x.proowner <> f.proowner)
                    OR EXISTS (SELECT FROM pg_operator x
                                WHERE x.oprname = o.oprname AND x.oprnamespace = o.oprnamespace AND x.oprowner <> o.oprowner) END),
    'volatile', EXISTS (SELECT FROM pg_proc WHERE provolatile = 'v' AND proname = ANY ($2::text[]))
  )::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid`;

const Facts = z.object({
  schema: z.string(),
  name: z.string(),
  logged: z.string(),
  kind: z.string(),
  persistence: z.string(),
  identity: z.string(),
  parent: z.boolean(),
  secured: z.boolean(),
  columns: z
    .array(
      z.object({
        name: z.string(),
        number: z.number(),
        type: z.string(),
        oid: z.number(),
        modifier: z.number(),
        generated: z.string(),
        domain: z.boolean(),
        large: z.boolean(),
        readable: z.boolean(),
      }),
    )
    .nullable(),
  key: z.array(z.string()).nullable(),
  policies: z.array(z.object({ permissive: z.boolean(), condition: z.string() })).nullable(),
  plantable: z.boolean(),
  volatile: z.boolean(),
});

type Facts = z.output<typeof Facts>;

export const askForFacts = (oid: string, functions: string): Question => [FACTS, [oid, functions]];

export interface TableFacts {
  readonly table: ChangedTable;
  /** As the log names it. */
  readonly logged: string;
  /** The same as long as the table is what it was. */
  readonly definition: string;
  /** Columns whose values the log may leave out. */
  readonly large: readonly string[];
  /** What the policies demand of a row for the caller to see it; undefined if there is nothing to demand. */
  readonly condition: string | undefined;
  /** A changed row tells all that is needed to show it, and which row it was. */
  readonly isSuited: boolean;
  /** The policies cannot be asked without the danger of asking the caller's own functions. */
  readonly isPlantable: boolean;
}

export function readFacts(text: string): TableFacts {
  const facts = Facts.parse(JSON.parse(text));
  const { schema, name, logged, kind, persistence, identity, parent, secured, plantable } = facts;
  const columns = facts.columns ?? [];
  const key = (facts.key ?? []).flatMap((wanted) => columns.filter((column) => column.name === wanted));
  return {
    table: {
      name: `${quoteName(schema)}.${quoteName(name)}`,
      ownName: quoteName(name),
      columns: columns.map((column) => column.name),
      key: key.map((column) => ({ name: column.name, type: column.type })),
    },
    logged,
    definition: JSON.stringify([
      logged,
      kind,
      persistence,
      identity,
      parent,
      key,
      columns.map((column) => ({ ...column, readable: undefined })),
    ]),
    large: columns.filter(({ large }) => large).map((column) => column.name),
    condition: secured ? conditionOf(facts.policies ?? []) : undefined,
    isPlantable: secured && plantable,
    isSuited:
      kind === 'r' &&
      persistence === 'p' &&
      !parent &&
      !facts.volatile &&
      key.length > 0 &&
      columns.every(({ generated, domain }) => generated !== 'v' && !domain) &&
      // What the caller may not read cannot be read again for the policies.
      columns.every(({ large, readable }) => !large || readable || !secured),
  };
}

/** As PostgreSQL puts them together: one permissive policy at least, and every restrictive one. */
function conditionOf(policies: NonNullable<Facts['policies']>): string {
  const permissive = policies.filter((policy) => policy.permissive).map(({ condition }) => `(${condition})`);
  const restrictive = policies.filter((policy) => !policy.permissive).map(({ condition }) => `(${condition})`);
  return permissive.length === 0 ? 'false' : [`(${permissive.join(' OR ')})`, ...restrictive].join(' AND ');
}
