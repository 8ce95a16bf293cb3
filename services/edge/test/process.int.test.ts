/** The edge as a process: settings, exit status, ports, drain. */
import { eventually } from '@postern/testkit/eventually';
import { startOwnNats } from '@postern/testkit/own-nats';
import { temporaryFolder } from '@postern/testkit/temporary-folder';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

import { edgeTest as test } from './edge-test.ts';
import { talk } from './socket-client.ts';
import { openWorld } from './world.ts';

interface Ended {
  readonly code: number | null;
  readonly output: string;
}

interface Running {
  readonly ended: Promise<Ended>;
  output(): string;
  kill(signal: NodeJS.Signals): void;
}

function start(env: Record<string, string>, args: readonly string[] = []): Running {
  const child = spawn(process.execPath, [fileURLToPath(new URL('../src/main.ts', import.meta.url)), ...args], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (text: Buffer) => (output += text.toString()));
  child.stderr.on('data', (text: Buffer) => (output += text.toString()));
  const { promise, resolve } = Promise.withResolvers<Ended>();
  child.once('close', (code) => resolve({ code, output }));
  return { ended: promise, output: () => output, kill: (signal) => void child.kill(signal) };
}

test('--help prints every setting and exits 0', async () => {
  const { code, output } = await start({}, ['--help']).ended;
  expect(code).toBe(0);
  for (const name of ['EDGE_LISTENERS_FILE', 'EDGE_PORTS_FILE', 'EDGE_CORS_ORIGINS', 'EDGE_DRAIN_NOTICE_MS'])
    expect(output).toContain(name);
});

test('a document that cannot be used ends in 78, with every mistake and where it is', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'listeners.json');
  const document = {
    http: {
      a: { addr: 'nowhere', authenticator_kind: 'Sasl', routes: { base: { enabled: true }, unheard: true } },
      b: { addr: '127.0.0.1:0', enable_tls: true, routes: {} },
    },
  };
  await writeFile(file, JSON.stringify(document));
  const { code, output } = await start({ NATS_CREDS_FILE: '/none', EDGE_LISTENERS_FILE: file }).ended;
  expect(code).toBe(78);
  for (const place of ['/http/a/addr: ', '/http/a/authenticator_kind: Sasl', '/http/a/routes/base', '/http/a/routes/unheard: '])
    expect(output).toContain(place);
  await writeFile(file, JSON.stringify({ http: { b: document.http.b } }));
  const tls = await start({ NATS_CREDS_FILE: '/none', EDGE_LISTENERS_FILE: file }).ended;
  expect([tls.code, tls.output]).toEqual([78, expect.stringContaining('/http/b/enable_tls: needs EDGE_TLS_CERT_FILE')]);
  await writeFile(file, 'not json');
  const broken = await start({ NATS_CREDS_FILE: '/none', EDGE_LISTENERS_FILE: file }).ended;
  expect([broken.code, broken.output]).toEqual([78, expect.stringContaining('is not JSON')]);
});

test('bad settings end in 78, all of them named', async () => {
  const { code, output } = await start({
    NATS_URL: 'nonsense',
    EDGE_OIDC_ISSUER: 'ftp://x',
    EDGE_OIDC_AUDIENCE: 'postern',
    EDGE_CORS_ORIGINS: 'https://a/b,*',
    EDGE_DRAIN_NOTICE_MS: '-1',
  }).ended;
  expect(code).toBe(78);
  for (const name of [
    'NATS_URL',
    'NATS_CREDS_FILE',
    'EDGE_OIDC_ISSUER',
    'EDGE_OIDC_AUDIENCE',
    'EDGE_CORS_ORIGINS',
    'EDGE_DRAIN_NOTICE_MS',
  ]) {
    expect(output).toContain(`  ${name}: `);
  }
});

test('it tells the ports it took, says 503 until the mesh is there, and drains on SIGTERM', async ({ nats }) => {
  await using folder = await temporaryFolder();
  const portsFile = join(folder.path, 'ports.json');
  const listenersFile = join(folder.path, 'listeners.json');
  const routes = { base: { enabled: true, allowed_roles: 'Normal' }, metrics: { enabled: true, allowed_roles: 'Normal' } };
  await writeFile(
    listenersFile,
    JSON.stringify({ http: { one: { addr: '127.0.0.1:0', routes }, two: { addr: '127.0.0.1:0', routes } } }),
  );
  const edge = start({
    NATS_URL: nats.url,
    NATS_CREDS_FILE: nats.credsFile('edge'),
    EDGE_LISTENERS_FILE: listenersFile,
    EDGE_PORTS_FILE: portsFile,
    EDGE_DRAIN_NOTICE_MS: '0',
  });
  await eventually(() => existsSync(portsFile), { timeoutMs: 60_000 });
  const text = await readFile(portsFile, 'utf8');
  expect(text).toMatch(/^\{.*\}\n$/);
  const ports = JSON.parse(text) as Record<string, string>;
  expect(Object.keys(ports)).toEqual(['one', 'two']);
  for (const origin of Object.values(ports)) {
    expect(origin).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect((await fetch(`${origin}/api/livez`)).status).toBe(200);
    expect((await fetch(`${origin}/api/readyz`)).status).toBe(503);
    expect((await fetch(`${origin}/api/sql`, { method: 'POST', body: '{}' })).status).toBe(503);
  }
  edge.kill('SIGTERM');
  const { code, output } = await edge.ended;
  expect(code).toBe(0);
  expect(output).not.toMatch(/BEGIN USER NKEY SEED|eyJ/);
});

test('a stop with sockets open asks for their end, ends what is left, and is done before its deadline', async () => {
  await using folder = await temporaryFolder();
  await using nats = await startOwnNats();
  await using world = await openWorld({ nats });
  const [portsFile, listenersFile] = [join(folder.path, 'ports.json'), join(folder.path, 'listeners.json')];
  const routes = { base: { enabled: true, allowed_roles: 'Normal' } };
  await writeFile(listenersFile, JSON.stringify({ http: { one: { addr: '127.0.0.1:0', routes } } }));
  const edge = start({
    NATS_URL: nats.url,
    NATS_CREDS_FILE: nats.credsFile('edge'),
    EDGE_LISTENERS_FILE: listenersFile,
    EDGE_PORTS_FILE: portsFile,
    EDGE_DRAIN_NOTICE_MS: '0',
    DRAIN_TIMEOUT_MS: '3000',
  });
  await eventually(() => existsSync(portsFile), { timeoutMs: 60_000 });
  const { one = '' } = JSON.parse(await readFile(portsFile, 'utf8')) as Record<string, string>;
  const door = { origins: { one } };
  const opened = async () => {
    const client = await talk(door, 'one', '/api/v1/sql');
    client.ws.send(JSON.stringify({ user: 'alice', password: '' }));
    expect(String(await client.next())).toBe('hello alice');
    return { client, service: world.sql.lastSocket() };
  };
  const [polite, stubborn] = [await opened(), await opened()];
  await using waiting = await talk(door, 'one', '/v2');
  polite.service.ws.on('ping', () => polite.service.ws.close(1_001, 'done'));
  edge.kill('SIGTERM');
  expect((await waiting.closed).code).toBe(1_001);
  expect(await polite.client.closed).toEqual({ code: 1_001, reason: 'done' });
  expect((await stubborn.client.closed).code).toBe(1_001);
  expect(stubborn.service.heard[0]).toMatchObject({ kind: 'ping', bytes: Buffer.from('postern-drain') });
  const { code, output } = await edge.ended;
  expect([code, /"outcome":"drained"/.test(output)]).toEqual([0, true]);
});
