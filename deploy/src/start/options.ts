/** What `npm start -- …` takes. */
import { ServiceName } from '@postern/contracts/mesh';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

export interface StartOptions {
  readonly ephemeral: boolean;
  readonly json: boolean;
  readonly listenersFile: string | undefined;
  readonly services: readonly ServiceName[];
  readonly replicas: Readonly<Record<ServiceName, number>>;
  /** Where state is kept; undefined for a temporary folder. */
  readonly dataFolder: string | undefined;
  /** Port of the external listener; the internal one has this plus two. 0 takes free ones. */
  readonly port: number;
}

export type ParsedOptions =
  | { readonly kind: 'options'; readonly options: StartOptions }
  | { readonly kind: 'help' }
  | { readonly kind: 'mistakes'; readonly mistakes: readonly string[] };

const DEFAULT_PORT = 6_876;
const REPLICAS_MAX = 16;

export const HELP = `npm start -- [options]: runs the whole mesh on this machine.

  --data DIR              where state is kept [.postern]
  --ephemeral             temporary data and free ports; everything is removed at exit
  --port N                port of the external listener; the internal one has N + 2 [${DEFAULT_PORT}]
  --listeners FILE        listener document to use instead of the shipped one
  --only a,b              start these services only (${ServiceName.options.join(', ')})
  --replicas sql=2,edge=2 replicas per service, each on its own port [1]
  --json                  one JSON line on standard output when ready, everything else on standard error
  --help                  this text

Servers that are there already, instead of the embedded ones:
  POSTGRES_URL            Postgres 15 or newer, a superuser's URL
  REDIS_URL               Redis 7 or Valkey, with the login that session is to use
  NATS_URL                NATS 2.10 in operator mode; needs NATS_CREDS_DIR
  NATS_CREDS_DIR          folder with <service>.creds for each service

Variables that begin with EDGE_, AUTH_, SESSION_ or SQL_ reach that service alone; LOG_LEVEL, DRAIN_TIMEOUT_MS and OTEL_* all.
`;

/** Reads the arguments and reports all mistakes at once. */
export function parseOptions(args: readonly string[]): ParsedOptions {
  const mistakes: string[] = [];
  const { values, tokens } = parseArgs({
    args: [...args],
    strict: false,
    tokens: true,
    options: {
      help: { type: 'boolean', short: 'h' },
      ephemeral: { type: 'boolean' },
      json: { type: 'boolean' },
      listeners: { type: 'string' },
      only: { type: 'string' },
      replicas: { type: 'string' },
      data: { type: 'string' },
      port: { type: 'string' },
    },
  });
  const flags = new Set(['help', 'ephemeral', 'json']);
  const valued = new Set(['listeners', 'only', 'replicas', 'data', 'port']);
  for (const token of tokens) {
    if (token.kind === 'positional') mistakes.push(`${token.value}: is not an option`);
    if (token.kind !== 'option') continue;
    const { name, rawName, value } = token;
    if (!flags.has(name) && !valued.has(name)) mistakes.push(`${rawName}: is not known`);
    else if (flags.has(name) && value !== undefined) mistakes.push(`${rawName}: takes no value`);
    else if (valued.has(name) && (value === undefined || value === '')) mistakes.push(`${rawName}: needs a value`);
  }
  if (values['help'] === true) return { kind: 'help' };
  const text = (name: string): string | undefined => {
    const value = values[name];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const ephemeral = values['ephemeral'] === true;
  const services = readServices(text('only'), mistakes);
  const replicas = readReplicas(text('replicas'), services, mistakes);
  const port = readPort(text('port'), ephemeral ? 0 : DEFAULT_PORT, mistakes);
  if (ephemeral && text('data') !== undefined) mistakes.push('--data: makes no sense with --ephemeral');
  if (text('listeners') !== undefined && text('port') !== undefined) mistakes.push('--port: makes no sense with --listeners');
  if (mistakes.length > 0) return { kind: 'mistakes', mistakes };
  const listeners = text('listeners');
  return {
    kind: 'options',
    options: {
      ephemeral,
      json: values['json'] === true,
      listenersFile: listeners === undefined ? undefined : resolve(listeners),
      services,
      replicas,
      dataFolder: ephemeral ? undefined : resolve(text('data') ?? '.postern'),
      port,
    },
  };
}

function readServices(text: string | undefined, mistakes: string[]): readonly ServiceName[] {
  if (text === undefined) return ServiceName.options;
  const chosen = new Set<ServiceName>();
  for (const name of text.split(',').map((part) => part.trim())) {
    const parsed = ServiceName.safeParse(name);
    if (parsed.success) chosen.add(parsed.data);
    else mistakes.push(`--only: there is no service ${JSON.stringify(name)}; there are ${ServiceName.options.join(', ')}`);
  }
  return ServiceName.options.filter((name) => chosen.has(name));
}

function readReplicas(
  text: string | undefined,
  services: readonly ServiceName[],
  mistakes: string[],
): Readonly<Record<ServiceName, number>> {
  const replicas: Record<ServiceName, number> = { edge: 1, auth: 1, session: 1, sql: 1 };
  for (const part of text?.split(',') ?? []) {
    const [name = '', count = ''] = part.split('=').map((side) => side.trim());
    const parsed = ServiceName.safeParse(name);
    if (!parsed.success) mistakes.push(`--replicas: there is no service ${JSON.stringify(name)}`);
    else if (!services.includes(parsed.data)) mistakes.push(`--replicas: ${name} is not among --only`);
    else if (!/^\d+$/.test(count) || Number(count) < 1 || Number(count) > REPLICAS_MAX)
      mistakes.push(`--replicas: ${name} needs a number from 1 to ${REPLICAS_MAX}`);
    else replicas[parsed.data] = Number(count);
  }
  return replicas;
}

function readPort(text: string | undefined, fallback: number, mistakes: string[]): number {
  if (text === undefined) return fallback;
  if (/^\d+$/.test(text) && Number(text) <= 65_533) return Number(text);
  mistakes.push('--port: needs a number from 0 to 65533');
  return fallback;
}
