/** What a call looks like on the bus: header names (ADR-32 for errors) and the body of an error reply. */
import { commonErrors } from '@postern/contracts/failure';
import { z } from 'zod';

export const ERROR_HEADER = 'Nats-Service-Error';
export const ERROR_STATUS_HEADER = 'Nats-Service-Error-Code';
export const DEADLINE_HEADER = 'x-deadline-ms';
export const REQUEST_ID_HEADER = 'x-request-id';

/** Where answers go: `_INBOX.…` of tools, `_INBOX_<service>.…` of services. */
export const INBOX_PREFIX = '_INBOX';

/** NATS carries at most 1 MiB; a larger message is a mistake of the caller's. */
export const MAX_PAYLOAD_BYTES = 1_048_576;

export const ErrorReply = z.object({
  code: z.string(),
  detail: z.string().exactOptional(),
  issues: z.array(z.object({ pointer: z.string(), message: z.string() })).exactOptional(),
  retryAfterSeconds: z.number().exactOptional(),
});

export type ErrorReply = z.output<typeof ErrorReply>;

export const statusOf = (code: string, table: Readonly<Record<string, { readonly status: number }>>): number =>
  (table[code] ?? commonErrors[code as keyof typeof commonErrors] ?? commonErrors.INTERNAL).status;
