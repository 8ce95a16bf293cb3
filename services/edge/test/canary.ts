/** A server that stands where a service does, and records what arrived: the judge of everything that is forwarded. */
import type { Principal } from '@postern/contracts/common';
import type { VerifyAssertion } from '@postern/service-kit/assertion';
import { openDoor } from '@postern/service-kit/door';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { WebSocketServer } from 'ws';

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

/** A socket that was opened here, read as a service reads it. */
export interface ArrivedSocket extends Pick<Arrived, 'url' | 'values' | 'principal'> {
  readonly ws: WebSocket;
  readonly stream: Duplex;
  /** Messages, pings and the close in the order in which they came. */
  readonly heard: { readonly kind: 'text' | 'binary' | 'ping' | 'close'; readonly bytes: Buffer; readonly code?: number }[];
}

/** Answers an upgrade in its own way. */
export type UpgradeReply = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

export type Reply = (request: IncomingMessage, response: ServerResponse, arrived: Arrived) => void;

export interface Canary extends AsyncDisposable {
  readonly server: Server;
  readonly origin: string;
  readonly arrived: Arrived[];
  /** How the next requests are answered; undefined for the usual answer. */
  reply: Reply | undefined;
  readonly sockets: ArrivedSocket[];
  /** How the next upgrades are answered; undefined for a socket that says hello and echoes. */
  upgrade: UpgradeReply | undefined;
  lastSocket(): ArrivedSocket;
  /** Ends what hangs. */
  release(): void;
  last(): Arrived;
}

const careless = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '-');

const valuesOf =
  (rawHeaders: readonly string[]) =>
  (name: string): string[] =>
    rawHeaders.filter((_, index) => index % 2 === 1 && careless(rawHeaders[index - 1] ?? '') === careless(name));

export async function openCanary(verify: VerifyAssertion): Promise<Canary> {
  const arrived: Arrived[] = [];
  const open = new Set<ServerResponse>();
  const take = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { rawHeaders } = request;
    const entry: Arrived = {
      method: request.method ?? '',
      url: request.url ?? '',
      rawHeaders,
      values: valuesOf(rawHeaders),
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
  const sockets: ArrivedSocket[] = [];
  const server = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 6 * 1_048_576 });
  const takeSocket = async (request: IncomingMessage, stream: Duplex, head: Buffer): Promise<void> => {
    stream.on('error', () => {});
    const { rawHeaders, url = '' } = request;
    const values = valuesOf(rawHeaders);
    if (canary.upgrade !== undefined) return canary.upgrade(request, stream, head);
    const assertion = values('x-postern-principal');
    const principal = assertion.length === 1 ? await verify(assertion[0] ?? '').catch(() => undefined) : undefined;
    server.handleUpgrade(request, stream, head, (ws) => {
      const entry: ArrivedSocket = { url, values, principal, ws, stream, heard: [] };
      sockets.push(entry);
      ws.on('error', () => {});
      ws.on('message', (bytes: Buffer, isBinary) => {
        entry.heard.push({ kind: isBinary ? 'binary' : 'text', bytes });
        ws.send(bytes, { binary: isBinary });
      });
      ws.on('ping', (bytes) => entry.heard.push({ kind: 'ping', bytes }));
      ws.on('close', (code, bytes) => entry.heard.push({ kind: 'close', bytes, code }));
      ws.send(`hello ${principal?.name ?? 'nobody'}`);
    });
  };
  const door = await openDoor((request, response) => void take(request, response).catch(() => response.destroy()), {
    host: '127.0.0.1',
    port: 0,
    prepare: (opened) =>
      void opened.on(
        'upgrade',
        (request: IncomingMessage, stream: Duplex, head: Buffer) => void takeSocket(request, stream, head),
      ),
  });
  const release = (): void => {
    open.forEach((response) => response.destroy());
    sockets.forEach(({ ws }) => ws.terminate());
  };
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    release();
    const closed = door[Symbol.asyncDispose]();
    door.server.closeAllConnections();
    await closed;
  };
  const canary: Canary = {
    origin: door.origin,
    server: door.server,
    arrived,
    reply: undefined,
    sockets,
    upgrade: undefined,
    lastSocket() {
      const entry = sockets.at(-1);
      if (entry === undefined) throw new Error('no socket arrived');
      return entry;
    },
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
