/** What a start that is ready tells: one JSON line for programs, a few lines for people. */
import type { ServiceName } from '@postern/contracts/mesh';

export interface Report {
  readonly listeners: Readonly<Record<string, string>>;
  readonly admin: { readonly user: string; readonly password: string };
  readonly apiKey: string;
  readonly databaseUrl: string;
  readonly natsUrl: string;
  readonly redisUrl: string;
  readonly pids: Readonly<Partial<Record<ServiceName, readonly number[]>>>;
}

export const reportAsJson = (report: Report): string => `${JSON.stringify({ event: 'ready', ...report })}\n`;

export function reportInWords({ listeners, admin, pids }: Report, logsFolder: string): string {
  const address = Object.values(listeners)[0];
  const services = Object.entries(pids).map(([name, replicas]) =>
    replicas.length === 1 ? name : `${name} × ${replicas.length}`,
  );
  if (address === undefined) return `\nPostern runs ${services.join(', ')}. Logs are in ${logsFolder}. Ctrl-C stops it.\n`;
  const insecure = address.startsWith('https:') ? '-k ' : '';
  return `
Postern is ready at ${address}

  first login   ${admin.user} / ${admin.password}
  first query   curl ${insecure}-u '${admin.user}:${admin.password}' -H 'content-type: application/json' -d '{"query":"select current_user"}' ${address}/api/sql

Running: ${services.join(', ')}. Logs are in ${logsFolder}. Ctrl-C stops it.
`;
}
