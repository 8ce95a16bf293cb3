/** Auth: people, API keys, database logins, and the keys that sign principals. Owned by services/auth. */
import { z } from 'zod';

import { Audience, PersonName, Principal } from './common.ts';
import { defineErrors, defineEvent, defineService, procedure } from './define.ts';

export const ApiKeyId = z.string().min(1);
export const Assertion = z.string().min(1).max(8_192);

/** A public key as JWK (RFC 7517), Ed25519. */
export const PublicKey = z.object({
  kty: z.literal('OKP'),
  crv: z.literal('Ed25519'),
  x: z.string(),
  kid: z.string(),
  alg: z.literal('EdDSA'),
  use: z.literal('sig'),
});

export const authErrors = defineErrors({
  CREDENTIAL_INVALID: { status: 401, title: 'The credential is not valid' },
  LOGIN_DENIED: { status: 401, title: 'The role is not allowed to log in' },
  PERSON_NOT_FOUND: { status: 404, title: 'No such person' },
  PERSON_EXISTS: { status: 409, title: 'The name is taken' },
  NAME_RESERVED: { status: 422, title: 'The name is reserved' },
  KEY_NOT_FOUND: { status: 404, title: 'No such API key' },
  LAST_ADMIN: { status: 409, title: 'The last admin cannot be removed' },
  AUTH_CONTENT_TYPE: { status: 415, title: 'The body must be application/json' },
  AUTH_BODY_SHAPE: { status: 422, title: 'The body is not what this route takes' },
  ADMIN_REQUIRED: { status: 403, title: 'Only an admin may do this' },
});

export const authService = defineService({
  name: 'auth',
  version: 1,
  summary: 'People, API keys, database logins and the keys that sign principals.',
  errors: authErrors,
  procedures: {
    verifyPassword: procedure({
      summary: 'Checks a name and password and answers who that is.',
      request: z.object({ name: z.string().max(256), password: z.string().max(1_024) }),
      response: Principal,
      errors: ['CREDENTIAL_INVALID'],
      timeoutMs: 3_000,
      idempotent: true,
    }),
    verifyApiKey: procedure({
      summary: 'Checks an API key and answers who it stands for.',
      request: z.object({ key: z.string().max(256) }),
      response: Principal,
      errors: ['CREDENTIAL_INVALID'],
      timeoutMs: 2_000,
      idempotent: true,
    }),
    trust: procedure({
      summary: 'Answers the principal of a name that a None listener or a trusted header vouches for; made on first use.',
      request: z.object({ name: PersonName }),
      response: Principal,
      errors: ['NAME_RESERVED', 'LOGIN_DENIED'],
      timeoutMs: 5_000,
      idempotent: true,
    }),
    admitExternal: procedure({
      summary: 'Answers the principal of a token of an external issuer that the edge has verified; made on first use.',
      request: z.object({
        issuer: z.url(),
        subject: z.string().min(1).max(256),
        name: PersonName,
        /** Lower-cased, sorted, without repeats; absent means "leave the roles as they are". */
        groups: z.array(z.string()).exactOptional(),
        expiresAt: z.number().int().positive(),
      }),
      response: Principal,
      errors: ['NAME_RESERVED', 'LOGIN_DENIED'],
      timeoutMs: 5_000,
      idempotent: true,
    }),
    mint: procedure({
      summary: 'Signs the assertion that carries a principal to one service.',
      request: z.object({ principal: Principal, audience: Audience }),
      response: z.object({ assertion: Assertion, expiresAt: z.number().int().positive() }),
      errors: [],
      timeoutMs: 2_000,
      idempotent: true,
    }),
    publishKeys: procedure({
      summary: 'Answers the public keys that assertions may be signed with now, the next one included.',
      request: z.object({}),
      response: z.object({ keys: z.array(PublicKey) }),
      errors: [],
      timeoutMs: 2_000,
      idempotent: true,
    }),
    lendDatabaseLogin: procedure({
      summary: "Answers the secret of the caller's own database login, sealed to a key of the asking service.",
      request: z.object({
        assertion: Assertion,
        /** X25519 public key (JWK `x`) that the answer is encrypted to. */
        sealTo: z.object({ kty: z.literal('OKP'), crv: z.literal('X25519'), x: z.string() }),
        /** The database refused what was lent: the login is put right, with a new secret. */
        refused: z.boolean().exactOptional(),
      }),
      response: z.object({
        dbRole: z.string(),
        /** Compact JWE (RFC 7516, ECDH-ES, A256GCM) of the password. */
        sealedPassword: z.string(),
      }),
      errors: ['CREDENTIAL_INVALID', 'LOGIN_DENIED'],
      timeoutMs: 3_000,
      idempotent: true,
    }),
  },
});

/** A person or a key stopped being what it was: caches and sessions of it end now. */
export const credentialRevoked = defineEvent({
  service: 'auth',
  version: 1,
  name: 'revoked',
  summary: 'A person was changed, disabled or removed (`tokenId` absent), or one API key was revoked.',
  payload: z.object({ principalId: z.string(), tokenId: z.string().exactOptional() }),
});

export type PublicKey = z.output<typeof PublicKey>;
