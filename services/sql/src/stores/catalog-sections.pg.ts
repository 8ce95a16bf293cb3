/**
 * What a catalog dump holds, section by section: each a query of one JSON object a row. Readable by any role; no column that
 * can hold a secret is among them (password hashes, options of user mappings, connection strings of subscriptions), and of
 * settings that may hold one the value is left out.
 */

const acl = (list: string): string => `
  case when ${list} is not null then coalesce((
    select json_agg(json_build_object(
      'grantee', case when grantee <> 0 then pg_get_userbyid(grantee) end, 'grantor', pg_get_userbyid(grantor),
      'privilege', privilege_type, 'grantable', is_grantable)) from aclexplode(${list})), '[]'::json) end`;

const comment = (oid: string, catalog: string): string => `obj_description(${oid}, '${catalog}')`;

/** The extension that the object is a part of. */
const extension = (oid: string, catalog: string): string => `(
  select e.extname from pg_depend d join pg_extension e on e.oid = d.refobjid
   where d.classid = '${catalog}'::regclass and d.objid = ${oid} and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e')`;

/** No object of a person's is in a schema that begins so. */
const isOwn = `n.nspname !~ '^pg_' and n.nspname <> 'information_schema'`;

/** Sorted before they are described, so that the server holds no descriptions. */
const relations = (kinds: string): string => `(
  select c.*, n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where c.relkind in (${kinds}) and ${isOwn} order by n.nspname collate "C", c.relname collate "C" offset 0) c`;

const columns = `(
  select coalesce(json_agg(json_build_object(
      'number', a.attnum, 'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'notNull', a.attnotnull,
      'default', case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end,
      'identity', case a.attidentity when 'a' then 'always' when 'd' then 'by default' end,
      'generated', case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end,
      'collation', (select format('%I.%I', cn.nspname, co.collname) from pg_collation co join pg_namespace cn on cn.oid = co.collnamespace
                     where co.oid = a.attcollation and a.attcollation <> (select typcollation from pg_type where oid = a.atttypid)),
      'acl', ${acl('a.attacl')}, 'comment', col_description(a.attrelid, a.attnum)) order by a.attnum), '[]'::json)
    from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
   where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)`;

const indexes = `(
  select coalesce(json_agg(json_build_object(
      'name', ic.relname, 'definition', pg_get_indexdef(i.indexrelid), 'primary', i.indisprimary, 'unique', i.indisunique,
      'valid', i.indisvalid, 'ready', i.indisready) order by ic.relname collate "C"), '[]'::json)
    from pg_index i join pg_class ic on ic.oid = i.indexrelid where i.indrelid = c.oid)`;

const constraints = `(
  select coalesce(json_agg(json_build_object(
      'name', k.conname, 'kind', case k.contype when 'p' then 'primary key' when 'u' then 'unique' when 'f' then 'foreign key'
        when 'c' then 'check' when 'x' then 'exclusion' when 'n' then 'not null' when 't' then 'trigger' end,
      'definition', pg_get_constraintdef(k.oid), 'validated', k.convalidated,
      'comment', ${comment('k.oid', 'pg_constraint')}) order by k.conname collate "C"), '[]'::json)
    from pg_constraint k where k.conrelid = c.oid)`;

const triggers = `(
  select coalesce(json_agg(json_build_object(
      'name', t.tgname, 'definition', pg_get_triggerdef(t.oid),
      'enabled', case t.tgenabled when 'O' then 'origin' when 'R' then 'replica' when 'A' then 'always' else 'disabled' end)
      order by t.tgname collate "C"), '[]'::json)
    from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal)`;

const policies = `(
  select coalesce(json_agg(json_build_object(
      'name', p.polname, 'permissive', p.polpermissive,
      'command', case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
      'roles', (select json_agg(case when r <> 0 then pg_get_userbyid(r) end) from unnest(p.polroles) r),
      'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid))
      order by p.polname collate "C"), '[]'::json)
    from pg_policy p where p.polrelid = c.oid)`;

const rules = `(
  select coalesce(json_agg(json_build_object('name', w.rulename, 'definition', pg_get_ruledef(w.oid)) order by w.rulename collate "C"), '[]'::json)
    from pg_rewrite w where w.ev_class = c.oid and w.rulename <> '_RETURN')`;

const about = (name: string, owner: string, list: string): string =>
  `'schema', c.nspname, 'name', ${name}, 'owner', pg_get_userbyid(${owner}), 'acl', ${acl(list)}`;

const ofRelation = `${about('c.relname', 'c.relowner', 'c.relacl')},
  'comment', ${comment('c.oid', 'pg_class')}, 'extension', ${extension('c.oid', 'pg_class')}`;

/** Settings that hold a password or a command that may, and those that no PostgreSQL knows: people keep keys in them. */
const isHidden = (name: string): string =>
  `(${name} like '%.%' or ${name} in ('primary_conninfo', 'ssl_passphrase_command', 'archive_command', 'restore_command',
    'archive_cleanup_command', 'recovery_end_command'))`;

const settingsOf = (list: string): string => `(
  select json_agg(json_build_object('name', s.name, 'value', case when not ${isHidden('s.name')} then s.value end, 'hidden', ${isHidden('s.name')}))
    from (select split_part(entry, '=', 1) as name, substr(entry, strpos(entry, '=') + 1) as value from unnest(${list}) entry) s)`;

export const SECTIONS = {
  databases: `
    select json_build_object(
        'name', d.datname, 'owner', pg_get_userbyid(d.datdba), 'encoding', pg_encoding_to_char(d.encoding), 'collate', d.datcollate,
        'ctype', d.datctype, 'template', d.datistemplate, 'allowsConnections', d.datallowconn, 'connectionLimit', d.datconnlimit,
        'served', d.datname = current_database(), 'acl', ${acl('d.datacl')}, 'comment', shobj_description(d.oid, 'pg_database'))
      from (select * from pg_database order by datname collate "C" offset 0) d`,
  roles: `
    select json_build_object(
        'name', r.rolname, 'canLogin', r.rolcanlogin, 'superuser', r.rolsuper, 'inherit', r.rolinherit, 'createRole', r.rolcreaterole,
        'createDatabase', r.rolcreatedb, 'replication', r.rolreplication, 'bypassesRowSecurity', r.rolbypassrls,
        'connectionLimit', r.rolconnlimit, 'validUntil', r.rolvaliduntil, 'comment', shobj_description(r.oid, 'pg_authid'),
        'memberOf', (
          select coalesce(json_agg(json_build_object('role', pg_get_userbyid(m.roleid), 'admin', m.admin_option)
                 order by pg_get_userbyid(m.roleid) collate "C"), '[]'::json)
            from pg_auth_members m where m.member = r.oid))
      from (select * from pg_roles order by rolname collate "C" offset 0) r`,
  roleSettings: `
    select json_build_object(
        'database', (select datname from pg_database where oid = s.setdatabase),
        'role', case when s.setrole <> 0 then pg_get_userbyid(s.setrole) end, 'settings', ${settingsOf('s.setconfig')})
      from (select * from pg_db_role_setting order by setdatabase, setrole offset 0) s`,
  settings: `
    select json_build_object(
        'name', s.name, 'value', case when not ${isHidden('s.name')} then s.setting end, 'hidden', ${isHidden('s.name')},
        'unit', s.unit, 'source', s.source)
      from (select * from pg_settings where source not in ('default', 'override', 'client', 'session') order by name collate "C" offset 0) s`,
  tablespaces: `
    select json_build_object('name', t.spcname, 'owner', pg_get_userbyid(t.spcowner), 'acl', ${acl('t.spcacl')}, 'options', t.spcoptions)
      from (select * from pg_tablespace order by spcname collate "C" offset 0) t`,
  schemas: `
    select json_build_object(
        'name', n.nspname, 'owner', pg_get_userbyid(n.nspowner), 'acl', ${acl('n.nspacl')},
        'comment', ${comment('n.oid', 'pg_namespace')}, 'extension', ${extension('n.oid', 'pg_namespace')})
      from (select * from pg_namespace n where ${isOwn} order by nspname collate "C" offset 0) n`,
  extensions: `
    select json_build_object(
        'name', e.extname, 'version', e.extversion, 'owner', pg_get_userbyid(e.extowner), 'relocatable', e.extrelocatable,
        'schema', (select nspname from pg_namespace where oid = e.extnamespace), 'comment', ${comment('e.oid', 'pg_extension')})
      from (select * from pg_extension order by extname collate "C" offset 0) e`,
  types: `
    select json_build_object(
        ${about('c.typname', 'c.typowner', 'c.typacl')},
        'kind', case c.typtype when 'e' then 'enum' when 'd' then 'domain' when 'r' then 'range' when 'c' then 'composite' else 'base' end,
        'labels', case when c.typtype = 'e' then (
          select json_agg(l.enumlabel order by l.enumsortorder) from pg_enum l where l.enumtypid = c.oid) end,
        'fields', case when c.typtype = 'c' then (
          select json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod)) order by a.attnum)
            from pg_attribute a where a.attrelid = c.typrelid and a.attnum > 0 and not a.attisdropped) end,
        'base', case when c.typtype = 'd' then format_type(c.typbasetype, c.typtypmod) end,
        'notNull', c.typnotnull, 'default', c.typdefault,
        'subtype', case when c.typtype = 'r' then (
          select format_type(g.rngsubtype, null) from pg_range g where g.rngtypid = c.oid) end,
        'constraints', case when c.typtype = 'd' then (
          select json_agg(json_build_object('name', k.conname, 'definition', pg_get_constraintdef(k.oid), 'validated', k.convalidated)
                 order by k.conname collate "C") from pg_constraint k where k.contypid = c.oid) end,
        'comment', ${comment('c.oid', 'pg_type')}, 'extension', ${extension('c.oid', 'pg_type')})
      from (
        select t.*, n.nspname from pg_type t join pg_namespace n on n.oid = t.typnamespace
         where ${isOwn} and t.typtype in ('b', 'c', 'd', 'e', 'r') and t.typelem = 0
           and (t.typtype <> 'c' or (select relkind from pg_class where oid = t.typrelid) = 'c')
         order by n.nspname collate "C", t.typname collate "C" offset 0) c`,
  tables: `
    select json_build_object(
        ${ofRelation},
        'kind', case c.relkind when 'p' then 'partitioned' when 'f' then 'foreign' else 'table' end,
        'persistence', case c.relpersistence when 'u' then 'unlogged' when 't' then 'temporary' else 'permanent' end,
        'partitionKey', case when c.relkind = 'p' then pg_get_partkeydef(c.oid) end,
        'partitionBound', pg_get_expr(c.relpartbound, c.oid),
        'parents', (
          select coalesce(json_agg(h.inhparent::regclass::text order by h.inhseqno), '[]'::json) from pg_inherits h where h.inhrelid = c.oid),
        'rowSecurity', c.relrowsecurity, 'rowSecurityForced', c.relforcerowsecurity, 'options', c.reloptions,
        'replicaIdentity', case c.relreplident when 'd' then 'default' when 'f' then 'full' when 'i' then 'index' else 'nothing' end,
        'server', (select s.srvname from pg_foreign_table f join pg_foreign_server s on s.oid = f.ftserver where f.ftrelid = c.oid),
        'columns', ${columns}, 'constraints', ${constraints}, 'indexes', ${indexes}, 'triggers', ${triggers},
        'policies', ${policies}, 'rules', ${rules})
      from ${relations(`'r', 'p', 'f'`)}`,
  views: `
    select json_build_object(
        ${ofRelation},
        'kind', case c.relkind when 'm' then 'materialized' else 'view' end, 'definition', pg_get_viewdef(c.oid),
        'populated', c.relispopulated, 'options', c.reloptions, 'columns', ${columns}, 'indexes', ${indexes}, 'triggers', ${triggers},
        'rules', ${rules})
      from ${relations(`'v', 'm'`)}`,
  sequences: `
    select json_build_object(
        ${ofRelation},
        'type', format_type(s.seqtypid, null), 'start', s.seqstart::text, 'increment', s.seqincrement::text, 'min', s.seqmin::text,
        'max', s.seqmax::text, 'cache', s.seqcache::text, 'cycle', s.seqcycle,
        'ownedBy', (
          select format('%s.%I', d.refobjid::regclass, a.attname) from pg_depend d
            join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
           where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i') and d.refobjsubid > 0 limit 1))
      from ${relations(`'S'`)} join pg_sequence s on s.seqrelid = c.oid`,
  functions: `
    select json_build_object(
        ${about('c.proname', 'c.proowner', 'c.proacl')},
        'arguments', pg_get_function_identity_arguments(c.oid), 'result', pg_get_function_result(c.oid),
        'kind', case c.prokind when 'p' then 'procedure' when 'a' then 'aggregate' when 'w' then 'window' else 'function' end,
        'language', (select lanname from pg_language where oid = c.prolang), 'securityDefiner', c.prosecdef,
        'volatility', case c.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
        'definition', case when c.prokind <> 'a' then pg_get_functiondef(c.oid) end,
        'aggregate', case when c.prokind = 'a' then (
          select json_build_object('transition', g.aggtransfn::text, 'final', nullif(g.aggfinalfn::text, '-'),
                 'state', format_type(g.aggtranstype, null), 'initial', g.agginitval)
            from pg_aggregate g where g.aggfnoid = c.oid) end,
        'comment', ${comment('c.oid', 'pg_proc')}, 'extension', ${extension('c.oid', 'pg_proc')})
      from (
        select p.*, n.nspname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
         where ${isOwn} order by n.nspname collate "C", p.proname collate "C", p.oid offset 0) c`,
  operators: `
    select json_build_object(
        'schema', c.nspname, 'name', c.oprname, 'owner', pg_get_userbyid(c.oprowner),
        'left', case when c.oprleft <> 0 then format_type(c.oprleft, null) end, 'right', format_type(c.oprright, null),
        'result', format_type(c.oprresult, null), 'function', c.oprcode::text, 'extension', ${extension('c.oid', 'pg_operator')})
      from (
        select o.*, n.nspname from pg_operator o join pg_namespace n on n.oid = o.oprnamespace
         where ${isOwn} order by n.nspname collate "C", o.oprname collate "C", o.oid offset 0) c`,
  collations: `
    select json_build_object(
        'schema', c.nspname, 'name', c.collname, 'owner', pg_get_userbyid(c.collowner), 'collate', c.collcollate, 'ctype', c.collctype,
        'deterministic', c.collisdeterministic, 'version', c.collversion, 'extension', ${extension('c.oid', 'pg_collation')})
      from (
        select o.*, n.nspname from pg_collation o join pg_namespace n on n.oid = o.collnamespace
         where ${isOwn} order by n.nspname collate "C", o.collname collate "C" offset 0) c`,
  casts: `
    select json_build_object(
        'source', format_type(k.castsource, null), 'target', format_type(k.casttarget, null),
        'function', case when k.castfunc <> 0 then k.castfunc::regprocedure::text end,
        'context', case k.castcontext when 'e' then 'explicit' when 'a' then 'assignment' else 'implicit' end,
        'extension', ${extension('k.oid', 'pg_cast')})
      from (select * from pg_cast where oid >= 16384 order by oid offset 0) k`,
  statistics: `
    select json_build_object(
        'schema', c.nspname, 'name', c.stxname, 'owner', pg_get_userbyid(c.stxowner), 'definition', pg_get_statisticsobjdef(c.oid))
      from (
        select s.*, n.nspname from pg_statistic_ext s join pg_namespace n on n.oid = s.stxnamespace
         where ${isOwn} order by n.nspname collate "C", s.stxname collate "C" offset 0) c`,
  textSearchConfigurations: `
    select json_build_object(
        'schema', c.nspname, 'name', c.cfgname, 'owner', pg_get_userbyid(c.cfgowner),
        'parser', (select prsname from pg_ts_parser where oid = c.cfgparser), 'extension', ${extension('c.oid', 'pg_ts_config')})
      from (
        select t.*, n.nspname from pg_ts_config t join pg_namespace n on n.oid = t.cfgnamespace
         where ${isOwn} order by n.nspname collate "C", t.cfgname collate "C" offset 0) c`,
  languages: `
    select json_build_object(
        'name', l.lanname, 'owner', pg_get_userbyid(l.lanowner), 'trusted', l.lanpltrusted, 'acl', ${acl('l.lanacl')},
        'extension', ${extension('l.oid', 'pg_language')})
      from (select * from pg_language order by lanname collate "C" offset 0) l`,
  eventTriggers: `
    select json_build_object(
        'name', t.evtname, 'owner', pg_get_userbyid(t.evtowner), 'event', t.evtevent, 'function', t.evtfoid::regprocedure::text,
        'tags', t.evttags,
        'enabled', case t.evtenabled when 'O' then 'origin' when 'R' then 'replica' when 'A' then 'always' else 'disabled' end)
      from (select * from pg_event_trigger order by evtname collate "C" offset 0) t`,
  publications: `
    select json_build_object(
        'name', p.pubname, 'owner', pg_get_userbyid(p.pubowner), 'allTables', p.puballtables, 'insert', p.pubinsert,
        'update', p.pubupdate, 'delete', p.pubdelete, 'truncate', p.pubtruncate, 'viaRoot', p.pubviaroot,
        'tables', (select coalesce(json_agg(r.prrelid::regclass::text order by r.prrelid::regclass::text collate "C"), '[]'::json)
                     from pg_publication_rel r where r.prpubid = p.oid))
      from (select * from pg_publication order by pubname collate "C" offset 0) p`,
  subscriptions: `
    select json_build_object('name', s.subname, 'owner', pg_get_userbyid(s.subowner), 'enabled', s.subenabled, 'publications', s.subpublications)
      from (select subname, subowner, subenabled, subpublications from pg_subscription
             where subdbid = (select oid from pg_database where datname = current_database()) order by subname collate "C" offset 0) s`,
  foreignServers: `
    select json_build_object(
        'name', s.srvname, 'owner', pg_get_userbyid(s.srvowner), 'wrapper', (select fdwname from pg_foreign_data_wrapper where oid = s.srvfdw),
        'type', s.srvtype, 'version', s.srvversion, 'acl', ${acl('s.srvacl')},
        'options', (select json_agg(split_part(o, '=', 1)) from unnest(s.srvoptions) o),
        'users', (select coalesce(json_agg(m.usename order by m.usename collate "C"), '[]'::json) from pg_user_mappings m where m.srvid = s.oid))
      from (select * from pg_foreign_server order by srvname collate "C" offset 0) s`,
  defaultPrivileges: `
    select json_build_object(
        'role', pg_get_userbyid(d.defaclrole), 'schema', (select nspname from pg_namespace where oid = d.defaclnamespace),
        'kind', case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types'
          when 'n' then 'schemas' else 'large objects' end, 'acl', ${acl('d.defaclacl')})
      from (select * from pg_default_acl order by oid offset 0) d`,
} as const;

/** Head of the dump: of when and of what it is. */
export const SNAPSHOT = `
  select json_build_object(
    'takenAt', transaction_timestamp(), 'takenBy', session_user, 'database', current_database(), 'serverVersion', current_setting('server_version'),
    'serverVersionNumber', current_setting('server_version_num')::int, 'encoding', current_setting('server_encoding'),
    'inRecovery', pg_is_in_recovery())`;
