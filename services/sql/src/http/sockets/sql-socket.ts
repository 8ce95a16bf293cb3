/** `/api/experimental/sql` and `/api/v1/sql`: opens the session, then makes the handshake. */
import type { Logger } from 'pino';
import { WebSocketServer } from 'ws';

import type { CancelKeys } from '../../domain/cancel-keys.ts';
import type { HeldSessions } from '../../domain/held.ts';
import { presentSessionRefusal } from '../present.ts';
import { readOptions } from '../schemas.ts';
import type { SocketRoute, SocketVisit } from '../server.ts';
import { refuseUpgrade } from '../server.ts';
import { Conversation } from './conversation.ts';
import type { Lifetimes } from './lifetime.ts';
import type { Receiving } from './receiving.ts';

export interface SqlSocketOptions {
  readonly sessions: HeldSessions;
  readonly cancelKeys: CancelKeys;
  readonly lifetimes: Lifetimes;
  readonly receiving: Receiving;
  readonly log: Logger;
}

/** Bytes of a message, 5 MiB; a longer one ends the connection with 1009. */
const MESSAGE_BYTES_MAX = 5_242_880;

export function sqlSocketRoutes(options: SqlSocketOptions): SocketRoute[] {
  const server = createSocketServer();
  const route = (path: string, isVersioned: boolean): SocketRoute => ({
    path,
    accept: (visit) => accept(visit, { ...options, server, isVersioned }),
  });
  return [route('/api/experimental/sql', false), route('/api/v1/sql', true)];
}

/** Compression would let a small message become a large one, and its memory is not bounded (imm-126). */
const createSocketServer = (): WebSocketServer =>
  new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    autoPong: false,
    maxPayload: MESSAGE_BYTES_MAX,
  });

async function accept(
  { caller, request, socket, head, requestId }: SocketVisit,
  {
    sessions,
    cancelKeys,
    lifetimes,
    log,
    server,
    receiving,
    isVersioned,
  }: SqlSocketOptions & {
    readonly server: WebSocketServer;
    readonly isVersioned: boolean;
  },
): Promise<void> {
  const settings = readOptions(request.url ?? '');
  const { principal } = caller;
  lifetimes.requireRoom(principal);
  const conversation = new Conversation({ principal, socket, cancelKeys, isVersioned, log: log.child({ requestId }) });
  const gone = Promise.withResolvers<void>();
  socket.once('close', () => gone.resolve());
  // From now on: a revocation that comes while the session is opened is not to be missed.
  socket.once('close', lifetimes.add(conversation));
  const opening = await sessions.open({ caller, settings, events: conversation, giveUp: gone.promise });
  if (opening.kind === 'refused') return refuseUpgrade(socket, presentSessionRefusal(opening.error, opening.isDenied));
  const { session, notices } = opening;
  if (socket.destroyed) return session.close();
  let isMade = false;
  server.handleUpgrade(request, socket, head, (ws) => {
    isMade = true;
    conversation.start(ws, session, notices);
    receiving({ socket, ws, owner: conversation, messageBytesMax: MESSAGE_BYTES_MAX });
  });
  if (!isMade) session.close();
}
