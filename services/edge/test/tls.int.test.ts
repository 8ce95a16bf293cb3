import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { temporaryFolder } from '@postern/testkit/temporary-folder';
import { expect } from 'vitest';

import type { KeyPair } from '../src/domain/ports.ts';
import { basic, edgeTest as test } from './edge-test.ts';
import { sendRaw } from './raw-client.ts';
import { refusedWith, talk } from './socket-client.ts';
import { PASSWORD } from './world.ts';

const run = promisify(execFile);

async function makeKeyPair(name: string): Promise<KeyPair> {
  await using folder = await temporaryFolder();
  const [cert, key] = [join(folder.path, 'cert.pem'), join(folder.path, 'key.pem')];
  await run('openssl', [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '1',
    '-subj',
    `/CN=${name}`,
    '-addext',
    'subjectAltName=DNS:localhost,IP:127.0.0.1',
    '-keyout',
    key,
    '-out',
    cert,
  ]);
  return { cert: await readFile(cert, 'utf8'), key: await readFile(key, 'utf8') };
}

const all = { enabled: true, allowed_roles: 'NormalAndInternal' };
const document = {
  http: {
    secure: { addr: '127.0.0.1:0', authenticator_kind: 'Password', enable_tls: true, routes: { base: all, metrics: all } },
  },
};

interface Answer {
  readonly status: number;
  readonly cookies: readonly string[];
}

async function send(
  port: number,
  ca: string,
  path: string,
  init: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const { method = 'GET', headers = {}, body } = init;
  const sent = request({ host: '127.0.0.1', port, path, method, headers, ca, agent: false }, (response) => {
    response.resume();
    response.once('end', () => resolve({ status: response.statusCode ?? 0, cookies: response.headers['set-cookie'] ?? [] }));
  });
  sent.once('error', reject);
  sent.end(body);
  return promise;
}

async function subjectOf(port: number): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2', 'http/1.1'] }, () => {
    resolve(`${String(socket.getPeerCertificate().subject.CN)} ${String(socket.alpnProtocol)} ${String(socket.getProtocol())}`);
    socket.destroy();
  });
  socket.once('error', reject);
  return promise;
}

test('a listener with TLS gives a cookie that only it can set, and takes no other', async ({ open }) => {
  const keyPair = await makeKeyPair('one');
  await using world = await open({ document, keyPair });
  const port = world.port('secure');
  expect(world.origins['secure']).toBe(`https://127.0.0.1:${port}`);
  const login = await send(port, keyPair.cert, '/api/login', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username: 'alice', password: PASSWORD }),
  });
  expect([login.status, login.cookies]).toEqual([
    200,
    [expect.stringMatching(/^__Host-postern_session=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict; Secure$/)],
  ]);
  const value = login.cookies[0]?.split(';')[0] ?? '';
  expect((await send(port, keyPair.cert, '/api/me', { headers: { cookie: value } })).status).toBe(200);
  expect((await send(port, keyPair.cert, '/api/me', { headers: { cookie: value.replace('__Host-', '') } })).status).toBe(401);
  expect((await send(port, keyPair.cert, '/api/me', { headers: basic('alice', PASSWORD) })).status).toBe(200);
});

test('what is not TLS, or breaks off, ends its own connection and no other', async ({ open }) => {
  const keyPair = await makeKeyPair('one');
  await using world = await open({ document, keyPair });
  const port = world.port('secure');
  for (const bytes of ['GET / HTTP/1.1\r\nHost: edge\r\n\r\n', Buffer.from([22, 3, 1, 0, 5, 1, 0, 0, 1, 3])]) {
    expect(await sendRaw(port, bytes).catch(() => ({ answers: [], closed: true }))).toEqual({ answers: [], closed: true });
  }
  expect((await send(port, keyPair.cert, '/api/livez')).status).toBe(200);
});

test('a new certificate serves new connections, and one that is none leaves the old in place', async ({ open }) => {
  const [one, two] = [await makeKeyPair('one'), await makeKeyPair('two')];
  await using world = await open({ document, keyPair: one });
  const port = world.port('secure');
  expect(await subjectOf(port)).toBe('one http/1.1 TLSv1.3');
  world.renew(two);
  expect(await subjectOf(port)).toBe('two http/1.1 TLSv1.3');
  expect(() => world.renew({ cert: two.cert, key: one.key })).toThrow();
  expect(() => world.renew({ cert: 'nonsense', key: 'nonsense' })).toThrow();
  expect(await subjectOf(port)).toBe('two http/1.1 TLSv1.3');
});

test('a socket over TLS is opened, refused, spliced and drained like any other', async ({ open }) => {
  const keyPair = await makeKeyPair('one');
  const world = await open({ document, keyPair });
  const { token } = world.stub.openSession('bob');
  const options = { ca: keyPair.cert, rejectUnauthorized: true };
  const cookie = `__Host-postern_session=${token}`;
  const own = world.origins['secure'] ?? '';
  const status = async (headers: Record<string, string>): Promise<number> =>
    refusedWith(world, 'secure', '/api/v1/sql', { ...options, headers });
  expect(await status({ cookie, origin: own })).toBe(101);
  expect(await status({ cookie, origin: own.replace('https:', 'http:') })).toBe(403);
  await using client = await talk(world, 'secure', '/api/v1/sql', { ...options, headers: { cookie, origin: own } });
  client.ws.send('{}');
  expect(String(await client.next())).toBe('hello bob');
  const large = 'x'.repeat(1_000_000);
  client.ws.send(large);
  expect(String(await client.next())).toBe(large);
  const { ws } = world.sql.lastSocket();
  ws.on('ping', () => ws.close(1_001));
  await world.drain();
  expect((await client.closed).code).toBe(1_001);
});
