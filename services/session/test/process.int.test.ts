/** The service as a process. */
import { replicaAnnounced } from '@postern/contracts/mesh';
import { sessionService } from '@postern/contracts/session';
import { createClient } from '@postern/rpc/client';
import { listen } from '@postern/rpc/events';
import { createLogger } from '@postern/service-kit/log';
import { busTest } from '@postern/testkit/bus-test';
import { eventually } from '@postern/testkit/eventually';
import { redisFixture } from '@postern/testkit/redis-test';
import { temporaryFolder } from '@postern/testkit/temporary-folder';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect } from 'vitest';

import { startCuttableProxy } from './cuttable-proxy.ts';
import { connectAsSession } from './session-redis.ts';

const main = join(import.meta.dirname, '../src/main.ts');
const processTest = busTest.extend('redis', { scope: 'file' }, redisFixture);
const silent = createLogger({ service: 'test', level: 'silent' });

function start(environment: NodeJS.ProcessEnv, ...args: string[]) {
  const child = spawn(process.execPath, [main, ...args], {
    env: { PATH: process.env['PATH'], ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return {
    child,
    output: Promise.all([text(child.stdout), text(child.stderr)]),
    exit: once(child, 'exit') as Promise<[number | null]>,
  };
}

processTest('bad settings end with status 78, every mistake on a line of its own, and no secret printed', async () => {
  const { output, exit } = start({
    SESSION_REDIS_URL: 'http://session:hunter2@127.0.0.1/',
    SESSION_IDLE_SECONDS: 'soon',
    SESSION_ATTEMPTS_MAX: '0',
  });
  const [[code], [stdout, stderr]] = await Promise.all([exit, output]);
  expect(code).toBe(78);
  for (const name of ['SESSION_REDIS_URL', 'SESSION_IDLE_SECONDS', 'SESSION_ATTEMPTS_MAX', 'NATS_CREDS_FILE']) {
    expect(stderr).toMatch(new RegExp(`^  ${name}: `, 'm'));
  }
  expect(stdout + stderr).not.toContain('hunter2');
});

processTest('an idle time beyond the absolute one is a mistake', async ({ nats }) => {
  const { output, exit } = start({
    NATS_CREDS_FILE: nats.credsFile('session'),
    SESSION_REDIS_URL: 'redis://127.0.0.1/',
    SESSION_IDLE_SECONDS: '61',
    SESSION_ABSOLUTE_SECONDS: '60',
  });
  const [[code], [, stderr]] = await Promise.all([exit, output]);
  expect(code).toBe(78);
  expect(stderr).toContain('SESSION_IDLE_SECONDS: must not be more than SESSION_ABSOLUTE_SECONDS');
});

processTest('--help prints every setting', async () => {
  const { output, exit } = start({}, '--help');
  const [[code], [stdout]] = await Promise.all([exit, output]);
  expect(code).toBe(0);
  expect(stdout).toContain('SESSION_LOCK_SECONDS_MAX');
});

processTest('it starts without Redis, is ready once Redis is there, and drains when told', async ({ nats, bus, redis }) => {
  await using own = await connectAsSession(redis);
  await using proxy = await startCuttableProxy(own.url);
  await using folder = await temporaryFolder();
  const secretFile = join(folder.path, 'redis-url');
  await writeFile(secretFile, proxy.url, { mode: 0o600 });
  await proxy.cut();

  const edgeBus = await bus('edge');
  const states: string[] = [];
  using _heard = listen(edgeBus, replicaAnnounced, silent, ({ service, state }) => {
    if (service === 'session' && states.at(-1) !== state) states.push(state);
  });
  const { child, output, exit } = start({
    NATS_URL: nats.url,
    NATS_CREDS_FILE: nats.credsFile('session'),
    SESSION_REDIS_URL_FILE: secretFile,
  });
  const session = createClient(edgeBus, sessionService);
  await eventually(() => expect(states).toEqual(['unready']), { timeoutMs: 60_000 });
  await expect(session.list({ principalId: 'nobody' })).rejects.toMatchObject({ code: 'UNAVAILABLE' });

  await proxy.restore();
  await eventually(() => expect(states).toEqual(['unready', 'ready']));
  expect(await session.list({ principalId: 'nobody' })).toEqual({ sessions: [] });

  child.kill('SIGTERM');
  const [[code], [stdout, stderr]] = await Promise.all([exit, output]);
  expect(code).toBe(0);
  // The end of a process is told by another way than what it said on the bus.
  await eventually(() => expect(states).toEqual(['unready', 'ready', 'draining']));
  expect(stdout + stderr).not.toContain(new URL(own.url).password);
});
