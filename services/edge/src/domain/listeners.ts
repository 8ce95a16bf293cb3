/** The listener document: which addresses there are, how each authenticates, and which routes it has. */
import type { Issue } from '@postern/contracts/failure';

import type { OidcRules } from './oidc.ts';
import type { RolePolicy } from './role-policy.ts';
import { ROLE_POLICIES } from './role-policy.ts';

export const ROUTE_GROUPS = [
  'base',
  'webhook',
  'internal',
  'metrics',
  'profiling',
  'mcp_agent',
  'mcp_developer',
  'console_config',
] as const;

export type RouteGroup = (typeof ROUTE_GROUPS)[number];

export const AUTHENTICATOR_KINDS = ['None', 'Password', 'Oidc'] as const;

export type AuthenticatorKind = (typeof AUTHENTICATOR_KINDS)[number];

export interface Listener {
  readonly name: string;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly kind: AuthenticatorKind;
  readonly tls: boolean;
  readonly behindTrustedProxy: boolean;
  /** Only groups that are on. */
  readonly routes: ReadonlyMap<RouteGroup, RolePolicy>;
  /** What this listener says about its issuer; the rest comes from settings. */
  readonly oidc: Partial<OidcRules> | undefined;
}

export type ParsedListeners =
  | { readonly kind: 'listeners'; readonly listeners: readonly Listener[]; readonly warnings: readonly string[] }
  | { readonly kind: 'mistakes'; readonly mistakes: readonly Issue[] };

const REFUSED_KINDS: Readonly<Record<string, string>> = {
  Frontegg: 'Frontegg is an identity service of one vendor and is not supported; use Oidc with its issuer',
  Sasl: 'Sasl is for the PostgreSQL protocol and cannot be used over HTTP; use Password',
  Talos: 'Talos is not supported over HTTP; use Oidc',
};

const SQL_KINDS: readonly string[] = ['None', 'Password', 'Oidc', 'Frontegg', 'Sasl', 'Talos'];

type Fields = ReadonlyMap<string, unknown>;

/** Collects mistakes while the document is read, each with the JSON pointer of what is wrong. */
class Reader {
  readonly mistakes: Issue[] = [];
  readonly warnings: string[] = [];

  mistake(pointer: string, message: string): undefined {
    this.mistakes.push({ pointer, message });
    return undefined;
  }

  fields(pointer: string, value: unknown, known?: readonly string[]): Fields {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      this.mistake(pointer, 'must be an object');
      return new Map();
    }
    const fields = new Map<string, unknown>(Object.entries(value));
    for (const key of fields.keys()) {
      if (known !== undefined && !known.includes(key))
        this.mistake(at(pointer, key), `unknown key; known are ${known.join(', ')}`);
    }
    return fields;
  }

  boolean(pointer: string, value: unknown): boolean {
    if (value !== undefined && typeof value !== 'boolean') this.mistake(pointer, 'must be true or false');
    return value === true;
  }

  text(pointer: string, value: unknown): string | undefined {
    if (value === undefined || (typeof value === 'string' && value !== '')) return value;
    return this.mistake(pointer, 'must be a string that is not empty');
  }

  policy(pointer: string, value: unknown): RolePolicy | undefined {
    const known = ROLE_POLICIES.find((policy) => policy === value);
    return known ?? this.mistake(pointer, `must be one of ${ROLE_POLICIES.join(', ')}`);
  }
}

const at = (pointer: string, key: string): string => `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;

/** Reads a document of the newest shape, or of the older one with a switch per group; all mistakes are listed. */
export function parseListeners(document: unknown): ParsedListeners {
  const reader = new Reader();
  const fields = reader.fields('', document, ['version', 'sql', 'http']);
  reader.text('/version', fields.get('version'));
  if (fields.has('sql')) readSqlListeners(reader, fields.get('sql'));
  const listeners = fields.has('http') ? readHttpListeners(reader, fields.get('http')) : [];
  if (reader.mistakes.length === 0 && listeners.length === 0) reader.mistake('/http', 'must have at least one listener');
  const taken = new Map<string, string>();
  for (const { name, host, port } of listeners) {
    const earlier = taken.get(`${host}:${port}`);
    if (port !== 0 && earlier !== undefined) reader.mistake(at('/http', name), `has the same addr as ${earlier}`);
    taken.set(`${host}:${port}`, name);
  }
  if (reader.mistakes.length > 0) return { kind: 'mistakes', mistakes: reader.mistakes };
  return { kind: 'listeners', listeners, warnings: reader.warnings };
}

function readSqlListeners(reader: Reader, value: unknown): void {
  for (const [name, entry] of reader.fields('/sql', value)) {
    const pointer = at('/sql', name);
    const fields = reader.fields(pointer, entry, ['addr', 'authenticator_kind', 'allowed_roles', 'enable_tls']);
    readAddress(reader, at(pointer, 'addr'), fields.get('addr'));
    const kind = fields.get('authenticator_kind');
    if (kind !== undefined && !SQL_KINDS.some((known) => known === kind)) {
      reader.mistake(at(pointer, 'authenticator_kind'), `must be one of ${SQL_KINDS.join(', ')}`);
    }
    if (fields.has('allowed_roles')) reader.policy(at(pointer, 'allowed_roles'), fields.get('allowed_roles'));
    reader.boolean(at(pointer, 'enable_tls'), fields.get('enable_tls'));
    reader.warnings.push(`${pointer}: PostgreSQL protocol listeners are not served here; connect to the database itself`);
  }
}

const LISTENER_KEYS = ['addr', 'authenticator_kind', 'enable_tls', 'behind_trusted_proxy', 'allowed_roles', 'routes', 'oidc'];

const LISTENER_NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/i;

function readHttpListeners(reader: Reader, value: unknown): Listener[] {
  return [...reader.fields('/http', value)].map(([name, entry]) => {
    const pointer = at('/http', name);
    if (!LISTENER_NAME.test(name)) reader.mistake(pointer, 'the name must be letters, digits, _ and -, at most 63');
    const fields = reader.fields(pointer, entry, LISTENER_KEYS);
    const address = readAddress(reader, at(pointer, 'addr'), fields.get('addr'));
    const kind = readKind(reader, at(pointer, 'authenticator_kind'), fields.get('authenticator_kind'));
    if (kind === 'None' && address !== undefined && !isLoopback(address.host)) {
      reader.warnings.push(`${pointer}: kind None on an address others can reach; whoever reaches it is believed`);
    }
    const oidc = fields.has('oidc') ? readOidc(reader, at(pointer, 'oidc'), fields.get('oidc')) : undefined;
    if (oidc !== undefined && kind !== 'Oidc') reader.mistake(at(pointer, 'oidc'), 'is only for kind Oidc');
    return {
      name,
      host: address?.host ?? '',
      port: address?.port ?? 0,
      kind: kind ?? 'None',
      tls: reader.boolean(at(pointer, 'enable_tls'), fields.get('enable_tls')),
      behindTrustedProxy: reader.boolean(at(pointer, 'behind_trusted_proxy'), fields.get('behind_trusted_proxy')),
      routes: readRoutes(reader, pointer, fields),
      oidc,
    };
  });
}

function readKind(reader: Reader, pointer: string, value: unknown): AuthenticatorKind | undefined {
  if (value === undefined) return 'None';
  const kind = AUTHENTICATOR_KINDS.find((known) => known === value);
  if (kind !== undefined) return kind;
  const refusal = typeof value === 'string' && Object.hasOwn(REFUSED_KINDS, value) ? REFUSED_KINDS[value] : undefined;
  return reader.mistake(pointer, refusal ?? `must be one of ${AUTHENTICATOR_KINDS.join(', ')}`);
}

function readRoutes(reader: Reader, listener: string, fields: Fields): Map<RouteGroup, RolePolicy> {
  const pointer = at(listener, 'routes');
  const routes = new Map<RouteGroup, RolePolicy>();
  if (!fields.has('routes')) reader.mistake(pointer, 'is required');
  else {
    const groups = reader.fields(pointer, fields.get('routes'), ROUTE_GROUPS);
    const switches = [...groups.values()].some((entry) => typeof entry === 'boolean');
    // The older shape has one policy for the whole listener; it is copied onto each group that is on.
    const shared = switches && fields.has('allowed_roles');
    const policy = shared ? reader.policy(at(listener, 'allowed_roles'), fields.get('allowed_roles')) : undefined;
    if (!switches && fields.has('allowed_roles')) reader.mistake(at(listener, 'allowed_roles'), 'belongs to each route group');
    for (const group of ROUTE_GROUPS) {
      const entry = groups.get(group);
      const place = at(pointer, group);
      if (entry === undefined || entry === false) continue;
      if (entry === true) {
        if (policy !== undefined) routes.set(group, policy);
        else if (!shared) reader.mistake(place, 'is enabled, so the listener needs allowed_roles');
        continue;
      }
      if (switches) {
        reader.mistake(place, 'must be true or false, as the other groups of this listener are');
        continue;
      }
      const own = readGroup(reader, place, entry);
      if (own !== undefined) routes.set(group, own);
    }
  }
  return routes;
}

function readGroup(reader: Reader, pointer: string, entry: unknown): RolePolicy | undefined {
  const fields = reader.fields(pointer, entry, ['enabled', 'allowed_roles']);
  if (fields.size > 0 && typeof fields.get('enabled') !== 'boolean')
    reader.mistake(at(pointer, 'enabled'), 'must be true or false');
  if (fields.get('enabled') !== true) return undefined;
  if (!fields.has('allowed_roles')) return reader.mistake(at(pointer, 'allowed_roles'), 'is required for an enabled group');
  return reader.policy(at(pointer, 'allowed_roles'), fields.get('allowed_roles'));
}

function readOidc(reader: Reader, pointer: string, value: unknown): Partial<OidcRules> {
  const fields = reader.fields(pointer, value, ['issuer', 'audience', 'authentication_claim', 'group_claim']);
  const issuer = reader.text(at(pointer, 'issuer'), fields.get('issuer'));
  if (issuer !== undefined && !isIssuer(issuer)) {
    reader.mistake(at(pointer, 'issuer'), 'must be an http or https URL without user, query or fragment');
  }
  const audience = fields.get('audience');
  const audiences = typeof audience === 'string' ? [audience] : audience;
  if (audiences !== undefined && !isTexts(audiences)) {
    reader.mistake(at(pointer, 'audience'), 'must be a string or a list of strings that are not empty');
  }
  const nameClaim = reader.text(at(pointer, 'authentication_claim'), fields.get('authentication_claim'));
  const groupClaim = reader.text(at(pointer, 'group_claim'), fields.get('group_claim'));
  return {
    ...(issuer !== undefined && { issuer }),
    ...(isTexts(audiences) && { audiences }),
    ...(nameClaim !== undefined && { nameClaim }),
    ...(groupClaim !== undefined && { groupClaim }),
  };
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((entry) => typeof entry === 'string' && entry !== '');

export function isIssuer(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && username === '' && password === '' && search === '' && hash === '' && !/[?#]/.test(text);
}

const ADDRESS = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)):(\d{1,5})$/i;

function readAddress(reader: Reader, pointer: string, value: unknown): { host: string; port: number } | undefined {
  const match = typeof value === 'string' ? ADDRESS.exec(value) : null;
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host !== undefined && port <= 65_535) return { host, port };
  return reader.mistake(pointer, value === undefined ? 'is required' : 'must be host:port');
}

const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || host.startsWith('127.');
