/**
 * Functions of PostgreSQL 15 to 18 that are marked as having effects and may be called by everybody, and why none of them
 * lets a reader keep something.
 */
const REVIEWED = new Set(
  [
    // Ask for rights on the table, sequence or large object that they write to, which a reader has not.
    'nextval setval brin_desummarize_range brin_summarize_new_values brin_summarize_range gin_clean_pending_list lo_open',
    'pg_clear_attribute_stats pg_clear_relation_stats pg_restore_attribute_stats pg_restore_relation_stats',
    // Ask for REPLICATION or a superuser.
    'pg_copy_logical_replication_slot pg_copy_physical_replication_slot pg_create_logical_replication_slot',
    'pg_create_physical_replication_slot pg_drop_replication_slot pg_logical_slot_get_binary_changes',
    'pg_logical_slot_get_changes pg_logical_slot_peek_binary_changes pg_logical_slot_peek_changes pg_replication_slot_advance',
    'pg_sync_replication_slots pg_import_system_collations pg_nextoid pg_stop_making_pinned_objects',
    'pg_read_file_old pg_rotate_logfile_old',
    // Work only while an extension is made, or on whoever called.
    'pg_extension_config_dump pg_cancel_backend pg_terminate_backend plpgsql_call_handler plpgsql_validator',
    // Run a statement, with the rights of the caller.
    'query_to_xml query_to_xml_and_xmlschema query_to_xmlschema cursor_to_xml cursor_to_xmlschema ts_rewrite ts_stat',
    // Last as long as the session or transaction: settings, locks, notifications, snapshots.
    'set_config setseed pg_notify pg_export_snapshot pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock',
    'pg_advisory_unlock_all pg_advisory_unlock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_lock',
    'pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared pg_stat_clear_snapshot',
    'pg_stat_force_next_flush pg_sleep pg_sleep_for pg_sleep_until lo_close lo_lseek lo_lseek64',
    // Only tell something.
    'amvalidate array_sample array_shuffle clock_timestamp current_query currtid2 currval gen_random_uuid lastval lo_get',
    'lo_tell lo_tell64 loread pg_available_wal_summaries pg_blocking_pids pg_collation_actual_version pg_control_checkpoint',
    'pg_control_init pg_control_recovery pg_control_system pg_current_wal_flush_lsn pg_current_wal_insert_lsn',
    'pg_current_wal_lsn pg_database_collation_actual_version pg_database_size pg_get_loaded_modules pg_get_multixact_members',
    'pg_get_sequence_data pg_get_wait_events pg_get_wal_replay_pause_state pg_get_wal_resource_managers',
    'pg_get_wal_summarizer_state pg_indexes_size pg_is_in_recovery pg_is_wal_replay_paused',
    'pg_isolation_test_session_is_blocked pg_jit_available pg_last_committed_xact pg_last_wal_receive_lsn',
    'pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status pg_notification_queue_usage pg_partition_ancestors',
    'pg_partition_tree pg_prepared_xact pg_relation_size pg_safe_snapshot_blocking_pids pg_sequence_last_value pg_table_size',
    'pg_tablespace_size pg_total_relation_size pg_wal_summary_contents pg_xact_commit_timestamp',
    'pg_xact_commit_timestamp_origin pg_xact_status random random_normal timeofday txid_status uuidv4 uuidv7',
  ].flatMap((names) => names.split(' ')),
);

/** The first work only in a server that was started to be upgraded; the second count. */
const REVIEWED_FAMILIES = /^(binary_upgrade_|pg_stat_get_)/;

export const isReviewed = (name: string): boolean => REVIEWED.has(name) || REVIEWED_FAMILIES.test(name);
