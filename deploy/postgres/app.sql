-- The default database that people work in. Run in it by a superuser; safe to repeat.

REVOKE ALL ON DATABASE app FROM PUBLIC;
GRANT CONNECT ON DATABASE app TO postern_sql, postern_agent, postern_reader;
GRANT TEMPORARY ON DATABASE app TO postern_reader;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO postern_reader, postern_agent;
GRANT CREATE ON SCHEMA public TO postern_writer;

-- What the owner makes is readable by readers and writable by writers; never pg_read_all_data, which also reads pg_authid.
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT SELECT ON TABLES TO postern_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT INSERT, UPDATE, DELETE ON TABLES TO postern_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO postern_writer;
