import { eventually } from '@postern/testkit/eventually';
import { temporaryFolder } from '@postern/testkit/temporary-folder';
import { readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect } from 'vitest';

import { basic, bearer, login, request, valueOf } from '../harness/client.ts';
import type { Ready } from '../harness/description.ts';
import { serverPid } from '../harness/local-mesh.ts';
import { isAlive, treeOf } from '../harness/processes.ts';
import { startSupervisor, superviseCommand } from '../harness/supervisor.ts';
import { verifies } from '../verifies.ts';

const local = { only: 'local' } as const;
const WHO = 'select current_user';
const GONE = { timeoutMs: 30_000, intervalMs: 50 };

const external = ({ listeners }: Ready): string => listeners['external'] ?? '';
/** A place for what a start makes for a while, so that nothing of others is taken for it. */
interface Place extends AsyncDisposable {
  readonly env: NodeJS.ProcessEnv;
  /** What is there now and was not at the beginning. */
  leftovers(): Promise<readonly string[]>;
}

const SHARED = '/var/lib/postern';

async function openPlace(): Promise<Place> {
  const folder = await temporaryFolder();
  const list = async (): Promise<readonly string[]> =>
    (await Promise.all([folder.path, SHARED].map((path) => readdir(path).catch(() => []))))
      .flat()
      .filter((name) => name.startsWith('postern') || /^[0-9a-f]{16}/.test(name));
  const before = await list();
  return {
    env: { TMPDIR: folder.path },
    leftovers: async () => (await list()).filter((name) => !before.includes(name)),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

verifies(
  'start:ephemeral',
  'npm start prints one line when it is ready, serves, and after SIGTERM leaves no process and no file',
  async () => {
    await using place = await openPlace();
    await using supervisor = superviseCommand('npm', ['start', '--', '--ephemeral', '--json'], place.env);
    const ready = await supervisor.ready;
    const processes = treeOf(supervisor.pid);
    expect(Object.keys(ready.pids).toSorted()).toEqual(['auth', 'edge', 'session', 'sql']);
    expect(processes).toEqual(expect.arrayContaining(Object.values(ready.pids).flat()));
    for (const credential of [bearer(ready.apiKey), basic(ready.admin.user, ready.admin.password)]) {
      expect(await valueOf(external(ready), credential, WHO)).toBe(ready.admin.user);
    }
    expect((await request(ready.listeners['internal'] ?? '', '/api/readyz?wait=true')).text).toBe('ready');
    supervisor.signal('SIGTERM');
    expect(await supervisor.ended).toEqual({ code: 0, signal: null });
    expect(supervisor.output().trim().split('\n')).toHaveLength(1);
    expect(processes.filter(isAlive)).toEqual([]);
    expect(await place.leftovers()).toEqual([]);
  },
  local,
);

verifies(
  'start:ephemeral',
  'a start that is stopped half-way leaves nothing either, and exits 0',
  async () => {
    await using place = await openPlace();
    await using supervisor = startSupervisor(['--ephemeral', '--json'], place.env);
    await eventually(() => treeOf(supervisor.pid).length > 3, GONE);
    const processes = treeOf(supervisor.pid);
    supervisor.signal('SIGTERM');
    expect(await supervisor.ended).toEqual({ code: 0, signal: null });
    expect(processes.filter(isAlive)).toEqual([]);
    expect(await place.leftovers()).toEqual([]);
  },
  local,
);

verifies(
  'start:mistakes',
  'wrong options are told all at once, with exit 64, before anything is started',
  async () => {
    await using supervisor = startSupervisor(['--nonsense', '--only', 'nobody', '--port', 'x']);
    expect((await supervisor.ended).code).toBe(64);
    for (const word of ['--nonsense', 'nobody', '--port']) expect(supervisor.errors()).toContain(word);
    expect(supervisor.output()).toBe('');
  },
  local,
);

verifies(
  'start:mistakes',
  'a listener document with mistakes ends the start with exit 78 and every mistake',
  async () => {
    await using folder = await temporaryFolder();
    const listeners = join(folder.path, 'listeners.json');
    const bad = {
      version: '26.32.0',
      http: {
        one: { addr: '127.0.0.1:0', authenticator_kind: 'Sasl', routes: { base: { enabled: true, allowed_roles: 'Normal' } } },
        two: { addr: '127.0.0.1:0', authenticator_kind: 'Magic', routes: { base: { enabled: true, allowed_roles: 'Normal' } } },
        three: { addr: '127.0.0.1:0', authenticator_kind: 'None', routes: { base: { enabled: true } } },
      },
    };
    await writeFile(listeners, JSON.stringify(bad));
    await using place = await openPlace();
    await using supervisor = startSupervisor(['--ephemeral', '--json', '--listeners', listeners], place.env);
    expect((await supervisor.ended).code).toBe(78);
    for (const word of ['one', 'two', 'three', 'Sasl', 'allowed_roles']) expect(supervisor.errors()).toContain(word);
    expect(supervisor.output()).toBe('');
    expect(await place.leftovers()).toEqual([]);
  },
  local,
);

verifies(
  'start:mistakes',
  'a setting that a service refuses ends the start with exit 78 and what the service said',
  async () => {
    const env = { SQL_POOL_MAX: 'many', SQL_RESULT_BYTES_MAX: '1' };
    await using supervisor = startSupervisor(['--ephemeral', '--json'], env);
    expect((await supervisor.ended).code).toBe(78);
    for (const name of Object.keys(env)) expect(supervisor.errors()).toContain(name);
  },
  local,
);

verifies(
  'start:alone',
  'a second start on the same folder, and one on a taken port, are refused and say why',
  async () => {
    await using folder = await temporaryFolder();
    await using first = startSupervisor(['--json', '--port', '0', '--data', folder.path]);
    await first.ready;
    await using second = startSupervisor(['--json', '--port', '0', '--data', folder.path]);
    expect((await second.ended).code).toBe(78);
    expect(second.errors()).toContain(`in use by another start (process ${first.pid})`);

    const holder = createServer();
    await new Promise<void>((resolve) => void holder.listen(0, '127.0.0.1', resolve));
    const { port } = holder.address() as AddressInfo;
    await using other = await temporaryFolder();
    await using third = startSupervisor(['--json', '--port', String(port), '--data', other.path]);
    expect((await third.ended).code).toBe(78);
    expect(third.errors()).toContain(`127.0.0.1:${port} (listener external)`);
    holder.close();
  },
  local,
);

verifies(
  'start:killed',
  'after a kill -9 of the supervisor all processes end by themselves, and the next start keeps people and data',
  async () => {
    await using folder = await temporaryFolder();
    const options = ['--json', '--port', '0', '--data', folder.path];
    await using first = startSupervisor(options);
    const before = await first.ready;
    await valueOf(external(before), bearer(before.apiKey), "create table kept as select 'x' as value; select 1");
    const processes = treeOf(first.pid);
    first.signal('SIGKILL');
    await first.ended;
    await eventually(() => expect(processes.filter(isAlive)).toEqual([]), GONE);
    await using second = startSupervisor(options);
    const after = await second.ready;
    expect(after.apiKey).toBe(before.apiKey);
    expect(await valueOf(external(after), bearer(after.apiKey), 'select value from kept')).toBe('x');
  },
  local,
);

verifies(
  'start:restarts',
  'a service and a server that are killed are started again, and say so',
  async () => {
    await using folder = await temporaryFolder();
    await using supervisor = startSupervisor(['--json', '--port', '0', '--data', folder.path]);
    const ready = await supervisor.ready;
    const works = () =>
      eventually(async () => expect(await valueOf(external(ready), bearer(ready.apiKey), WHO)).toBe('admin'), GONE);
    await works();
    for (const pid of Object.values(ready.pids).flat()) process.kill(pid, 'SIGKILL');
    await works();
    await eventually(() => {
      for (const service of ['edge', 'auth', 'session', 'sql'])
        expect(supervisor.errors()).toContain(`${service} ended by SIGKILL`);
    });
    const session = await login(external(ready), ready.admin.user, ready.admin.password);
    process.kill(await serverPid(folder.path, 'redis'), 'SIGTERM');
    await eventually(() => expect(supervisor.errors()).toContain('redis is there again'), GONE);
    await works();
    await eventually(async () => expect(await valueOf(external(ready), session, WHO)).toBe('admin'), GONE);
  },
  local,
);
