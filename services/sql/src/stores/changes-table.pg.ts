/** What the catalog says of a table whose changed rows are shown, read with nothing but pg_catalog in the search path. */
import { z } from 'zod';

import type { ChangedTable } from '../domain/changes-query.ts';
import { quoteName } from '../domain/changes-query.ts';
import type { Question } from './changes-asking.pg.ts';

/** What a policy may consist of for its judgement of a row to be the same at any time. */
const STEADY_NODES = [
  ...['VAR', 'CONST', 'OPEXPR', 'FUNCEXPR', 'BOOLEXPR', 'SCALARARRAYOPEXPR', 'DISTINCTEXPR', 'NULLIFEXPR', 'NULLTEST'],
  ...['BOOLEANTEST', 'RELABELTYPE', 'SQLVALUEFUNCTION', 'CASEEXPR', 'CASEWHEN', 'CASETESTEXPR', 'COALESCEEXPR', 'ARRAYEXPR'],
];

/**
 * The policies are printed as text that names everything by its schema. `steady`: one depends on nothing but the row, constants,
 * who asks, and immutable functions of `pg_catalog`, as its stored tree says: its judgement of a row that has been replaced since
 * is the one of that time. CURRENT_USER and its like are 9 to 13; there are system columns and whole rows from 0 downwards.
 */
const FACTS = `
  SELECT json_build_object(
    'schema', n.nspname, 'name', c.relname, 'logged', quote_ident(n.nspname) || '.' || quote_ident(c.relname),
    'kind', c.relkind, 'persistence', c.relpersistence, 'identity', c.relreplident,
    'parent', EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid),
    'secured', row_security_active(c.oid), 'user', current_user,
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
      SELECT json_agg(json_build_object(
               'permissive', p.polpermissive, 'condition', pg_get_expr(p.polqual, p.polrelid),
               'steady', NOT EXISTS (
                 SELECT FROM regexp_matches(p.polqual::text, '\\{([A-Z_]+)', 'g') AS m(found)
                  WHERE found[1] <> ALL ('{${STEADY_NODES.join(',')}}'::text[])) AND NOT EXISTS (
                 SELECT FROM regexp_matches(p.polqual::text, ':(?:op)?funcid ([0-9]+)', 'g') AS m(found)
                   LEFT JOIN pg_proc f ON f.oid = found[1]::oid
                  WHERE f.oid IS NULL OR f.pronamespace <> 'pg_catalog'::regnamespace OR f.provolatile <> 'i') AND NOT EXISTS (
                 SELECT FROM regexp_matches(p.polqual::text, '\\{SQLVALUEFUNCTION :op ([0-9]+)', 'g') AS m(found)
                  WHERE found[1]::int NOT BETWEEN 9 AND 13) AND NOT EXISTS (
                 SELECT FROM regexp_matches(p.polqual::text, ':varattno (-?[0-9]+)', 'g') AS m(found)
                  WHERE found[1]::int <= 0),
               'columns', (
                 SELECT json_agg(DISTINCT found[1]::int)
                   FROM regexp_matches(p.polqual::text, ':varattno ([0-9]+)', 'g') AS m(found))
             ) ORDER BY p.oid)
        FROM pg_policy p
       WHERE p.polrelid = c.oid AND p.polcmd IN ('r', '*') AND p.polqual IS NOT NULL
         AND EXISTS (SELECT FROM unnest(p.polroles) AS r(role)
                      WHERE CASE WHEN r.role = 0 THEN true ELSE pg_has_role(current_user, r.role, 'USAGE') END)),
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
  user: z.string(),
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
  policies: z
    .array(
      z.object({
        permissive: z.boolean(),
        condition: z.string(),
        steady: z.boolean(),
        columns: z.array(z.number()).nullable(),
      }),
    )
    .nullable(),
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
  /** Columns that this depends on. */
  readonly judgedBy: ReadonlySet<string>;
  /** A changed row tells all that is needed to show it, and which row it was. */
  readonly isSuited: boolean;
}

export function readFacts(text: string): TableFacts {
  const facts = Facts.parse(JSON.parse(text));
  const { schema, name, logged, kind, persistence, identity, parent, secured, user } = facts;
  const columns = facts.columns ?? [];
  const policies = secured ? (facts.policies ?? []) : [];
  const judgedBy = new Set(policies.flatMap((policy) => policy.columns ?? []));
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
      secured,
      user,
      policies,
      key,
      columns.map((column) => ({ ...column, readable: undefined })),
    ]),
    large: columns.filter(({ large }) => large).map((column) => column.name),
    condition: secured ? conditionOf(policies) : undefined,
    judgedBy: new Set(columns.filter(({ number }) => judgedBy.has(number)).map(({ name: column }) => column)),
    isSuited:
      kind === 'r' &&
      persistence === 'p' &&
      !parent &&
      !facts.volatile &&
      policies.every(({ steady }) => steady) &&
      key.length > 0 &&
      columns.every(({ generated, domain }) => generated !== 'v' && !domain) &&
      // What the caller may not read cannot be read again.
      columns.every(({ large, readable }) => !large || readable),
  };
}

/** As PostgreSQL puts them together: one permissive policy at least, and every restrictive one. */
function conditionOf(policies: NonNullable<Facts['policies']>): string {
  const permissive = policies.filter((policy) => policy.permissive).map(({ condition }) => `(${condition})`);
  const restrictive = policies.filter((policy) => !policy.permissive).map(({ condition }) => `(${condition})`);
  return permissive.length === 0 ? 'false' : [`(${permissive.join(' OR ')})`, ...restrictive].join(' AND ');
}
