-- The control database: one schema per service, owned by that service's login. Run in it by a superuser; safe to repeat.

REVOKE ALL ON DATABASE postern FROM PUBLIC;
GRANT CONNECT ON DATABASE postern TO postern_auth;
REVOKE ALL ON SCHEMA public FROM PUBLIC;

CREATE SCHEMA IF NOT EXISTS auth AUTHORIZATION postern_auth;
ALTER SCHEMA auth OWNER TO postern_auth;
ALTER ROLE postern_auth IN DATABASE postern SET search_path = auth;
