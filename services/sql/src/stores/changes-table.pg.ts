/** What the catalog says of a table whose changed rows are shown, read with nothing but pg_catalog in the search path. */
import { z } from 'zod';

import type { ChangedTable, Named } from '../domain/changes-query.ts';
import { arrayLiteral, quoteName } from '../domain/changes-query.ts';
import type { Question } from './asking.pg.ts';

/** What a policy may consist of for its judgement of a row to be the same at any time. */
const STEADY_NODES =
  'VAR,CONST,OPEXPR,FUNCEXPR,BOOLEXPR,SCALARARRAYOPEXPR,DISTINCTEXPR,NULLIFEXPR,NULLTEST,BOOLEANTEST,RELABELTYPE,SQLVALUEFUNCTION,' +
  'CASEEXPR,CASEWHEN,CASETESTEXPR,COALESCEEXPR,ARRAYEXPR';

/** They depend on the settings of the session alone. */
const STEADY_FUNCTIONS =
  'concat,concat_ws,format,to_char,to_date,to_timestamp,date_trunc,date_part,date_bin,extract,date,time,timetz,timestamp,timestamptz,timezone,' +
  'to_json,to_jsonb,row_to_json,json_build_object,jsonb_build_object,json_build_array,jsonb_build_array,array_to_json,array_to_string';

/** Where the caller's names are looked for; nothing else knows it once our own search path is set. */
export const SCHEMAS = "pg_catalog.set_config('postern.schemas', pg_catalog.current_schemas(true)::pg_catalog.text, true)";

/**
 * The policies are printed as text that names everything by its schema. `steady`: one depends on nothing but the row, constants,
 * who asks, and immutable functions of `pg_catalog`, as its stored tree says: its judgement of a row that has been replaced since
 * is the one of that time. CURRENT_USER and its like are 9 to 13; there are system columns and whole rows from 0 downwards.
 *
 * `made`: a table that is renamed has its row type written anew, and a column that is altered its own row of the catalog: both tell of
 * what was undone again, and of rows that were written anew without a word in the log. So do `version`, the rows of the table itself
 * and of its key's index, for what leaves no other trace, such as REPLICA IDENTITY, but also after a grant, and `storage`, as for UNLOGGED, which is
 * new after a TRUNCATE too. `foreign`: the query may call something that is not of `pg_catalog`, or may be another thing at another time; of
 * a column, that its values are not read in the same way everywhere.
 */
const FACTS = `
  SELECT json_build_object(
    'schema', n.nspname, 'name', c.relname, 'logged', quote_ident(n.nspname) || '.' || quote_ident(c.relname),
    'kind', c.relkind, 'persistence', c.relpersistence, 'identity', c.relreplident,
    'parent', EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid),
    'secured', row_security_active(c.oid), 'user', current_user,
    'made', (SELECT t.xmin::text FROM pg_type t WHERE t.oid = c.reltype),
    'version', c.xmin || ' ' || (
      SELECT coalesce(string_agg(i.indexrelid || ' ' || i.xmin, ' ' ORDER BY i.indexrelid), '')
        FROM pg_index i WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident)),
    'storage', c.relfilenode::text, 'place', pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::text,
    'columns', (
      SELECT json_agg(json_build_object(
               'name', a.attname, 'made', a.xmin::text, 'number', a.attnum, 'type', format_type(a.atttypid, -1), 'oid', a.atttypid::int8,
               'modifier', a.atttypmod, 'generated', a.attgenerated, 'domain', t.typtype = 'd',
               'foreign', t.typnamespace <> 'pg_catalog'::regnamespace AND t.typtype <> 'e' OR t.oid IN ('money'::regtype, 'money[]'::regtype),
               'large', a.attlen = -1 AND a.attstorage <> 'p', 'readable', has_column_privilege(c.oid, a.attnum, 'SELECT'),
               'labels', (SELECT json_agg(format('%s %s %s', e.oid, e.xmin, e.enumlabel)) FROM pg_enum e WHERE e.enumtypid = t.oid)
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
                  WHERE found[1] <> ALL ('{${STEADY_NODES}}'::text[])) AND NOT EXISTS (
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
    'foreign', EXISTS (
      SELECT FROM pg_proc f
       WHERE f.proname = ANY ($2::text[])
         AND CASE WHEN f.pronamespace <> 'pg_catalog'::regnamespace THEN f.pronamespace = ANY (schemas.found)
                  ELSE f.provolatile = 'v' OR f.provolatile = 's' AND f.proname <> ALL ('{${STEADY_FUNCTIONS}}'::text[]) END) OR EXISTS (
      SELECT FROM pg_type t
       WHERE t.typname = ANY ($2::text[]) AND t.typnamespace <> 'pg_catalog'::regnamespace AND t.typnamespace = ANY (schemas.found)
      ) OR EXISTS (
      SELECT FROM pg_operator o
       WHERE o.oprname = ANY ($3::text[]) AND o.oprnamespace <> 'pg_catalog'::regnamespace AND o.oprnamespace = ANY (schemas.found)
         AND NOT EXISTS (
           SELECT FROM pg_type t
            WHERE t.oid IN (o.oprleft, o.oprright) AND t.typnamespace <> 'pg_catalog'::regnamespace AND t.typtype <> 'e')) OR EXISTS (
      SELECT FROM pg_cast k JOIN pg_proc f ON f.oid = k.castfunc
       WHERE f.pronamespace <> 'pg_catalog'::regnamespace
         AND EXISTS (SELECT FROM pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.atttypid IN (k.castsource, k.casttarget)))
  )::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
       LATERAL (SELECT array_agg(s.oid) AS found FROM pg_namespace s
                 WHERE s.nspname = ANY (current_setting('postern.schemas')::text[])) AS schemas
 WHERE c.oid = $1::oid`;

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
  made: z.string(),
  version: z.string(),
  storage: z.string(),
  place: z.string(),
  columns: z
    .array(
      z.object({
        name: z.string(),
        made: z.string(),
        number: z.number(),
        type: z.string(),
        oid: z.number(),
        modifier: z.number(),
        generated: z.string(),
        domain: z.boolean(),
        foreign: z.boolean(),
        large: z.boolean(),
        readable: z.boolean(),
        labels: z.array(z.string()).nullable(),
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
  foreign: z.boolean(),
});

type Facts = z.output<typeof Facts>;

/** Behind `SCHEMAS`, in the same transaction. */
export const askForFacts = (oid: string, { names, operators }: Named): Question => [
  FACTS,
  [oid, arrayLiteral(names), arrayLiteral(operators)],
];

/** The table's own rows of the catalog, and when they were read: all that is seen in it was logged before this place. */
export interface TableRow {
  readonly version: string;
  readonly storage: string;
  readonly place: bigint;
}

export interface TableFacts {
  readonly table: ChangedTable;
  /** As the log names it. */
  readonly logged: string;
  /** The same as long as the table is what it was. */
  readonly definition: string;
  readonly row: TableRow;
  /** Of enumerated types: each value with its version. Those that were there stay as they were. */
  readonly labels: ReadonlySet<string>;
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
  const { schema, name, logged, kind, persistence, identity, parent, secured, user, made, version, storage, place } = facts;
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
      made,
      facts.foreign,
      secured,
      user,
      policies,
      key,
      columns.map((column) => ({ ...column, readable: undefined, labels: undefined })),
    ]),
    row: { version, storage, place: BigInt(place) },
    labels: new Set(columns.flatMap(({ labels }) => labels ?? [])),
    large: columns.filter(({ large }) => large).map((column) => column.name),
    condition: secured ? conditionOf(policies) : undefined,
    judgedBy: new Set(columns.filter(({ number }) => judgedBy.has(number)).map(({ name: column }) => column)),
    isSuited:
      kind === 'r' &&
      persistence === 'p' &&
      !parent &&
      !facts.foreign &&
      policies.every(({ steady }) => steady) &&
      key.length > 0 &&
      columns.every(({ generated, domain, foreign }) => generated !== 'v' && !domain && !foreign) &&
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
