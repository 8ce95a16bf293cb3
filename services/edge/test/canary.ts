/** A server that stands where a service does, and records what arrived: the judge of everything that is forwarded. */
import type { Principal } from '@postern/contracts/common';
import type { VerifyAssertion } from '@postern/service-kit/assertion';
import { openDoor } from '@postern/service-kit/door';
import type { IncomingMessage, ServerResponse } from 'node:http';

export interface Arrived {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  /** Values of a header, by any spelling that a careless reader would take for it. */
  values(name: string): string[];
  body: string;
  /** Whom the assertion names, if it is valid for this service. */
  principal: Principal | undefined;
  /** The edge gave up before the answer was whole. */
  aborted: boolean;
}

export type Reply = (request: IncomingMessage, response: ServerResponse, arrived: Arrived) => void;

export interface Canary extends AsyncDisposable {
  readonly origin: string;
  readonly arrived: Arrived[];
  /** How the next requests are answered; undefined for the usual answer. */
  reply: Reply | undefined;
  /** Ends what hangs. */
  release(): void;
  last(): Arrived;
}

const careless = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '-');

export async function openCanary(verify: VerifyAssertion): Promise<Canary> {
  const arrived: Arrived[] = [];
  const open = new Set<ServerResponse>();
  const take = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { rawHeaders } = request;
    const entry: Arrived = {
      method: request.method ?? '',
      url: request.url ?? '',
      rawHeaders,
      values: (name) =>
        rawHeaders.filter((_, index) => index % 2 === 1 && careless(rawHeaders[index - 1] ?? '') === careless(name)),
      body: '',
      principal: undefined,
      aborted: false,
    };
    arrived.push(entry);
    open.add(response);
    response.once('close', () => {
      open.delete(response);
      entry.aborted = !response.writableFinished;
    });
    const assertion = entry.values('x-postern-principal');
    if (assertion.length === 1) entry.principal = await verify(assertion[0] ?? '').catch(() => undefined);
    if (canary.reply !== undefined) return canary.reply(request, response, entry);
    request.setEncoding('latin1');
    for await (const chunk of request as AsyncIterable<string>) entry.body += chunk;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ name: entry.principal?.name ?? null, url: entry.url }));
  };
  const door = await openDoor((request, response) => void take(request, response).catch(() => response.destroy()), {
    host: '127.0.0.1',
    port: 0,
  });
  const release = (): void => open.forEach((response) => response.destroy());
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    release();
    const closed = door[Symbol.asyncDispose]();
    door.server.closeAllConnections();
    await closed;
  };
  const canary: Canary = {
    origin: door.origin,
    arrived,
    reply: undefined,
    release,
    last() {
      const entry = arrived.at(-1);
      if (entry === undefined) throw new Error('nothing arrived');
      return entry;
    },
    [Symbol.asyncDispose]: () => (closing ??= close()),
  };
  return canary;
}
