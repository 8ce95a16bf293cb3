/** The tunnel between a WebSocket and a session that is none. */
import { eventually } from '@postern/testkit/eventually';
import { principalOf } from '@postern/testkit/principals';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';

import { createCancelKeys } from '../../domain/cancel-keys.ts';
import { createGuard } from '../../domain/guard.ts';
import type { WireListener, WireSession } from '../../domain/neon-tunnel.ts';
import { createReceiving } from './receiving.ts';
import { Tunnel } from './tunnel.ts';

const startup = Buffer.from('\0\0\0\x14\0\x03\0\0user\0alice\0\0', 'latin1');
const query = Buffer.from('Q\0\0\0\x0dselect 1\0', 'latin1');

async function openTunnel() {
  const written: string[] = [];
  const cancels: PromiseWithResolvers<void>[] = [];
  let listener: WireListener | undefined;
  const session: WireSession = {
    processId: 7,
    parameters: new Map(),
    listen: (who) => (listener = who),
    write: (bytes) => written.push(bytes.toString('latin1')) > 0,
    pause: () => {},
    resume: () => {},
    cancel: () => {
      const under = Promise.withResolvers<void>();
      cancels.push(under);
      return under.promise;
    },
    end: () => {},
  };
  const server = createServer();
  const sockets = new WebSocketServer({ server });
  const cancelKeys = createCancelKeys();
  const receiving = createReceiving(1_000);
  const served: WebSocket[] = [];
  sockets.on('connection', (ws, { socket }) => {
    served.push(ws);
    const sessions = { open: async () => ({ kind: 'open', session }) as const };
    const log = pino({ level: 'silent' });
    const tunnel = new Tunnel(ws, {
      caller: { principal: principalOf('alice'), assertion: '' },
      log,
      sessions,
      cancelKeys,
      guard: createGuard(),
      database: 'app',
    });
    receiving({ socket, ws, owner: tunnel, messageBytesMax: 1_000 });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const client = new WebSocket(`ws://127.0.0.1:${port}`);
  const greeting = once(client, 'message');
  await once(client, 'open');
  client.send(startup);
  const [bytes] = (await greeting) as [Buffer];
  const at = bytes.indexOf('K\0\0\0\x0c', 0, 'latin1');
  client.send(query);
  await eventually(() => expect(written).toHaveLength(1));
  return {
    client,
    written,
    cancels,
    served: served[0],
    listener: () => listener,
    cancel: async () => cancelKeys.cancel(bytes.readInt32BE(at + 5), bytes.readInt32BE(at + 9)),
    async [Symbol.asyncDispose]() {
      if (client.readyState !== WebSocket.CLOSED) {
        client.terminate();
        await once(client, 'close');
      }
      sockets.close();
      server.close();
    },
  };
}

test('while a cancel is under way, what comes is held: the signal is for what came before', async () => {
  await using tunnel = await openTunnel();
  const { client, written, cancels, served, cancel } = tunnel;
  const canceled = [cancel(), cancel()];
  client.send(query);
  await eventually(() => expect(served?.isPaused).toBe(true));
  expect(written).toHaveLength(1);
  cancels[0]?.resolve();
  client.send(query);
  await new Promise(setImmediate);
  expect(written).toHaveLength(1);
  for (const { resolve } of cancels) resolve();
  expect(await Promise.all(canceled)).toEqual([true, true]);
  await eventually(() => expect(written.join('')).toHaveLength(3 * query.length));
});

test('who sends more within messages than is taken is not read any more, whatever the session has room for', async () => {
  await using tunnel = await openTunnel();
  const { client, written, served } = tunnel;
  client.send(Buffer.alloc(2_000), { fin: false });
  await eventually(() => expect(served?.readyState).toBe(WebSocket.CLOSING));
  tunnel.listener()?.drained();
  expect(served?.isPaused).toBe(true);
  expect(written).toHaveLength(1);
});
