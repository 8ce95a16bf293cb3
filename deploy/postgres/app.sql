-- The default database that people work in. Run in it by a superuser; safe to repeat.

REVOKE ALL ON DATABASE app FROM PUBLIC, postern_reader, postern_writer, postern_agent;
GRANT CONNECT ON DATABASE app TO postern_sql, postern_changes, postern_agent, postern_reader;
GRANT TEMPORARY ON DATABASE app TO postern_reader;

-- Everybody's search path leads through public, so whoever creates there decides what others' statements mean: a function
-- lower(varchar) of a writer's would be run by an admin (CVE-2018-1058). Only the owner creates in it, and admins, who are members.
REVOKE CREATE ON SCHEMA public FROM PUBLIC, postern_reader, postern_writer, postern_agent;
GRANT USAGE ON SCHEMA public TO postern_reader, postern_agent;
GRANT USAGE, CREATE ON SCHEMA public TO app_owner;

-- What the owner makes is readable by readers and writable by writers; never pg_read_all_data, which also reads pg_authid.
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT SELECT ON TABLES TO postern_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT INSERT, UPDATE, DELETE ON TABLES TO postern_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO postern_writer;

-- A writer's things are in a schema of their own, named as they are, which "$user" in the search path finds first. It is made
-- when they first create something: a person who never did owns nothing, and their login can be dropped.
CREATE SCHEMA IF NOT EXISTS postern;
ALTER SCHEMA postern OWNER TO CURRENT_USER;
REVOKE ALL ON SCHEMA postern FROM PUBLIC;

CREATE OR REPLACE FUNCTION postern.own_schema() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Never current_user, which a SECURITY DEFINER function of somebody else's changes. A superuser is a member of everything.
  IF pg_has_role(session_user, 'app_owner', 'MEMBER') OR NOT pg_has_role(session_user, 'postern_writer', 'MEMBER') THEN
    RETURN;
  END IF;
  -- One of this name that is somebody else's stays theirs.
  IF session_user LIKE 'pg\_%' OR EXISTS (SELECT FROM pg_namespace WHERE nspname = session_user) THEN
    RETURN;
  END IF;
  EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', session_user, session_user);
EXCEPTION
  WHEN duplicate_schema OR unique_violation THEN
    -- Another session of theirs was first.
    RETURN;
END
$$;
ALTER FUNCTION postern.own_schema() OWNER TO CURRENT_USER;
REVOKE ALL ON FUNCTION postern.own_schema() FROM PUBLIC;

DROP EVENT TRIGGER IF EXISTS postern_own_schema;
CREATE EVENT TRIGGER postern_own_schema ON ddl_command_start
  WHEN TAG IN (
    'CREATE AGGREGATE', 'CREATE COLLATION', 'CREATE CONVERSION', 'CREATE DOMAIN', 'CREATE FOREIGN TABLE', 'CREATE FUNCTION',
    'CREATE MATERIALIZED VIEW', 'CREATE OPERATOR', 'CREATE OPERATOR CLASS', 'CREATE OPERATOR FAMILY', 'CREATE PROCEDURE',
    'CREATE SEQUENCE', 'CREATE STATISTICS', 'CREATE TABLE', 'CREATE TABLE AS', 'CREATE TEXT SEARCH CONFIGURATION',
    'CREATE TEXT SEARCH DICTIONARY', 'CREATE TYPE', 'CREATE VIEW', 'SELECT INTO'
  )
  EXECUTE FUNCTION postern.own_schema();

-- A reader keeps nothing. PostgreSQL lets everybody make large objects and write to its log; what of it there is depends on the
-- version. Those that read and write the server's own files stay with superusers.
DO $$
DECLARE
  callable record;
BEGIN
  FOR callable IN
    SELECT oid::regprocedure AS signature, proname FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace AND proname IN (
      'lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lowrite', 'lo_truncate', 'lo_truncate64', 'lo_unlink',
      'lo_import', 'lo_export', 'pg_logical_emit_message'
    )
  LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC, postern_reader', callable.signature);
    IF callable.proname NOT IN ('lo_import', 'lo_export', 'pg_logical_emit_message') THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO postern_writer, app_owner', callable.signature);
    END IF;
  END LOOP;
END
$$;
