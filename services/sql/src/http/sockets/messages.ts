/** The messages of SQL over WebSocket, both directions: what the server parses with, and what is published of them. */
import { isUtf8 } from 'node:buffer';
import { z } from 'zod';

import type { SqlRequest } from '../../domain/ports.ts';
import { Extended, readRequest, Simple } from '../schemas.ts';

/** Only on the versioned path. Not in its turn: it concerns the request that runs. */
const Cancel = z.object({ cancel: z.literal(true) });

export const ClientMessage = z.union([Simple, Extended, Cancel]);

const message = <Type extends string, Payload extends z.ZodType>(type: Type, payload: Payload) =>
  z.object({ type: z.literal(type), payload });

const Column = z.object({
  name: z.string(),
  type_oid: z.number().int(),
  type_len: z.number().int(),
  type_mod: z.number().int(),
});

const Notice = z.object({
  message: z.string(),
  code: z.string(),
  severity: z.string(),
  detail: z.string().optional(),
  hint: z.string().optional(),
});

const SqlError = z.object({
  message: z.string(),
  code: z.string().describe('SQLSTATE'),
  detail: z.string().optional(),
  hint: z.string().optional(),
  position: z.number().int().optional().describe('In characters, from 1'),
});

export const ServerMessage = z.union([
  message('ParameterStatus', z.object({ name: z.string(), value: z.string() })),
  message('BackendKeyData', z.object({ conn_id: z.uint32(), secret_key: z.uint32() })),
  message('ReadyForQuery', z.enum(['I', 'T', 'E'])),
  message('Notice', Notice),
  message('CommandStarting', z.object({ has_rows: z.boolean(), is_streaming: z.boolean() })),
  message('Rows', z.object({ columns: z.array(Column) })),
  message('Row', z.array(z.unknown())).extend({
    token: z.string().optional().describe('Of a subscription, on the versioned path: where it can be continued'),
  }),
  message('CommandComplete', z.string()),
  message('Error', SqlError),
  message('Notification', z.object({ channel: z.string(), payload: z.string(), process_id: z.uint32() })),
]);

export type ServerMessage = z.output<typeof ServerMessage>;

export type Incoming =
  | { readonly kind: 'request'; readonly request: SqlRequest }
  | { readonly kind: 'cancel' }
  /** It is answered with an error, and the connection lives. */
  | { readonly kind: 'fault'; readonly message: string };

export function readMessage(data: Buffer, takesCancel: boolean): Incoming {
  const parsed = parseJson(data);
  if (parsed.kind === 'fault') return parsed;
  const { value } = parsed;
  const request = readRequest(value);
  if (request !== undefined) return { kind: 'request', request };
  if (takesCancel && Cancel.safeParse(value).success) return { kind: 'cancel' };
  return { kind: 'fault', message: 'the message is neither {"query"} nor {"queries"} with text or null params' };
}

function parseJson(data: Buffer): { readonly kind: 'json'; readonly value: unknown } | Extract<Incoming, { kind: 'fault' }> {
  if (!isUtf8(data)) return { kind: 'fault', message: 'the message is not UTF-8' };
  try {
    return { kind: 'json', value: JSON.parse(data.toString('utf8')) };
  } catch {
    return { kind: 'fault', message: 'the message is not JSON' };
  }
}
