/** The Neon driver, unmodified, against the inner door: what the edge does about identity is done by what it fetches with. */
import type { NeonQueryFunction } from '@neondatabase/serverless';
import { neon, neonConfig } from '@neondatabase/serverless';
import { PRINCIPAL_HEADER } from '@postern/contracts/common';
import pg from 'pg';

import type { Person, RunningSql } from './sql-test.ts';

export interface NeonAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** If it is JSON. */
  readonly json: unknown;
}

/** A request to `/sql` as it stands. */
export async function post(
  sql: RunningSql,
  person: Person,
  body: unknown,
  { headers = {}, ...init }: Omit<RequestInit, 'headers'> & { readonly headers?: Readonly<Record<string, string>> } = {},
): Promise<NeonAnswer> {
  const { [PRINCIPAL_HEADER]: assertion = '' } = await sql.headers(person);
  const response = await fetch(`${sql.origin}/sql`, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...init,
    headers: { [PRINCIPAL_HEADER]: assertion, ...headers },
  });
  const text = await response.text();
  const isJson = response.headers.get('content-type') === 'application/json';
  return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined };
}

/** As the driver asks. */
export const RAW = { 'neon-raw-text-output': 'true', 'neon-array-mode': 'true' };

const assertions = new Map<string, () => Promise<Record<string, string>>>();

neonConfig.fetchEndpoint = (host, port) => `http://${host}:${port}/sql`;
neonConfig.fetchFunction = async (
  url: string,
  init: Omit<RequestInit, 'headers'> & { readonly headers: Record<string, string> },
) => {
  const { 'Neon-Connection-String': connectionString = '', ...headers } = init.headers;
  const login = await assertions.get(decodeURIComponent(new URL(connectionString).username))?.();
  return fetch(url, { ...init, headers: { ...headers, [PRINCIPAL_HEADER]: login?.[PRINCIPAL_HEADER] ?? '' } });
};

/** A connection string for the driver. */
function urlFor(sql: RunningSql, person: Person): string {
  assertions.set(person.name, () => sql.headers(person));
  return `postgresql://${encodeURIComponent(person.name)}:secret@${new URL(sql.origin).host}/any`;
}

export const neonFor = (sql: RunningSql, person: Person): NeonQueryFunction<false, true> =>
  neon(urlFor(sql, person), { fullResults: true });

/** The same person over TCP. */
export async function overTcp(url: string, person: Person): Promise<pg.Client & AsyncDisposable> {
  const direct = new URL(url);
  direct.username = encodeURIComponent(person.name);
  direct.password = person.password;
  const client = new pg.Client({ connectionString: direct.href });
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

interface Result {
  readonly command: string | null;
  readonly rowCount: number | null;
  readonly rows: readonly unknown[];
  readonly fields: readonly object[];
}

/** What of a result is the server's; the rest differs by driver. */
export const plain = ({ command, rowCount, rows, fields }: Result): Result => ({
  command,
  rowCount,
  rows: rows.map(plainValue) as unknown[],
  fields: fields.map((field) => ({ ...field })),
});

/** The driver has a Buffer and a Date handling of its own. */
export function plainValue(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map(plainValue);
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, plainValue(part)]));
}

const ERROR_FIELDS = [
  'message',
  'severity',
  'code',
  'detail',
  'hint',
  'position',
  'internalPosition',
  'internalQuery',
  'where',
  'schema',
  'table',
  'column',
  'dataType',
  'constraint',
  'file',
  'line',
  'routine',
] as const;

/** The fields of an error, whoever made it; undefined if there was none. */
export async function errorOf(asked: Promise<unknown>): Promise<Record<string, unknown> | undefined> {
  try {
    await asked;
    return undefined;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const known = new Map<string, unknown>(Object.entries(error));
    return Object.fromEntries(ERROR_FIELDS.map((name) => [name, name === 'message' ? error.message : known.get(name)]));
  }
}
