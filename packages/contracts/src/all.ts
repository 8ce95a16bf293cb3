/** Everything that is said on the bus, and by whom. Read by house rules, docs and the generated bus permissions. */
import { authService, credentialRevoked } from './auth.ts';
import type { EventContract, Service } from './define.ts';
import { eventSubject, procedureSubject } from './define.ts';
import { cancelRequested, edgeService } from './edge.ts';
import { replicaAnnounced } from './mesh.ts';
import type { ServiceName } from './mesh.ts';
import { sessionRevoked, sessionService } from './session.ts';
import { sqlService } from './sql.ts';

export const allServices: Readonly<Record<ServiceName, Service>> = {
  edge: edgeService,
  auth: authService,
  session: sessionService,
  sql: sqlService,
};

export const allEvents: readonly EventContract[] = [replicaAnnounced, credentialRevoked, sessionRevoked, cancelRequested];

interface Traffic {
  /** Subjects of procedures this service calls. */
  readonly calls: readonly string[];
  readonly emits: readonly EventContract[];
  readonly listensTo: readonly EventContract[];
}

const procedures = <S extends Service>(service: S, ...names: readonly Extract<keyof S['procedures'], string>[]): string[] =>
  names.map((name) => procedureSubject(service, name));

/** Who calls what. A call that is not here is refused by the bus, not only by habit. */
export const traffic: Readonly<Record<ServiceName, Traffic>> = {
  edge: {
    calls: [
      ...procedures(authService, 'verifyApiKey', 'trust', 'admitExternal', 'mint'),
      ...procedures(sessionService, 'login', 'authenticate', 'resolve', 'logout', 'list', 'revoke', 'revokeAll'),
    ],
    emits: [replicaAnnounced, cancelRequested],
    listensTo: [replicaAnnounced, credentialRevoked, sessionRevoked],
  },
  auth: {
    calls: [],
    emits: [replicaAnnounced, credentialRevoked],
    listensTo: [credentialRevoked],
  },
  session: {
    calls: procedures(authService, 'verifyPassword'),
    emits: [replicaAnnounced, sessionRevoked],
    listensTo: [credentialRevoked],
  },
  sql: {
    calls: procedures(authService, 'publishKeys', 'lendDatabaseLogin'),
    emits: [replicaAnnounced],
    listensTo: [credentialRevoked, sessionRevoked, cancelRequested],
  },
};

export interface BusPermissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

/** The prefix of a service's own reply inboxes; nobody else may listen there. */
export const inboxPrefix = (service: ServiceName): string => `_INBOX_${service}`;

/** The allow-list of one service on the bus: what it serves, calls, emits and hears, and nothing else. */
export function busPermissions(name: ServiceName): BusPermissions {
  const { calls, emits, listensTo } = traffic[name];
  const service = allServices[name];
  return {
    publish: [...calls, ...emits.map(eventSubject)],
    subscribe: [
      `${inboxPrefix(name)}.>`,
      ...Object.keys(service.procedures).map((procedure) => `${procedureSubject(service, procedure)} ${name}`),
      ...listensTo.map(eventSubject),
      ...['PING', 'INFO', 'STATS'].flatMap((verb) => [`$SRV.${verb}`, `$SRV.${verb}.${name}`, `$SRV.${verb}.${name}.*`]),
    ],
  };
}
