/** PostgreSQL's wire protocol over WebSocket, up to the password; the service sees the start-up message and what follows. */
import type { Credentials } from '../domain/credentials.ts';
import { clientFrame, CLOSE, OPCODE } from '../domain/frames.ts';
import type { Startup } from '../domain/startup.ts';
import { createStartupReader, fatalError, NO_ENCRYPTION, PASSWORD_REQUEST, passwordFailed } from '../domain/startup.ts';
import type { ClientSocket } from './client-socket.ts';
import type { Exchange } from './exchange.ts';
import { NOBODY_SHOWN, pathOf } from './exchange.ts';
import type { Opening, Refusal, SocketProtocol } from './socket-protocol.ts';
import { outOfProtocol, UNAUTHORIZED } from './socket-protocol.ts';

/** As large as a message may be for the service: one frame may hold the password and a query behind it. */
const MESSAGE_BYTES_MAX = 5 * 1_048_576;

export interface Cancel {
  readonly processId: number;
  readonly secretKey: number;
}

/** `cancel` is told of requests to cancel, and by which client; as with a server, the connection ends when it is done. */
export const createPostgresSocket = (cancel: (key: Cancel, exchange: Exchange) => Promise<void>): SocketProtocol => ({
  messageBytesMax: MESSAGE_BYTES_MAX,
  open: (client, exchange) => open(client, exchange, cancel),
  refuse(client, { code, reason, sqlState, status }, user) {
    client.write(fatalError(sqlState, status === 401 ? passwordFailed(user) : reason));
    client.close(code, reason);
  },
});

async function open(
  client: ClientSocket,
  exchange: Exchange,
  cancel: (key: Cancel, exchange: Exchange) => Promise<void>,
): Promise<Opening | Refusal | undefined> {
  const reader = createStartupReader();
  let startup: Startup | undefined;
  for (;;) {
    const step = reader.next();
    switch (step.kind) {
      case 'more': {
        const part = await client.read();
        if (part.kind === 'gone') return undefined;
        if (part.kind === 'late') return outOfProtocol('canceling authentication due to timeout', '57014');
        if (part.kind === 'fault') return outOfProtocol(part.reason, undefined, part.code);
        if (part.isText) return outOfProtocol('the protocol is spoken in binary messages');
        if (part.bytes.length > 0) reader.push(part.bytes);
        break;
      }
      case 'encryption':
        client.write(NO_ENCRYPTION);
        break;
      case 'cancel':
        await cancel(step, exchange);
        client.close(CLOSE.normal, '');
        return undefined;
      case 'startup':
        ({ startup } = step);
        client.write(PASSWORD_REQUEST);
        break;
      case 'password':
        return startup === undefined ? UNAUTHORIZED : openingOf(exchange, startup, step.password, () => reader.rest());
      case 'refused':
        return outOfProtocol(step.message, step.code);
    }
  }
}

function openingOf(exchange: Exchange, startup: Startup, password: string, behind: () => Buffer): Opening {
  const credentials: Credentials = { kind: 'basic', user: startup.user, password, mayBeToken: true };
  return {
    kind: 'opening',
    shown: { ...NOBODY_SHOWN, credentials },
    user: startup.user,
    target: pathOf(exchange),
    release(client) {
      const { bytes, isOpen } = client.release();
      const binary = (payload: Buffer, fin: boolean): Buffer =>
        clientFrame(OPCODE.binary, payload, crypto.getRandomValues(Buffer.alloc(4)), fin);
      const pipelined = behind();
      const begun = pipelined.length > 0 || isOpen ? [binary(pipelined, !isOpen)] : [];
      return Buffer.concat([binary(startup.bytes, true), ...begun, bytes]);
    },
  };
}
