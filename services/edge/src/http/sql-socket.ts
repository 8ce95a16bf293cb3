/** SQL over WebSocket: the first message says who it is, and the service never sees it. */
import type { Shown } from '../domain/identity.ts';
import { AUTH_MESSAGE_BYTES_MAX, readAuthMessage } from '../domain/in-band.ts';
import type { ClientSocket } from './client-socket.ts';
import type { Exchange } from './exchange.ts';
import { NOBODY_SHOWN, pathOf } from './exchange.ts';
import type { Refusal, SocketProtocol } from './socket-protocol.ts';
import { outOfProtocol, UNAUTHORIZED } from './socket-protocol.ts';

export const sqlSocket: SocketProtocol = {
  messageBytesMax: AUTH_MESSAGE_BYTES_MAX,
  async open(client, exchange) {
    const message = await readMessage(client);
    if (message === undefined || message.kind === 'refusal') return message;
    const read = readAuthMessage(message.bytes);
    const shown = read.kind === 'message' ? shownBy(exchange, read.credentials) : undefined;
    if (read.kind === 'malformed' || shown === undefined) return UNAUTHORIZED;
    const query = read.options === undefined ? '' : `?options=${encodeURIComponent(read.options)}`;
    return {
      kind: 'opening',
      shown,
      user: '',
      target: `${pathOf(exchange)}${query}`,
      release: (from) => from.release().bytes,
    };
  },
  refuse: (client, { code, reason }) => client.close(code, reason),
};

async function readMessage(
  client: ClientSocket,
): Promise<{ readonly kind: 'whole'; readonly bytes: Buffer } | Refusal | undefined> {
  const chunks: Buffer[] = [];
  for (;;) {
    const part = await client.read();
    switch (part.kind) {
      case 'gone':
        return undefined;
      case 'late':
        return UNAUTHORIZED;
      case 'fault':
        return outOfProtocol(part.reason, undefined, part.code);
      case 'payload':
        if (part.bytes.length > 0) chunks.push(part.bytes);
        if (part.last) return { kind: 'whole', bytes: Buffer.concat(chunks) };
    }
  }
}

/**
 * Credentials of the message beat the cookie; beside a trusted header they are one too many. Without them the cookie or the
 * header of the upgrade speaks, and a None listener has no default user here: whoever uses a socket says a name.
 */
function shownBy({ shown, entrance }: Exchange, credentials: Shown['credentials']): Shown | undefined {
  const isTrusted = shown.trusted.kind === 'user';
  if (credentials.kind !== 'none') return isTrusted ? undefined : { ...NOBODY_SHOWN, credentials };
  if (entrance.listener.kind === 'None' && !isTrusted) return undefined;
  return shown;
}
