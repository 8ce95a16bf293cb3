/** Two connections joined, with a service that reads nothing. */
import { eventually } from '@postern/testkit/eventually';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { expect, test } from 'vitest';

import { closeFrame } from '../domain/frames.ts';
import type { Splice } from './splice.ts';
import { splice } from './splice.ts';

interface Ends extends AsyncDisposable {
  readonly spliced: Splice;
  readonly client: Socket;
  readonly service: Socket;
  /** The edge's ends of both connections. */
  readonly fromClient: Socket;
  readonly upstream: Socket;
}

/** What the client has at one end, and the service at the other. */
async function joined(): Promise<Ends> {
  const pair = async (): Promise<[Socket, Socket, () => void]> => {
    const server = createServer({ allowHalfOpen: true });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const address = server.address();
    const far = connect({ port: typeof address === 'object' ? (address?.port ?? 0) : 0, host: '127.0.0.1', allowHalfOpen: true });
    // Before it is connected: nothing is taken from the system until somebody asks.
    far.pause();
    const [near] = (await once(server, 'connection')) as [Socket];
    return [far, near, () => server.close()];
  };
  const [client, fromClient, stopOne] = await pair();
  const [upstream, service, stopTwo] = await pair();
  service.on('error', () => {});
  client.on('error', () => {});
  service.pause();
  const spliced = splice({ client: fromClient, upstream, toUpstream: Buffer.alloc(0), toClient: Buffer.alloc(0) });
  return {
    spliced,
    client,
    service,
    fromClient,
    upstream,
    async [Symbol.asyncDispose]() {
      for (const socket of [client, fromClient, upstream, service]) socket.destroy();
      stopOne();
      stopTwo();
    },
  };
}

/** As a service does that looks whether its client is there. */
async function untilGone({ service }: Ends): Promise<void> {
  await eventually(
    () => {
      service.write(Buffer.from([0x89, 0]));
      expect(service.destroyed).toBe(true);
    },
    { intervalMs: 100, timeoutMs: 5_000 },
  );
}

const CHUNK = Buffer.alloc(65_536, 0x82);

test('a client that is cut off takes the service’s side with it at once, whatever has not been taken', async () => {
  await using ends = await joined();
  while (ends.client.writableLength < 2_000_000) {
    ends.client.write(CHUNK);
    await new Promise(setImmediate);
  }
  ends.client.resetAndDestroy();
  await untilGone(ends);
});

test('the end of a client’s words is heard behind some that have not been taken', async () => {
  await using ends = await joined();
  let looks = 0;
  await eventually(
    () => {
      looks = ends.upstream.writableLength === 0 ? 0 : looks + 1;
      if (looks === 0) ends.client.write(CHUNK);
      return looks >= 20;
    },
    { intervalMs: 5, timeoutMs: 20_000 },
  );
  for (let count = 0; count < 4; count += 1) ends.client.write(CHUNK);
  ends.client.end();
  await untilGone(ends);
});

test('a client that has said its last word and reads on is not waited for long', async () => {
  await using ends = await joined();
  ends.client.write(CHUNK);
  ends.client.end();
  await untilGone(ends);
});

/** Says something, twice, before it reads: the first word would be answered with a reset, the second would find one. */
async function heardAfterWriting(client: Socket): Promise<Buffer> {
  client.write('something');
  await new Promise(setImmediate);
  client.end('and more');
  return Buffer.concat(await client.toArray());
}

/** Otherwise a driver whose socket is closed under its hands sees a broken connection, and never why. */
test('the words that a socket is closed with arrive, also at a client that still has something to say', async () => {
  await using ends = await joined();
  const closed = once(ends.upstream, 'close');
  ends.spliced.close(4_401, 'the credentials have ended');
  await closed;
  expect(ends.fromClient.destroyed).toBe(false);
  expect(await heardAfterWriting(ends.client)).toEqual(closeFrame(4_401, 'the credentials have ended'));
});

test('a socket that is closed when the service has said its last words is not cut off before they arrive', async () => {
  await using ends = await joined();
  ends.service.end(closeFrame(1_000, 'done'));
  await once(ends.upstream, 'end');
  ends.spliced.close(4_401, 'the credentials have ended');
  expect(await heardAfterWriting(ends.client)).toEqual(closeFrame(1_000, 'done'));
});
