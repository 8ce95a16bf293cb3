/** A caller of the public door. */
import { randomBytes, randomInt } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Agent, request as send } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';

import type { Mesh } from './mesh.ts';

export type Credential = Readonly<Record<string, string>>;

export const basic = (name: string, password: string): Credential => ({
  authorization: `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`,
});
export const bearer = (token: string): Credential => ({ authorization: `Bearer ${token}` });
const cookie = (value: string): Credential => ({ cookie: value });

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  json(): unknown;
}

const agent = new Agent({ keepAlive: true, timeout: 20_000 });

/** Where requests come from: failed logins are counted by it, so that scenarios need to be different clients. */
let client: string | undefined;

/** Becomes another client, where the machine lets us: on Linux every address of 127/8 is ours. */
export function becomeAnotherClient(): void {
  const part = (): number => randomInt(1, 255);
  client = process.platform === 'linux' ? `127.${part()}.${part()}.${part()}` : undefined;
}

export interface RequestOptions {
  readonly method?: string;
  readonly headers?: Credential;
  readonly json?: unknown;
  readonly body?: string;
  readonly timeoutMs?: number;
  /** Whether a lock after failed logins is what the scenario is about; else it is waited out. */
  readonly expectsLock?: boolean;
}

export async function request(origin: string, path: string, options: RequestOptions = {}): Promise<Answer> {
  const answer = await requestOnce(origin, path, options);
  if (answer.status !== 429 || options.expectsLock === true) return answer;
  await delay(Number(answer.headers.get('retry-after')) * 1_000);
  return requestOnce(origin, path, options);
}

async function requestOnce(origin: string, path: string, options: RequestOptions): Promise<Answer> {
  const url = new URL(path, origin);
  const body = options.json === undefined ? options.body : JSON.stringify(options.json);
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const sent = send(url, {
    agent,
    method: options.method ?? (body === undefined ? 'GET' : 'POST'),
    headers: { ...(options.json !== undefined && { 'content-type': 'application/json' }), ...options.headers },
    signal: AbortSignal.timeout(options.timeoutMs ?? 30_000),
    ...(client !== undefined && url.hostname.startsWith('127.') && { localAddress: client }),
  });
  sent.once('response', resolve);
  sent.on('error', reject);
  sent.end(body);
  const response = await promise;
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += String(chunk);
  const headers = new Headers();
  for (const [name, values] of Object.entries(response.headersDistinct)) {
    for (const value of values ?? []) headers.append(name, value);
  }
  return { status: response.statusCode ?? 0, headers, text, json: () => JSON.parse(text) as unknown };
}

const Results = z.object({
  results: z.array(
    z.looseObject({
      rows: z.array(z.array(z.unknown())).optional(),
      ok: z.string().optional(),
      error: z.looseObject({ message: z.string(), code: z.string() }).optional(),
    }),
  ),
});
export type Entry = z.output<typeof Results>['results'][number];

/** Runs statements and answers an entry for each; anything but a 200 is thrown. */
export async function sql(origin: string, credential: Credential, query: string): Promise<readonly Entry[]> {
  const answer = await request(origin, '/api/sql', { json: { query }, headers: credential });
  if (answer.status !== 200) throw new Error(`${answer.status} ${answer.text}`);
  return Results.parse(answer.json()).results;
}

/** The first value of the last statement. */
export async function valueOf(origin: string, credential: Credential, query: string): Promise<unknown> {
  const last = (await sql(origin, credential, query)).at(-1);
  if (last?.error !== undefined) throw new Error(`${last.error.code} ${last.error.message}`);
  return last?.rows?.[0]?.[0];
}

/** Logs in and answers the cookie as a browser would send it. */
export async function login(origin: string, name: string, password: string): Promise<Credential> {
  const answer = await request(origin, '/api/login', { json: { username: name, password } });
  const [pair = ''] = (answer.headers.getSetCookie()[0] ?? '').split(';');
  if (answer.status !== 200 || pair === '') throw new Error(`login: ${answer.status} ${answer.text}`);
  return cookie(pair);
}

export interface Person extends AsyncDisposable {
  readonly name: string;
  readonly password: string;
  readonly basic: Credential;
}

type Group = 'reader' | 'writer' | 'admin' | 'agent';

/** A person for one scenario. */
export async function makePerson(mesh: Pick<Mesh, 'edges' | 'apiKey'>, ...roles: readonly Group[]): Promise<Person> {
  const name = `p_${randomBytes(5).toString('hex')}`;
  const password = randomBytes(12).toString('base64url');
  const [origin] = mesh.edges;
  const made = await request(origin, '/api/people', { json: { name, password, roles }, headers: bearer(mesh.apiKey) });
  if (made.status !== 201) throw new Error(`person: ${made.status} ${made.text}`);
  return {
    name,
    password,
    basic: basic(name, password),
    async [Symbol.asyncDispose]() {
      await request(origin, `/api/people/${name}`, { method: 'DELETE', headers: bearer(mesh.apiKey) });
    },
  };
}

const Key = z.looseObject({ id: z.string(), key: z.string() });

export async function makeKey(mesh: Mesh, person: string): Promise<z.output<typeof Key>> {
  const made = await request(mesh.edges[0], '/api/keys', {
    json: { name: 'e2e', person },
    headers: bearer(mesh.apiKey),
  });
  if (made.status !== 201) throw new Error(`key: ${made.status} ${made.text}`);
  return Key.parse(made.json());
}
