/**
 * Who may say and hear what on the bus. Identity travels signed inside messages; these lists are the second wall, so that a
 * service that is taken over cannot speak for another one.
 */
import type { NatsConnection } from '@nats-io/transport-node';
import { connect, credsAuthenticator, errors, headers } from '@nats-io/transport-node';
import { allEvents, allServices, busPermissions, inboxPrefix } from '@postern/contracts/all';
import { eventSubject, procedureSubject } from '@postern/contracts/define';
import type { ServiceName } from '@postern/contracts/mesh';
import { createBusKeys, issueAccount } from '@postern/deploy/setup/nats';
import { readFile, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { expect, test } from 'vitest';

import { busTest, connectAs } from '../src/bus-test.ts';
import { eventually } from '../src/eventually.ts';
import { startOwnNats } from '../src/own-nats.ts';

const names = Object.keys(allServices) as ServiceName[];
const spoken = [
  ...Object.values(allServices).flatMap((service) =>
    Object.keys(service.procedures).map((procedure) => procedureSubject(service, procedure)),
  ),
  ...allEvents.map(eventSubject),
];
/** Nobody's subjects: the server's own, those of other protocols, and a stray one. */
const foreign = ['$SYS.REQ.SERVER.PING', '$SYS.REQ.ACCOUNT.PING.CONNZ', '$JS.API.INFO', '$JS.API.STREAM.LIST', '$G.x', 'stray'];
const inboxes = [...names.map((name) => `${inboxPrefix(name)}.abc.1`), '_INBOX.abc.1', '_R_.abc'];
const asking = names.flatMap((name) => ['PING', 'INFO', 'STATS'].flatMap((verb) => [`$SRV.${verb}`, `$SRV.${verb}.${name}`]));
/** The last thing a test does, and refused for all: when its refusal has come, all others have. */
const LAST = 'last.of.all';

/** Collects what the server refuses on a connection. */
function refusals(connection: NatsConnection): Set<string> {
  const refused = new Set<string>();
  const watch = async (): Promise<void> => {
    for await (const status of connection.status()) {
      if (status.type !== 'error' || !(status.error instanceof errors.PermissionViolationError)) continue;
      const { subject, queue } = status.error;
      refused.add(queue === undefined || queue === '' ? subject : `${subject} ${queue}`);
    }
  };
  void watch();
  return refused;
}

busTest.for(names)('%s publishes what the contracts say and nothing else', async (name, { bus }) => {
  const connection = await bus(name);
  const refused = refusals(connection);
  const { publish } = busPermissions(name);
  const tried = [...new Set([...spoken, ...inboxes, ...asking, ...foreign])];
  for (const subject of tried) connection.publish(subject, '{}');
  connection.publish(LAST);
  await eventually(() => refused.has(LAST));
  expect([...refused].toSorted()).toEqual([...tried.filter((subject) => !publish.includes(subject)), LAST].toSorted());
  // The list itself names subjects, never patterns: what is tried above is then all there is.
  expect(publish.filter((subject) => /[*>]/.test(subject))).toEqual([]);
});

busTest.for(names)(
  '%s hears what the contracts say and nothing else, whatever the queue group [imm-123]',
  async (name, { bus }) => {
    const connection = await bus(name);
    const refused = refusals(connection);
    const { subscribe } = busPermissions(name);
    const patterns = [
      '>',
      '*',
      '*.>',
      'rpc.>',
      'rpc.*.v1.*',
      'evt.>',
      'evt.*.v1.*',
      '$SRV.>',
      '$SYS.>',
      '$JS.>',
      '_INBOX.>',
      '_INBOX*.>',
    ];
    const others = names.filter((other) => other !== name).map((other) => `${inboxPrefix(other)}.>`);
    const plain = [...spoken, ...patterns, ...others, ...inboxes, ...asking, ...foreign];
    const queued = spoken.flatMap((subject) => [...names, 'stray'].map((queue) => `${subject} ${queue}`));
    const tried = [...new Set([...plain, ...queued])];
    for (const wanted of tried) {
      const [subject = '', queue] = wanted.split(' ');
      connection.subscribe(subject, { callback: () => {}, ...(queue !== undefined && { queue }) });
    }
    connection.subscribe(LAST, { callback: () => {} });
    await eventually(() => refused.has(LAST));
    const own = (wanted: string): boolean => {
      const [subject = ''] = wanted.split(' ');
      // An event that may be heard may be heard in a group too; a procedure is served in the service's own group only.
      return subscribe.includes(wanted) || subscribe.includes(subject) || subject.startsWith(`${inboxPrefix(name)}.`);
    };
    expect([...refused].toSorted()).toEqual([...tried.filter((wanted) => !own(wanted)), LAST].toSorted());
  },
);

busTest('a service may not answer a question that was not put to it', async ({ bus }) => {
  const [asker, served, rogue] = [await bus('edge'), await bus('auth'), await bus('sql')];
  const refused = refusals(rogue);
  served.subscribe('rpc.auth.v1.mint', {
    queue: 'auth',
    callback: (_error, message) => {
      rogue.publish(message.reply ?? '', 'forged');
      void rogue.flush().then(() => message.respond('true'));
    },
  });
  await served.flush();
  const answer = await asker.request('rpc.auth.v1.mint', '{}', { timeout: 5_000 });
  expect(answer.string()).toBe('true');
  await eventually(() => refused.size === 1);
});

busTest('a question is answered once: a second answer is refused', async ({ bus }) => {
  const [asker, served] = [await bus('edge'), await bus('auth')];
  const refused = refusals(served);
  served.subscribe('rpc.auth.v1.mint', {
    queue: 'auth',
    callback: (_error, message) => {
      message.respond('one');
      message.respond('two');
    },
  });
  await served.flush();
  expect((await asker.request('rpc.auth.v1.mint', '{}', { timeout: 5_000 })).string()).toBe('one');
  await eventually(() => refused.size === 1);
});

/** nats-server CVE-2026-33249 and CVE-2026-58254: a header made the server publish for a client that may not itself. */
busTest('a trace header does not make the server publish where its sender may not [imm-124, imm-125]', async ({ bus }) => {
  const [speaker, sender, listener] = [await bus('auth'), await bus('sql'), await bus('session')];
  const heard: string[] = [];
  listener.subscribe('evt.auth.v1.revoked', { callback: (_error, message) => void heard.push(message.string()) });
  await listener.flush();
  for (const [name, value] of [
    ['Nats-Trace-Dest', 'evt.auth.v1.revoked'],
    ['Nats-Trace-Only', 'true'],
    ['traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'],
  ] as const) {
    const sent = headers();
    sent.set('Nats-Trace-Dest', 'evt.auth.v1.revoked');
    sent.set(name, value);
    sender.publish('evt.mesh.v1.announced', '{}', { headers: sent });
  }
  await sender.flush();
  speaker.publish('evt.auth.v1.revoked', 'real');
  await eventually(() => heard.includes('real'));
  expect(heard).toEqual(['real']);
});

busTest('without creds, or with creds of another operator, nobody connects [imm-122]', async ({ nats }) => {
  const { creds } = await issueAccount(createBusKeys(), 'POSTERN');
  for (const authenticator of [undefined, credsAuthenticator(creds.auth)]) {
    const attempt = connect({ servers: nats.url, reconnect: false, ...(authenticator !== undefined && { authenticator }) });
    await expect(attempt).rejects.toThrow(/authorization/i);
  }
  const named = connect({ servers: nats.url, reconnect: false, user: 'auth', pass: 'auth' });
  await expect(named).rejects.toThrow(/authorization/i);
});

/** nats-server CVE-2026-27571 and CVE-2026-33219 (compressed WebSocket frames), CVE-2026-58253 (leaf nodes past `no_auth_user`). */
busTest('the bus speaks neither WebSocket nor the leaf node protocol [imm-120, imm-121, imm-122]', async ({ nats }) => {
  const upgrade =
    'GET / HTTP/1.1\r\nHost: bus\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n';
  expect(await converse(nats.url, upgrade)).not.toContain('101');
  expect(await converse(nats.url, 'LS+ rpc.>\r\n')).toContain('-ERR');
  expect(await converse(nats.url, 'CONNECT {"verbose":false,"name":"leaf","jwt":"","cluster":"x"}\r\nPING\r\n')).toContain(
    '-ERR',
  );
});

test('the configuration opens no listener but the one for clients, and lets nobody in without creds [imm-120…122]', async () => {
  await using nats = await startOwnNats();
  const config = await readFile(nats.configFile, 'utf8');
  const keys = config.split('\n').flatMap((line) => /^(\w+):/.exec(line)?.[1] ?? []);
  expect(keys).toEqual([
    'host',
    'port',
    'operator',
    'system_account',
    'resolver',
    'resolver_preload',
    'max_payload',
    'max_connections',
    'write_deadline',
    'ping_interval',
    'ping_max',
  ]);
  expect(config).toContain('host: "127.0.0.1"');
  expect(config).toContain('resolver: MEMORY');
});

test('creds that were made before the contracts changed are refused after the next set-up', async () => {
  await using nats = await startOwnNats();
  const former = { ...nats, credsFile: () => `${nats.configFile}.former` };
  await writeFile(former.credsFile(), await readFile(nats.credsFile('sql')));
  await (await connectAs(former, 'observer')).close();
  await nats.stop();
  // Tokens carry whole seconds: those of the second of the change itself are not told apart.
  const second = Math.floor(Date.now() / 1_000);
  await eventually(() => Math.floor(Date.now() / 1_000) > second);
  // Creds that do not say what the contracts say are what a set-up finds after a change; one user's are enough.
  await writeFile(nats.credsFile('auth'), await readFile(nats.credsFile('edge')));
  await nats.setUpAgain();
  await nats.start();
  await expect(connectAs(former, 'observer')).rejects.toThrow(/authorization/i);
  await (await connectAs(nats, 'sql')).close();
});

test('a set-up that is repeated with the same contracts changes nothing', async () => {
  await using nats = await startOwnNats();
  const files = [nats.configFile, ...names.map((name) => nats.credsFile(name))];
  const before = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  await nats.setUpAgain();
  expect(await Promise.all(files.map((file) => readFile(file, 'utf8')))).toEqual(before);
});

/** What the server says after its greeting, until it closes or is quiet for a while. */
async function converse(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const { promise, resolve } = Promise.withResolvers<void>();
  const socket = createConnection({ host: hostname, port: Number(port), timeout: 3_000 });
  let heard = '';
  socket.setEncoding('latin1');
  socket.once('data', () => socket.write(text));
  socket.on('data', (chunk: string) => (heard += chunk));
  for (const event of ['close', 'error', 'timeout'] as const) socket.once(event, () => resolve());
  await promise;
  socket.destroy();
  return heard.slice(heard.indexOf('\r\n') + 2);
}
