-- Groups and service logins of a mesh. Run by a superuser in database "postgres"; safe to repeat.
-- Passwords are set apart, as SCRAM verifiers, by src/setup/postgres.ts.

DO $$
DECLARE
  role_name text;
BEGIN
  FOREACH role_name IN ARRAY ARRAY['postern_reader', 'postern_writer', 'postern_admin', 'postern_agent'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
      EXECUTE format('CREATE ROLE %I', role_name);
    END IF;
    EXECUTE format('ALTER ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT', role_name);
  END LOOP;
  FOREACH role_name IN ARRAY ARRAY['app_owner', 'postern_auth', 'postern_sql', 'postern_changes'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
      EXECUTE format('CREATE ROLE %I', role_name);
    END IF;
    EXECUTE format('ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOREPLICATION NOBYPASSRLS', role_name);
  END LOOP;
END
$$;

ALTER ROLE app_owner NOCREATEROLE INHERIT;
ALTER ROLE postern_sql NOCREATEROLE NOINHERIT;
-- Reads the server's log for change streams, and no table.
ALTER ROLE postern_changes NOCREATEROLE NOINHERIT REPLICATION CONNECTION LIMIT 32;
-- Makes and drops the logins of people. It may hand out the groups, and holds none of their rights itself.
ALTER ROLE postern_auth CREATEROLE NOINHERIT;

-- Where the server can tell them apart (16 and later), a member has the rights of its group and cannot become it.
DO $$
DECLARE
  membership record;
  held text := '';
  handed text := 'ADMIN OPTION';
BEGIN
  IF current_setting('server_version_num')::int >= 160000 THEN
    held := ' WITH INHERIT TRUE, SET FALSE';
    handed := 'ADMIN TRUE, INHERIT FALSE, SET FALSE';
  END IF;
  FOR membership IN
    SELECT * FROM (VALUES
      ('postern_reader', 'postern_writer'),
      ('postern_writer', 'postern_admin'),
      ('app_owner', 'postern_admin'),
      ('pg_monitor', 'postern_admin'),
      ('pg_signal_backend', 'postern_admin')
    ) AS given (granted, member)
  LOOP
    EXECUTE format('GRANT %I TO %I%s', membership.granted, membership.member, held);
  END LOOP;
  FOR membership IN
    SELECT granted FROM unnest(ARRAY['postern_reader', 'postern_writer', 'postern_admin', 'postern_agent']) AS given (granted)
  LOOP
    EXECUTE format('GRANT %I TO postern_auth WITH %s', membership.granted, handed);
  END LOOP;
END
$$;

-- A login of this cluster reaches only the databases it was let into.
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
