/** `/v2`: where the Neon driver's Pool and Client connect. */
import type { Logger } from 'pino';
import { WebSocketServer } from 'ws';

import type { SocketRoute } from '../server.ts';
import type { Lifetimes } from './lifetime.ts';
import type { TunnelOptions } from './tunnel.ts';
import type { Receiving } from './receiving.ts';
import { Tunnel } from './tunnel.ts';

export interface TunnelRouteOptions extends TunnelOptions {
  readonly lifetimes: Lifetimes;
  readonly receiving: Receiving;
  readonly log: Logger;
}

/** Bytes of a message, 16 MiB: the driver puts all it writes at a time into one. A longer one ends the connection with 1009. */
const MESSAGE_BYTES_MAX = 16_777_216;

export function tunnelRoute({ lifetimes, receiving, log, ...options }: TunnelRouteOptions): SocketRoute {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    autoPong: false,
    maxPayload: MESSAGE_BYTES_MAX,
  });
  return {
    path: '/v2',
    async accept({ caller, request, socket, head, requestId }) {
      lifetimes.requireRoom(caller.principal);
      server.handleUpgrade(request, socket, head, (ws) => {
        const tunnel = new Tunnel(ws, { ...options, caller, log: log.child({ requestId }) });
        receiving({ socket, ws, owner: tunnel, messageBytesMax: MESSAGE_BYTES_MAX });
        ws.once('close', lifetimes.add(tunnel));
      });
    },
  };
}
