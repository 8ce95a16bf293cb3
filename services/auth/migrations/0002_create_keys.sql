-- The root key, from which all keys of this mesh are derived, sealed by the sealing key. There is exactly one.
CREATE TABLE auth.roots (
  id uuid PRIMARY KEY,
  sealed text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX roots_only_one ON auth.roots ((true));

-- Ed25519 keys that sign principals.
CREATE TABLE auth.signing_keys (
  kid text PRIMARY KEY,
  ordinal integer NOT NULL UNIQUE,
  x text NOT NULL,
  sealed_private_key text NOT NULL,
  signs_from timestamptz NOT NULL
);
