/** What a route is, and how a path finds its own: exact, case-sensitive, on the path as it came. */
import type { AuthenticatorKind, Listener, RouteGroup } from './listeners.ts';
import type { RolePolicy } from './role-policy.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** A service with an inner door, or a name of one of the edge's own answers. */
export type LocalRoute = 'home' | 'login' | 'logout' | 'sessions' | 'session' | 'livez' | 'readyz' | 'metrics';
export type RouteTarget = { readonly service: 'auth' | 'sql' } | { readonly local: LocalRoute };

export interface Route {
  /** Template; `{name}` is one segment. Also the label of metrics and logs. */
  readonly path: string;
  readonly methods: readonly Method[];
  /** `login` is there on every listener that has passwords, whatever groups are on. */
  readonly group: RouteGroup | 'login';
  readonly target: RouteTarget;
  /** `principal`: identity and role policy first. `none`: nobody is asked. `own`: the route asks for itself. */
  readonly auth: 'principal' | 'none' | 'own';
  readonly bodyBytesMax: number;
  /** How a body that is too large is told: as a problem document, or in plain text, as the route's own service does. */
  readonly bodyErrors: 'problem' | 'text';
  /** Longest wait for the head of the answer. */
  readonly deadlineMs: number;
  /** Whether a 401 for missing credentials invites a browser to ask for them. */
  readonly challenge: boolean;
  /** `any`: every origin, but on a None listener, which has no other way to tell. */
  readonly cors: 'configured' | 'any' | 'none';
  /** Whether a None listener believes the trusted header here. */
  readonly trustedHeader: boolean;
  /** Whether the login cookie counts here, on listeners that have logins. */
  readonly cookie: boolean;
  /** Whether a page of another site may not ask, though the method changes nothing: the answer may cost a statement. */
  readonly ownPagesOnly?: boolean;
  /** Headers that pass beside those which every route forwards, and those of answers. */
  readonly requestHeaders?: readonly string[];
  readonly answerHeaders?: readonly string[];
  /** Where the name of the replica is found that holds what is asked for. */
  readonly affinity?: Affinity;
  /** What is spoken on the connection that the route takes over; its first words say who it is. */
  readonly socket?: SocketKind;
  /** `neon`: credentials and errors as Neon's driver has them, and pages of any site; the cookie never counts. */
  readonly dialect?: 'neon';
}

export type SocketKind = 'sql' | 'postgres';

/** A parameter of the path, or a header. Its value begins with `<replicaId>.`. */
export type Affinity = { readonly param: number } | { readonly header: string };

/** The replica that made the name; undefined for a name that no replica has made. */
export function madeBy(name: string | undefined): string | undefined {
  const dot = name?.indexOf('.') ?? -1;
  return dot > 0 ? name?.slice(0, dot) : undefined;
}

export type Match =
  | { readonly kind: 'route'; readonly route: Route; readonly params: readonly string[] }
  | { readonly kind: 'otherMethod'; readonly route: Route; readonly allow: readonly string[] }
  | { readonly kind: 'none' };

export type MatchRoute = (method: string, path: string) => Match;

/** Whether a listener has the route at all. */
export const isOn = (route: Route, { kind, routes }: { kind: AuthenticatorKind; routes: Listener['routes'] }): boolean =>
  route.group === 'login' ? kind !== 'None' : routes.has(route.group);

/** The policy a principal must pass, for routes that ask for one. */
export const policyOf = (route: Route, { routes }: Pick<Listener, 'routes'>): RolePolicy | undefined =>
  route.group === 'login' ? undefined : routes.get(route.group);

interface Template {
  readonly segments: readonly string[];
  readonly routes: readonly Route[];
}

const isParameter = (segment: string): boolean => segment.startsWith('{');

/** HEAD is answered wherever GET is. */
const takes = (route: Route, method: string): boolean =>
  route.methods.some((known) => known === method || (known === 'GET' && method === 'HEAD'));

/** Finds routes of one listener; those of groups that are off are not there. */
export function createMatcher(table: readonly Route[], listener: Pick<Listener, 'kind' | 'routes'>): MatchRoute {
  const byPath = Map.groupBy(
    table.filter((route) => isOn(route, listener)),
    (route) => route.path,
  );
  const templates: Template[] = [...byPath]
    .filter(([path]) => path.includes('{'))
    .map(([path, routes]) => ({ segments: path.split('/'), routes }));
  const find = (path: string): { routes: readonly Route[]; params: readonly string[] } | undefined => {
    const exact = path.includes('{') ? undefined : byPath.get(path);
    if (exact !== undefined) return { routes: exact, params: [] };
    const segments = path.split('/');
    for (const template of templates) {
      const params = fit(template.segments, segments);
      if (params !== undefined) return { routes: template.routes, params };
    }
    return undefined;
  };
  return (method, path) => {
    const found = find(path);
    const [first] = found?.routes ?? [];
    if (found === undefined || first === undefined) return { kind: 'none' };
    const route = found.routes.find((candidate) => takes(candidate, method));
    if (route !== undefined) return { kind: 'route', route, params: found.params };
    const allow = new Set(
      found.routes.flatMap(({ methods }): string[] => [...methods, ...(methods.includes('GET') ? ['HEAD'] : [])]),
    );
    return { kind: 'otherMethod', route: first, allow: [...allow].toSorted() };
  };
}

function fit(template: readonly string[], segments: readonly string[]): string[] | undefined {
  if (template.length !== segments.length) return undefined;
  const params: string[] = [];
  for (const [index, expected] of template.entries()) {
    const given = segments[index] ?? '';
    if (isParameter(expected) && given !== '') params.push(given);
    else if (expected !== given) return undefined;
  }
  return params;
}
