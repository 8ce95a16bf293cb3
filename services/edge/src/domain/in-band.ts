/** The first message of an SQL socket: who it is by, and the options of the session. */
import type { Credentials } from './credentials.ts';

export type AuthMessage =
  | { readonly kind: 'message'; readonly credentials: Credentials; readonly options: string | undefined }
  | { readonly kind: 'malformed' };

/** Longest auth message; frames of it are read one after the other. */
export const AUTH_MESSAGE_BYTES_MAX = 65_536;

const MALFORMED: AuthMessage = { kind: 'malformed' };
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Three shapes, tried in order; keys that a shape does not know are ignored. */
export function readAuthMessage(bytes: Uint8Array): AuthMessage {
  const parsed = parseJson(bytes);
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return MALFORMED;
  const field = (name: string): unknown => new Map<string, unknown>(Object.entries(parsed)).get(name);
  const options = readOptions(field('options'));
  if (options.kind === 'malformed') return MALFORMED;
  const message = (credentials: Credentials): AuthMessage => ({ kind: 'message', credentials, options: options.text });
  const [user, password, token] = [field('user'), field('password'), field('token')];
  if (typeof user === 'string' && typeof password === 'string') return message({ kind: 'basic', user, password });
  if (typeof token === 'string') return message({ kind: 'bearer', token });
  return message({ kind: 'none' });
}

type Options = { readonly kind: 'options'; readonly text: string | undefined } | { readonly kind: 'malformed' };

/** Names and values as text; written anew, so that what is passed on has one reading. */
function readOptions(value: unknown): Options {
  if (value === undefined || value === null) return { kind: 'options', text: undefined };
  if (typeof value !== 'object' || Array.isArray(value)) return { kind: 'malformed' };
  const entries = Object.entries(value);
  if (!entries.every(([, setting]) => typeof setting === 'string')) return { kind: 'malformed' };
  return { kind: 'options', text: entries.length === 0 ? undefined : JSON.stringify(Object.fromEntries(entries)) };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch {
    return undefined;
  }
}
