/** Questions that a sound catalog answers with no rows: what kind of fault, of what, and in words. */
import type { Inconsistency } from '../domain/inspections.ts';
import type { Asking } from './asking.pg.ts';

/** More of one kind say nothing new. */
const OF_A_KIND_MAX = 200;

const dangling = (catalog: string, column: string, target: string): string => `
  select 'orphan', format('%s %s', '${catalog}', o.oid), format('its ${column} %s is not in ${target}', o.${column})
    from ${catalog} o where o.${column} <> 0 and not exists (select from ${target} t where t.oid = o.${column})`;

const ofRelation = (catalog: string, column: string): string => `
  select 'orphan', format('%s of relation %s', '${catalog}', o.${column}), 'its relation is not in pg_class'
    from ${catalog} o where o.${column} <> 0 and not exists (select from pg_class t where t.oid = o.${column})`;

/** A dependency leads to objects of these catalogs, which every role may read. */
const DEPENDED_ON = [
  'pg_class',
  'pg_proc',
  'pg_type',
  'pg_namespace',
  'pg_extension',
  'pg_constraint',
  'pg_operator',
  'pg_collation',
];

export const CATALOG_CHECKS: readonly string[] = [
  // One that is being built is invalid as well.
  `select 'invalid index', i.indexrelid::regclass::text, 'it is not valid: drop it, or REINDEX'
     from pg_index i where not (i.indisvalid and i.indisready and i.indislive)
      and not exists (select from pg_stat_progress_create_index p where p.index_relid = i.indexrelid)
      and (select relkind from pg_class where oid = i.indexrelid) <> 'I'`,
  `select 'constraint not validated', format('%s on %s', k.conname, case when k.conrelid <> 0 then k.conrelid::regclass::text else k.contypid::regtype::text end),
          'rows from before it was made may break it: ALTER … VALIDATE CONSTRAINT'
     from pg_constraint k where not k.convalidated and coalesce(to_jsonb(k) ->> 'conenforced', 'true') = 'true'`,
  `select 'foreign key not enforced', format('%s on %s', k.conname, t.tgrelid::regclass), 'its trigger is disabled'
     from pg_trigger t join pg_constraint k on k.oid = t.tgconstraint where t.tgisinternal and t.tgenabled = 'D'`,
  `select 'extension version', e.extname, format('its version %s is not installed on the server', e.extversion)
     from pg_extension e
    where not exists (select from pg_available_extension_versions() v where v.name = e.extname and v.version = e.extversion)`,
  `select 'collation version', k.collname, format('an index was built with version %s, the system has %s: REINDEX, then ALTER COLLATION … REFRESH VERSION',
          k.collversion, pg_collation_actual_version(k.oid))
     from pg_collation k where k.collversion is not null and k.collversion <> pg_collation_actual_version(k.oid)
      and exists (select from pg_index i where k.oid = any (i.indcollation))`,
  `select 'collation version', d.datname, format('it was made with version %s, the system has %s: REINDEX DATABASE, then ALTER DATABASE … REFRESH COLLATION VERSION',
          d.datcollversion, pg_database_collation_actual_version(d.oid))
     from pg_database d where d.datname = current_database() and d.datcollversion <> pg_database_collation_actual_version(d.oid)`,
  ...DEPENDED_ON.map(
    (catalog) => `
      select 'orphan', format('dependency of %s %s', d.classid::regclass, d.objid), format('${catalog} %s is not there', d.refobjid)
        from pg_depend d where d.refclassid = '${catalog}'::regclass and not exists (select from ${catalog} o where o.oid = d.refobjid)`,
  ),
  `select 'orphan', format('owner of %s %s', s.classid::regclass, s.objid), format('role %s is not there', s.refobjid)
     from pg_shdepend s where s.refclassid = 'pg_authid'::regclass and s.deptype = 'o'
      and s.dbid = (select oid from pg_database where datname = current_database())
      and not exists (select from pg_roles r where r.oid = s.refobjid)`,
  dangling('pg_class', 'relnamespace', 'pg_namespace'),
  dangling('pg_class', 'relowner', 'pg_roles'),
  dangling('pg_class', 'reltype', 'pg_type'),
  dangling('pg_proc', 'pronamespace', 'pg_namespace'),
  dangling('pg_proc', 'prolang', 'pg_language'),
  dangling('pg_type', 'typnamespace', 'pg_namespace'),
  dangling('pg_type', 'typrelid', 'pg_class'),
  dangling('pg_constraint', 'conrelid', 'pg_class'),
  ofRelation('pg_attribute', 'attrelid'),
  ofRelation('pg_index', 'indexrelid'),
  ofRelation('pg_index', 'indrelid'),
  ofRelation('pg_trigger', 'tgrelid'),
  `select 'orphan', format('column %s of %s', a.attname, a.attrelid::regclass), format('its type %s is not in pg_type', a.atttypid)
     from pg_attribute a where a.attnum > 0 and not a.attisdropped and not exists (select from pg_type t where t.oid = a.atttypid)`,
  `select 'columns', c.oid::regclass::text, format('it says it has %s columns, and has %s', c.relnatts, count(a.attnum))
     from pg_class c left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
    group by c.oid having c.relnatts <> count(a.attnum)`,
];

export async function readInconsistencies(asking: Asking, checks: readonly string[]): Promise<readonly Inconsistency[]> {
  const found: Inconsistency[] = [];
  for (const check of checks) {
    for (const [kind, object, message] of await asking.ask([`${check} limit ${OF_A_KIND_MAX}`]))
      found.push({ kind: kind ?? '', object: object ?? '', message: message ?? '' });
  }
  return found;
}
