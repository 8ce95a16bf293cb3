/** The administration API as it is on the wire. */
import { GroupRole, PersonName, PrincipalKind } from '@postern/contracts/common';
import { z } from 'zod';

import type { ApiKey, Person } from '../domain/ports.ts';

const TEN_YEARS_SECONDS = 315_360_000;

const Roles = z
  .array(GroupRole)
  .max(16)
  .transform((roles) => [...new Set(roles)].toSorted());
/** Its length is a rule of the domain; this only bounds the work. */
const Password = z.string().max(4_096);
const Label = z
  .string()
  .trim()
  .min(1)
  .max(100)
  .regex(/^\P{C}*$/u, 'must not have control characters');

export const PersonCreation = z
  .strictObject({
    name: PersonName,
    kind: z.enum(['person', 'service', 'agent']).default('person'),
    roles: Roles.optional(),
    password: Password.optional(),
  })
  .transform(({ roles, ...rest }) => ({
    ...rest,
    roles: roles ?? [rest.kind === 'agent' ? ('agent' as const) : ('reader' as const)],
  }))
  .refine(({ kind, roles }) => kind !== 'agent' || roles.every((role) => role === 'agent'), {
    path: ['roles'],
    message: 'an agent is in the group agent only',
  });

export const PersonChange = z
  .strictObject({ password: Password.optional(), roles: Roles.optional(), disabled: z.boolean().optional() })
  .refine((change) => Object.values(change).some((value) => value !== undefined), 'there is nothing to change');

export const OwnPasswordChange = z.strictObject({ currentPassword: Password, newPassword: Password });

export const KeyCreation = z.strictObject({
  name: Label,
  person: PersonName.optional(),
  expiresInSeconds: z.number().int().min(1).max(TEN_YEARS_SECONDS).optional(),
});

const Parameter = z.string('must be given once');

/** Other parameters of the query are not looked at; one that repeats is refused. */
export const PageQuery = z.object({
  limit: Parameter.regex(/^(?:[1-9]\d?|100)$/, 'must be a whole number from 1 to 100')
    .transform(Number)
    .default(50),
  after: Parameter.max(256, 'must be at most 256 characters')
    .regex(/^\P{Cc}*$/u, 'must not have control characters')
    .optional(),
});
export const KeysQuery = PageQuery.extend({ person: Parameter.pipe(PersonName).optional() });

const Instant = z.iso.datetime();

export const PersonView = z.object({
  id: z.string(),
  name: z.string(),
  kind: PrincipalKind,
  roles: z.array(GroupRole),
  disabled: z.boolean(),
  hasPassword: z.boolean(),
  createdAt: Instant,
  updatedAt: Instant,
});
export const PeoplePage = z.object({ people: z.array(PersonView), next: z.string().nullable().describe('For `after`') });

export const KeyView = z.object({
  id: z.string(),
  name: z.string(),
  person: z.string(),
  createdAt: Instant,
  expiresAt: Instant.nullable(),
  lastUsedAt: Instant.nullable(),
});
export const KeysPage = z.object({ keys: z.array(KeyView), next: z.string().nullable().describe('For `after`') });
/** The only time the key is seen. */
export const NewKey = KeyView.extend({ key: z.string() });

const instant = (ms: number): string => new Date(ms).toISOString();

export const showPerson = ({
  id,
  name,
  kind,
  roles,
  disabled,
  passwordHash,
  createdAt,
  updatedAt,
}: Person): z.output<typeof PersonView> => ({
  id,
  name,
  kind,
  roles: [...roles],
  disabled,
  hasPassword: passwordHash !== null,
  createdAt: instant(createdAt),
  updatedAt: instant(updatedAt),
});

export const showKey = (
  { id, name, createdAt, expiresAt, lastUsedAt }: ApiKey,
  person: Pick<Person, 'name'>,
): z.output<typeof KeyView> => ({
  id,
  name,
  person: person.name,
  createdAt: instant(createdAt),
  expiresAt: expiresAt === null ? null : instant(expiresAt),
  lastUsedAt: lastUsedAt === null ? null : instant(lastUsedAt),
});
