/** Joins a client's socket with one to a service: bytes as they come, no faster than the other side reads. */
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

import { clientFrame, CLOSE, closeFrame, createBoundary, OPCODE } from '../domain/frames.ts';
import { endSoon } from './connection.ts';

export interface Splice {
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Asks the service to end the socket when it is done with what is under way. */
  drain(): void;
  /** Ends it now: with a Close frame if the client is not in the middle of another. */
  close(code: number, reason: string): void;
}

export interface Joined {
  readonly client: Duplex;
  readonly upstream: Duplex;
  /** What goes first, in each direction. */
  readonly toUpstream: Buffer;
  readonly toClient: Buffer;
}

/** What a service takes for the wish that the socket end. */
const DRAIN_PING = 'postern-drain';
/** The service has ended; the client has so long to take the rest. */
const SERVICE_LINGER_MS = 10_000;
/** The client has ended and can ask for nothing more; the service has so long to take what was asked, and to end. */
const CLIENT_LINGER_MS = 500;
/** So much of a client is read although the service does not take it: its end is heard behind it. */
const AHEAD_BYTES = 1_048_576;

/** At once, also for one that does not read: an end would stand behind all that it has not taken. */
function cutOff(stream: Duplex): void {
  if (stream instanceof Socket) stream.resetAndDestroy();
  else stream.destroy();
}

export function splice({ client, upstream, toUpstream, toClient }: Joined): Splice {
  const fromClient = createBoundary();
  const fromService = createBoundary();
  let bytesIn = 0;
  let bytesOut = 0;
  let isPingDue = false;
  let isOver = false;

  const ping = (): Buffer => clientFrame(OPCODE.ping, Buffer.from(DRAIN_PING), crypto.getRandomValues(Buffer.alloc(4)));
  const pass = (target: Duplex, source: Duplex, bytes: Buffer): void => {
    if (bytes.length === 0 || target.destroyed || target.write(bytes)) return;
    if (source === upstream || target.writableLength > AHEAD_BYTES) source.pause();
  };
  const hearClient = (chunk: Buffer): void => {
    bytesIn += chunk.length;
    const end = fromClient.pass(chunk, isPingDue);
    if (!isPingDue || !fromClient.isBetween) return pass(upstream, client, chunk);
    isPingDue = false;
    fromClient.pass(chunk.subarray(end));
    pass(upstream, client, Buffer.concat([chunk.subarray(0, end), ping(), chunk.subarray(end)]));
  };
  const hearService = (chunk: Buffer): void => {
    bytesOut += chunk.length;
    fromService.pass(chunk);
    pass(client, upstream, chunk);
  };
  const end = (ending: Duplex, ended: Duplex): void => {
    if (!ending.writableEnded) ending.end();
    const late = setTimeout(
      () => {
        cutOff(ending);
        ended.destroy();
      },
      ended === client ? CLIENT_LINGER_MS : SERVICE_LINGER_MS,
    );
    ending.once('close', () => clearTimeout(late));
  };
  /** A service that was killed said no Close: the client is told one, so that it knows to connect again. */
  const tellLoss = (): boolean => {
    if (isOver || fromService.isClosed || !fromService.isBetween || client.destroyed || client.writableEnded) return false;
    isOver = true;
    client.off('data', hearClient);
    endSoon(client, closeFrame(CLOSE.restart, 'the service was lost; connect again'));
    return true;
  };
  const join = (source: Duplex, target: Duplex, hear: (chunk: Buffer) => void): void => {
    source.on('error', () => {});
    source.on('data', hear);
    target.on('drain', () => source.resume());
    source.once('end', () => {
      if (source !== upstream || !tellLoss()) end(target, source);
    });
    source.once('close', () => {
      // The client has been told that it is over, or is told now; it goes when it has heard that.
      if (source === upstream && (isOver || tellLoss())) return;
      // What has been handed over still goes out; a side that was cut off takes the other with it.
      if (source.readableEnded) end(target, source);
      else cutOff(target);
    });
    source.resume();
  };

  hearClient(toUpstream);
  hearService(toClient);
  join(client, upstream, hearClient);
  join(upstream, client, hearService);

  return {
    get bytesIn() {
      return bytesIn;
    },
    get bytesOut() {
      return bytesOut;
    },
    drain() {
      if (isOver || upstream.destroyed) return;
      if (fromClient.isBetween) upstream.write(ping());
      else isPingDue = true;
    },
    close(code, reason) {
      if (isOver) return;
      isOver = true;
      upstream.off('data', hearService);
      client.off('data', hearClient);
      upstream.destroy();
      if (client.destroyed) return;
      if (client.writableEnded) endSoon(client);
      else if (fromService.isBetween) endSoon(client, closeFrame(code, reason));
      else client.destroy();
    },
  };
}
