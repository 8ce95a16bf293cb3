import { GroupRole } from '@postern/contracts/common';
import type { Refine } from '@postern/service-kit/config';
import { secret, setting } from '@postern/service-kit/config';
import { doorSettings, sharedSettings } from '@postern/service-kit/settings';
import { z } from 'zod';

import { parseApiKey } from './domain/api-keys.ts';
import { judgeName } from './domain/names.ts';
import { passwordMistake } from './domain/passwords.ts';
import { sealingKeyMistake } from './domain/vault.ts';

const Roles = z
  .string()
  .transform((text) =>
    text
      .split(',')
      .map((role) => role.trim())
      .filter((role) => role !== ''),
  )
  .pipe(z.array(GroupRole))
  .transform((roles) => [...new Set(roles)].toSorted());

const SealingKey = z
  .base64('must be base64')
  .transform((text) => Buffer.from(text, 'base64'))
  .superRefine((key, context) => {
    const message = sealingKeyMistake(key);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });

const PostgresUrl = z.url({ protocol: /^postgres(ql)?$/, message: 'must be a postgres:// URL' });

const GroupRoles = z
  .string()
  .transform((text, context): unknown => {
    try {
      return JSON.parse(text);
    } catch {
      context.addIssue({ code: 'custom', message: 'must be JSON' });
      return z.NEVER;
    }
  })
  .pipe(z.record(z.string(), z.union([GroupRole.transform((role) => [role]), z.array(GroupRole)])));

export const settings = {
  ...sharedSettings,
  ...doorSettings,
  databaseUrl: secret('AUTH_DATABASE_URL', PostgresUrl, 'The control database, by the login that owns schema auth in it'),
  rolesDatabaseUrl: secret(
    'AUTH_ROLES_DATABASE_URL',
    PostgresUrl.optional(),
    "The cluster that people's logins are made in, by a login with CREATEROLE and admin of the groups; else AUTH_DATABASE_URL",
  ),
  sealingKey: secret('AUTH_SEALING_KEY', SealingKey, 'Seals all secrets at rest: base64 of 32 random bytes'),
  previousSealingKey: secret(
    'AUTH_SEALING_KEY_PREVIOUS',
    SealingKey.optional(),
    'The sealing key until now, while AUTH_SEALING_KEY takes its place',
  ),
  firstAdminName: setting('AUTH_FIRST_ADMIN_NAME', z.string().default('admin'), 'Who is made admin when there is no admin'),
  firstAdminPassword: secret(
    'AUTH_FIRST_ADMIN_PASSWORD',
    z.string().optional(),
    "The first admin's password; later without effect",
  ),
  firstAdminKey: secret(
    'AUTH_FIRST_ADMIN_KEY',
    z.string().optional(),
    'An API key, pst_…, that the first admin has from the start',
  ),
  trustedRoles: setting(
    'AUTH_TRUSTED_ROLES',
    Roles.prefault('writer'),
    'Groups of people that are made on the word of a None listener, by commas',
  ),
  externalRoles: setting(
    'AUTH_OIDC_ROLES',
    Roles.prefault('reader'),
    'Groups of people that are made on the word of an external issuer, by commas',
  ),
  externalGroupRoles: setting(
    'AUTH_OIDC_GROUP_ROLES',
    GroupRoles.prefault('{}'),
    'JSON: an issuer\'s group to the groups it gives and takes, as {"staff":["writer"]}; {} leaves groups as they are',
  ),
  roleMapFile: setting(
    'AUTH_ROLE_MAP_FILE',
    z.string().optional(),
    'JSON file of logins to lend, for a cluster where none may be made: {"alice":{"role":"…","passwordFile":"…"}}',
  ),
  keyRotationSeconds: setting(
    'AUTH_KEY_ROTATION_SECONDS',
    z.coerce.number().int().min(600).max(31_536_000).default(2_592_000),
    'How long one key signs principals before the next one does',
  ),
};

/** What is wrong with settings that are each well formed. */
export const refine: Refine<typeof settings> = ({ firstAdminName, firstAdminPassword, firstAdminKey }) => {
  const mistakes: string[] = [];
  const verdict = firstAdminName === undefined ? 'fine' : judgeName(firstAdminName);
  if (verdict !== 'fine') mistakes.push(`AUTH_FIRST_ADMIN_NAME: the name is ${verdict}`);
  const password = firstAdminPassword === undefined ? undefined : passwordMistake(firstAdminName ?? '', firstAdminPassword);
  if (password !== undefined) mistakes.push(`AUTH_FIRST_ADMIN_PASSWORD: ${password}`);
  if (firstAdminKey !== undefined && parseApiKey(firstAdminKey) === undefined) {
    mistakes.push('AUTH_FIRST_ADMIN_KEY: must be pst_, 8 letters or digits, _, and 43 characters of base64url');
  }
  return mistakes;
};
