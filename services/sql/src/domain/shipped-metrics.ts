/** The metrics for those who define none: what the reference's families mean on PostgreSQL, and what else says how a server is. */
import type { MetricFamily, MetricPages } from './sql-metrics.ts';
import { FAMILY_TIMEOUT_MS, SERIES_DEFAULT } from './sql-metrics.ts';

type Definition = Pick<MetricFamily, 'name' | 'help' | 'query'> & Partial<Pick<MetricFamily, 'requires'>>;

const gauges = (...definitions: readonly Definition[]): MetricFamily[] =>
  definitions.map((definition) => ({ ...definition, value: 'value', series: SERIES_DEFAULT, timeoutMs: FAMILY_TIMEOUT_MS }));

/** A table or an index each; a database may have any number of them. */
const LARGEST = 50;

const OWN = `n.nspname !~ '^pg_' and n.nspname <> 'information_schema'`;

const relations = (kinds: string): string =>
  `pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind in (${kinds}) and ${OWN}`;

const count = (kinds: string): string => `select count(*) as value from ${relations(kinds)}`;

/** Where the log is: written here, or replayed on a standby. */
const POSITION = `case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end`;

export const shippedMetrics: MetricPages = {
  mz_usage: gauges(
    { name: 'mz_tables_count', help: 'Tables', query: count(`'r', 'p'`) },
    { name: 'mz_views_count', help: 'Views', query: count(`'v'`) },
    { name: 'mz_mzd_views_count', help: 'Materialized views', query: count(`'m'`) },
    {
      name: 'mz_indexes_count',
      help: 'Indexes, by what they are on',
      query: `select case c.relkind when 'm' then 'materialized-view' when 't' then 'toast' else 'table' end as relation_type, count(*) as value
                from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indrelid
                join pg_catalog.pg_namespace n on n.oid = c.relnamespace where ${OWN} group by 1`,
    },
    {
      name: 'mz_sources_count',
      help: 'Subscriptions and foreign tables: what brings rows from elsewhere',
      query: `
        select (select count(subname) from pg_catalog.pg_subscription s join pg_catalog.pg_database d on d.oid = s.subdbid where d.datname = current_database())
             + (${count(`'f'`).replace(' as value', '')}) as value`,
    },
    {
      name: 'mz_sinks_count',
      help: 'Publications: what sends rows elsewhere',
      query: 'select count(*) as value from pg_catalog.pg_publication',
    },
    {
      name: 'mz_connections_count',
      help: 'Foreign servers, by the wrapper that reaches them',
      query: `select w.fdwname as type, count(*) as value from pg_catalog.pg_foreign_server s
                join pg_catalog.pg_foreign_data_wrapper w on w.oid = s.srvfdw group by 1`,
    },
    {
      name: 'mz_catalog_items',
      help: 'Objects of the catalog, by kind',
      query: `select case c.relkind when 'r' then 'table' when 'p' then 'table' when 'v' then 'view' when 'm' then 'materialized-view'
                     when 'i' then 'index' when 'I' then 'index' when 'S' then 'sequence' when 'f' then 'foreign-table' else 'type' end as type,
                     count(*) as value
                from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where ${OWN} group by 1
               union all
              select 'function', count(*) from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace where ${OWN}`,
    },
    {
      name: 'mz_object_id',
      help: 'The largest object identifier of a relation',
      query: 'select max(oid::bigint) as value from pg_catalog.pg_class',
    },
    {
      name: 'postern_pg_extensions',
      help: 'Extensions, by name and version; always 1',
      query: 'select extname as name, extversion as version, 1 as value from pg_catalog.pg_extension',
    },
    {
      name: 'postern_pg_settings_pending_restart',
      help: 'Settings that were changed and wait for a restart of the server',
      query: 'select count(*) as value from pg_catalog.pg_settings where pending_restart',
    },
  ),
  mz_frontier: gauges(
    {
      name: 'mz_write_frontier',
      help: 'Position of the write-ahead log, in bytes',
      query: `select (${POSITION} - '0/0')::text as value`,
    },
    {
      name: 'mz_read_frontier',
      help: 'The oldest transaction that a snapshot taken now still has to wait for',
      query: 'select pg_snapshot_xmin(pg_current_snapshot())::text as value',
    },
    {
      name: 'mz_replica_write_frontiers',
      help: 'Position up to which who receives the write-ahead log has taken it, in bytes',
      query: `select application_name as replica, client_addr::text as address, max(replay_lsn - '0/0')::text as value
                from pg_catalog.pg_stat_replication group by 1, 2`,
    },
    {
      name: 'postern_pg_replication_slot_lag_bytes',
      help: 'Write-ahead log that is kept for a slot',
      query: `select slot_name as slot, slot_type as type, active::text as active, coalesce(${POSITION} - restart_lsn, 0)::text as value
                from pg_catalog.pg_replication_slots`,
    },
    {
      name: 'postern_pg_snapshot_age_transactions',
      help: 'Age of the oldest snapshot that is held, by who holds it: nothing younger can be cleaned up',
      query: `select 'session' as holder, coalesce(max(age(backend_xmin)), 0) as value from pg_catalog.pg_stat_activity
               union all select 'slot', coalesce(max(greatest(age(xmin), age(catalog_xmin))), 0) from pg_catalog.pg_replication_slots
               union all select 'prepared transaction', coalesce(max(age(transaction)), 0) from pg_catalog.pg_prepared_xacts`,
    },
    {
      name: 'postern_pg_database_age_transactions',
      help: 'Age of the oldest transaction that a database still knows; it must stay below two thousand million',
      query: 'select datname as database, age(datfrozenxid) as value from pg_catalog.pg_database',
    },
  ),
  mz_compute: gauges(
    {
      name: 'mz_compute_replica_peek_count',
      help: 'Statements that run',
      query: `select count(*) as value from pg_catalog.pg_stat_activity where state = 'active' and pid <> pg_backend_pid()`,
    },
    {
      name: 'postern_pg_connections',
      help: 'Sessions, by database and state; those whose state the reader may not see have an empty one',
      query: `select datname as database, state as state, count(*) as value from pg_catalog.pg_stat_activity where backend_type = 'client backend' or (backend_type is null and datname is not null) group by 1, 2`,
    },
    {
      name: 'postern_pg_connections_max',
      help: 'Sessions that the server takes',
      query: `select current_setting('max_connections') as value`,
    },
    {
      name: 'postern_pg_waiting',
      help: 'Sessions that wait, by what for',
      query: `select wait_event_type as type, count(*) as value from pg_catalog.pg_stat_activity where state = 'active' and wait_event_type is not null group by 1`,
    },
    {
      name: 'postern_pg_longest_transaction_seconds',
      help: 'Age of the oldest transaction under way, by database',
      query: `select datname as database, extract(epoch from max(clock_timestamp() - xact_start)) as value from pg_catalog.pg_stat_activity
               where xact_start is not null and datname is not null and pid <> pg_backend_pid() group by 1`,
    },
    ...['xact_commit', 'xact_rollback', 'blks_read', 'blks_hit', 'deadlocks', 'temp_bytes', 'conflicts'].map((column) => ({
      name: `postern_pg_database_${column}`,
      help: `pg_stat_database.${column}, since the statistics were reset`,
      query: `select datname as database, ${column} as value from pg_catalog.pg_stat_database where datname is not null`,
    })),
    ...[
      ['calls', 'Statements that were run', 'sum(calls)'],
      ['seconds', 'Time that statements have taken', 'sum(total_exec_time) / 1000'],
      ['rows', 'Rows that statements have answered or changed', 'sum(rows)'],
      ['blocks_read', 'Blocks that statements have read from disk', 'sum(shared_blks_read)'],
    ].map(([suffix, help, value]) => ({
      name: `postern_pg_statements_${suffix}`,
      help: `${help}, by database, from pg_stat_statements`,
      requires: 'pg_stat_statements',
      query: `select d.datname as database, ${value} as value from pg_stat_statements s join pg_catalog.pg_database d on d.oid = s.dbid group by 1`,
    })),
  ),
  mz_storage: gauges(
    {
      name: 'mz_storage_objects',
      help: 'Relations that have storage of their own, by kind',
      query: `select case c.relkind when 'r' then 'table' when 'm' then 'materialized-view' when 'i' then 'index' when 'S' then 'sequence' else 'toast' end as type,
                     count(*) as value from ${relations(`'r', 'm', 'i', 'S', 't'`)} group by 1`,
    },
    {
      name: 'postern_pg_database_size_bytes',
      help: 'Size of a database that the reader may connect to',
      query: `select datname as database, pg_database_size(oid) as value from pg_catalog.pg_database where has_database_privilege(oid, 'connect')`,
    },
    {
      name: 'postern_pg_table_size_bytes',
      help: `Size of a table with what is stored beside it, without its indexes; the ${LARGEST} largest`,
      query: `select n.nspname as schema, c.relname as name, pg_table_size(c.oid) as value from ${relations(`'r', 'm'`)}
               order by c.relpages desc, c.oid limit ${LARGEST}`,
    },
    {
      name: 'postern_pg_index_size_bytes',
      help: `Size of an index; the ${LARGEST} largest`,
      query: `select n.nspname as schema, c.relname as name, pg_relation_size(c.oid) as value from ${relations(`'i'`)}
               order by c.relpages desc, c.oid limit ${LARGEST}`,
    },
    {
      name: 'postern_pg_table_dead_rows',
      help: `Rows of a table that wait to be cleaned up, as the server estimates; the ${LARGEST} tables with most`,
      query: `select schemaname as schema, relname as name, n_dead_tup as value from pg_catalog.pg_stat_user_tables order by n_dead_tup desc, relid limit ${LARGEST}`,
    },
    {
      name: 'postern_pg_table_vacuumed_seconds',
      help: `Time since a table was cleaned up; the ${LARGEST} for which it was longest ago`,
      query: `select schemaname as schema, relname as name, extract(epoch from now() - greatest(last_vacuum, last_autovacuum)) as value
                from pg_catalog.pg_stat_user_tables where greatest(last_vacuum, last_autovacuum) is not null
               order by greatest(last_vacuum, last_autovacuum), relid limit ${LARGEST}`,
    },
  ),
};
