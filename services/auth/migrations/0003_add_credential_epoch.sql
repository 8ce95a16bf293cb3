-- Raised by every change of the password, by disabling and by enabling: a principal of an earlier epoch no longer stands.
ALTER TABLE auth.people ADD COLUMN credential_epoch integer NOT NULL DEFAULT 0;
