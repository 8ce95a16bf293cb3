import { z } from 'zod';

/** The groups of database roles a principal's login may be in, without their prefix `postern_`. */
export const GroupRole = z.enum(['reader', 'writer', 'admin', 'agent']);

/** A person's name: also the name of their database login, so at most 63 bytes. Reserved names are refused by auth. */
export const PersonName = z.string().min(1).max(63);

export const PrincipalKind = z.enum(['person', 'service', 'agent', 'device', 'anonymous']);

/** How the credential was proved. */
export const CredentialMethod = z.enum(['password', 'apiKey', 'session', 'oidc', 'trusted']);

/** Who a request is made by: the answer to every credential, and the content of the signed assertion. */
export const Principal = z.object({
  id: z.string().min(1),
  kind: PrincipalKind,
  name: z.string().min(1),
  org: z.string().exactOptional(),
  orgRole: z.string().exactOptional(),
  /** The database login this principal's statements run as. */
  dbRole: z.string().min(1),
  /** Group roles as `role:<group>`; later also OAuth scopes. */
  scopes: z.array(z.string()),
  method: CredentialMethod,
  sessionId: z.string().exactOptional(),
  tokenId: z.string().exactOptional(),
  /** Unix seconds at which the credential itself ends; 0 if it has no end. */
  expiresAt: z.number().int().nonnegative(),
  /** The epoch of the person's credentials in which this was proved; one of an earlier epoch is signed no more. */
  epoch: z.number().int().nonnegative().default(0),
});

/** The header that carries the signed assertion between the edge and a service. */
export const PRINCIPAL_HEADER = 'x-postern-principal';

/** The services a principal's assertion can be for. */
export const Audience = z.enum(['auth', 'sql', 'webhook', 'mcp', 'terminal']);

export type GroupRole = z.output<typeof GroupRole>;
export type PrincipalKind = z.output<typeof PrincipalKind>;
export type CredentialMethod = z.output<typeof CredentialMethod>;
export type Principal = z.output<typeof Principal>;
export type Audience = z.output<typeof Audience>;
