/** The opening handshake of WebSocket (RFC 6455 4.2), as a server reads it. */
import { hash } from 'node:crypto';

import type { Head } from './head.ts';
import { promisedBytes } from './head.ts';

export type Handshake =
  | { readonly kind: 'key'; readonly key: string }
  /** The client may come again with what this says. */
  | { readonly kind: 'upgradeRequired' }
  | { readonly kind: 'malformed'; readonly reason: string };

export const WEBSOCKET_VERSION = '13';

/** 16 bytes in base64. */
const KEY = /^[A-Za-z0-9+/]{21}[AQgw]==$/;
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

const tokens = (value: string | undefined): string[] => (value ?? '').split(',').map((token) => token.trim().toLowerCase());

/** Whether the request asks for this protocol, whatever else it offers. */
export const asksForWebSocket = (upgrade: string | undefined): boolean =>
  upgrade !== undefined && upgrade.toLowerCase().includes('websocket');

export function readHandshake(method: string | undefined, httpVersion: string, head: Head): Handshake {
  const malformed = (reason: string): Handshake => ({ kind: 'malformed', reason });
  if (tokens(head.get('upgrade')).join() !== 'websocket') return { kind: 'upgradeRequired' };
  if (method !== 'GET' || httpVersion !== '1.1') return malformed('a WebSocket is opened with GET and HTTP/1.1');
  if (!tokens(head.get('connection')).includes('upgrade')) return malformed('connection does not name upgrade');
  // What a body would be to one reader is frames to another.
  if (promisedBytes(head) !== 0) return malformed('an upgrade has no body');
  if (head.get('sec-websocket-version') !== WEBSOCKET_VERSION) return { kind: 'upgradeRequired' };
  const key = head.get('sec-websocket-key') ?? '';
  return KEY.test(key) ? { kind: 'key', key } : malformed('sec-websocket-key is not 16 bytes in base64');
}

/** What proves that the handshake was understood. */
export const acceptOf = (key: string): string => hash('sha1', key + GUID, 'base64');
