/** Upgraded connections to inner doors: one for each socket, never shared. */
import { randomBytes } from 'node:crypto';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { request } from 'node:http';
import type { Duplex } from 'node:stream';

import { acceptOf, WEBSOCKET_VERSION } from '../domain/handshake.ts';
import type { TunnelOutcome, Tunnels } from '../domain/ports.ts';

type Outcome = TunnelOutcome<Duplex>;

export interface TunnelOptions {
  readonly connectMs: number;
  /** Longest wait for the answer. */
  readonly answerMs: number;
}

const HANDSHAKE = [
  ['connection', 'Upgrade'],
  ['upgrade', 'websocket'],
  ['sec-websocket-version', WEBSOCKET_VERSION],
];

const REFUSAL_BYTES_MAX = 65_536;

export function createTunnels({ connectMs, answerMs }: TunnelOptions): Tunnels<Duplex> & Disposable {
  const open = new Set<Duplex>();
  return {
    async open({ origin, target, headers }) {
      const { hostname, port } = new URL(origin);
      const key = randomBytes(16).toString('base64');
      const sending = request({
        host: hostname.replace(/^\[|\]$/g, ''),
        port: Number(port || 80),
        path: target,
        agent: false,
        setHost: false,
        headers: [...headers, ...HANDSHAKE, ['sec-websocket-key', key]].flat(),
      });
      const outcome = await outcomeOf(sending, acceptOf(key), { connectMs, answerMs });
      if (outcome.kind === 'open') {
        open.add(outcome.stream);
        outcome.stream.once('close', () => open.delete(outcome.stream));
      }
      return outcome;
    },
    [Symbol.dispose]: () => open.forEach((stream) => stream.destroy()),
  };
}

function outcomeOf(sending: ClientRequest, accept: string, { connectMs, answerMs }: TunnelOptions): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  let isReached = false;
  const giveUp = (): void => void sending.destroy(new Error('the replica does not answer in time'));
  const unconnected = setTimeout(giveUp, connectMs);
  const unanswered = setTimeout(giveUp, answerMs);
  sending.once('socket', (socket) => {
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 60_000);
    socket.once('connect', () => {
      isReached = true;
      clearTimeout(unconnected);
    });
  });
  sending.once('upgrade', (answer: IncomingMessage, stream: Duplex, head: Buffer) => {
    stream.on('error', () => {});
    const { headers } = answer;
    if (headers['sec-websocket-accept'] === accept && headers['sec-websocket-extensions'] === undefined)
      return resolve({ kind: 'open', stream, head });
    stream.destroy();
    resolve({ kind: 'broken', isReached });
  });
  sending.once('response', (answer) => void readRefusal(answer).then(resolve));
  sending.on('error', () => resolve({ kind: 'broken', isReached }));
  sending.once('close', () => resolve({ kind: 'broken', isReached }));
  sending.end();
  return promise.finally(() => {
    clearTimeout(unconnected);
    clearTimeout(unanswered);
  });
}

async function readRefusal(answer: IncomingMessage): Promise<Outcome> {
  let body = '';
  answer.setEncoding('utf8');
  try {
    const chunks: AsyncIterable<unknown> = answer;
    for await (const chunk of chunks) {
      body += String(chunk);
      if (body.length > REFUSAL_BYTES_MAX) break;
    }
  } catch {
    // What came of it says enough.
  }
  answer.destroy();
  return { kind: 'refused', status: answer.statusCode ?? 502, body };
}
