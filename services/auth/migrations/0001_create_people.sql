-- People: whoever can be a principal. Their names are also the names of their database logins.
CREATE TABLE auth.people (
  id uuid PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE CHECK (octet_length(name) BETWEEN 1 AND 63),
  kind text NOT NULL CHECK (kind IN ('person', 'service', 'agent', 'device', 'anonymous')),
  origin text NOT NULL CHECK (origin IN ('created', 'trusted', 'external', 'internal')),
  roles text[] NOT NULL CHECK (roles <@ ARRAY['reader', 'writer', 'admin', 'agent']),
  -- argon2id, PHC form
  password_hash text,
  -- secret of the database login, sealed
  sealed_login text,
  disabled boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);

CREATE INDEX people_admins ON auth.people (id) WHERE 'admin' = ANY (roles);

-- Who a person is at an issuer elsewhere: one subject of an issuer is one person, and a person is one subject of it.
CREATE TABLE auth.external_identities (
  issuer text NOT NULL,
  subject text NOT NULL,
  person_id uuid NOT NULL REFERENCES auth.people (id) ON DELETE CASCADE,
  linked_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (issuer, subject),
  UNIQUE (person_id, issuer)
);

CREATE TABLE auth.api_keys (
  id text COLLATE "C" PRIMARY KEY,
  person_id uuid NOT NULL REFERENCES auth.people (id) ON DELETE CASCADE,
  name text NOT NULL,
  -- HMAC-SHA-256 of the secret part
  secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  -- to within five minutes
  last_used_at timestamptz
);

CREATE INDEX api_keys_of_person ON auth.api_keys (person_id, id);
