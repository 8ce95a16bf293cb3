import { expect, test } from 'vitest';

import { acceptOf, asksForWebSocket, readHandshake } from './handshake.ts';

const RIGHT = {
  host: 'edge',
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

const read = (changes: Record<string, string | undefined> = {}, method = 'GET', version = '1.1'): string => {
  const entries = Object.entries({ ...RIGHT, ...changes }).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return readHandshake(method, version, new Map(entries)).kind;
};

test('the example of RFC 6455 1.3 is answered as there', () => {
  expect(acceptOf(RIGHT['sec-websocket-key'])).toBe('s3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
});

test.each([
  [{}, 'key'],
  [{ connection: 'keep-alive, Upgrade' }, 'key'],
  [{ upgrade: 'WebSocket' }, 'key'],
  [{ upgrade: undefined }, 'upgradeRequired'],
  [{ upgrade: 'h2c' }, 'upgradeRequired'],
  [{ upgrade: 'websocket, h2c' }, 'upgradeRequired'],
  [{ upgrade: 'websocket2' }, 'upgradeRequired'],
  [{ 'sec-websocket-version': '12' }, 'upgradeRequired'],
  [{ 'sec-websocket-version': '13, 8' }, 'upgradeRequired'],
  [{ 'sec-websocket-version': undefined }, 'upgradeRequired'],
  [{ connection: undefined }, 'malformed'],
  [{ connection: 'close' }, 'malformed'],
  [{ 'sec-websocket-key': undefined }, 'malformed'],
  [{ 'sec-websocket-key': 'AAAA' }, 'malformed'],
  [{ 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZR==' }, 'malformed'],
  [{ 'sec-websocket-key': `${RIGHT['sec-websocket-key']}, x` }, 'malformed'],
  [{ 'content-length': '1' }, 'malformed'],
  [{ 'content-length': '0' }, 'key'],
  [{ 'transfer-encoding': 'chunked' }, 'malformed'],
] as const)('%j is %s', (changes, kind) => {
  expect(read(changes)).toBe(kind);
});

test('only GET and HTTP/1.1 open a socket', () => {
  expect([read({}, 'POST'), read({}, 'HEAD'), read({}, 'GET', '1.0')]).toEqual(['malformed', 'malformed', 'malformed']);
});

test('whoever offers WebSocket among others asks for it', () => {
  expect(['websocket', 'h2c, WEBSOCKET', 'h2c', undefined].map(asksForWebSocket)).toEqual([true, true, false, false]);
});
