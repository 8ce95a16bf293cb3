/** What a request shows of itself; whether it is true is asked elsewhere. */
import type { Head } from './head.ts';

export type Credentials =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'basic';
      readonly user: string;
      readonly password: string;
      /** Whether a token of the issuer may stand in the place of the password, where there is no other place for it. */
      readonly mayBeToken?: boolean;
    }
  | { readonly kind: 'bearer'; readonly token: string };

const NONE: Credentials = { kind: 'none' };
const BASIC = /^basic +([A-Za-z0-9+/]+={0,2})$/i;
const BEARER = /^bearer +([A-Za-z0-9\-._~+/]+=*)$/i;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A malformed value or another scheme counts as no credentials. */
export function readCredentials(authorization: string | undefined): Credentials {
  if (authorization === undefined) return NONE;
  const token = BEARER.exec(authorization)?.[1];
  if (token !== undefined) return { kind: 'bearer', token };
  const basic = BASIC.exec(authorization)?.[1];
  if (basic === undefined) return NONE;
  const text = decodeUtf8(Buffer.from(basic, 'base64'));
  const colon = text?.indexOf(':') ?? -1;
  if (text === undefined || colon === -1) return NONE;
  return { kind: 'basic', user: text.slice(0, colon), password: text.slice(colon + 1) };
}

function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

const API_KEY = /^pst_[A-Za-z0-9_-]{1,32}_[A-Za-z0-9_-]{43}$/;

/** Whether a bearer token or a password has the form of an API key. */
export const isApiKey = (text: string): boolean => API_KEY.test(text);

const COMPACT_JWS = /^eyJ[\w-]*\.[\w-]+\.[\w-]+$/;

/** Whether a password has the form of a signed token (a JSON header in base64url begins like that). */
export const looksLikeToken = (text: string): boolean => COMPACT_JWS.test(text);

export const cookieName = (tls: boolean): string => (tls ? '__Host-postern_session' : 'postern_session');

export type SessionCookie =
  | { readonly kind: 'none' }
  | { readonly kind: 'token'; readonly token: string }
  /** Two of the name: a page of another path or host may have set one of them. */
  | { readonly kind: 'repeated' };

const TOKEN = /^[A-Za-z0-9._~-]{20,256}$/;

export function readSessionCookie(head: Head, name: string): SessionCookie {
  const header = head.get('cookie');
  if (header === undefined || !header.includes(name)) return { kind: 'none' };
  const values = header
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1));
  const [token] = values;
  if (values.length > 1) return { kind: 'repeated' };
  return token !== undefined && TOKEN.test(token) ? { kind: 'token', token } : { kind: 'none' };
}

export type TrustedUser = { readonly kind: 'none' | 'refused' } | { readonly kind: 'user'; readonly name: string };

/** Of the names that a trusted header may carry there are two. */
const TRUSTED: ReadonlySet<string> = new Set(['mz_system', 'mz_support']);

/** Who a proxy before a None listener says it is. Both spellings may be there only if they agree. */
export function readTrustedUser(head: Head): TrustedUser {
  const known = head.get('x-materialize-user');
  const alias = head.get('x-postern-user');
  const name = known ?? alias;
  if (name === undefined) return { kind: 'none' };
  if ((alias !== undefined && alias !== name) || !TRUSTED.has(name)) return { kind: 'refused' };
  return { kind: 'user', name };
}
