import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { openDataFolder, openEphemeralFolder } from './data-folder.ts';
import { identityOf } from './process-identity.ts';

let path: string;
beforeEach(() => (path = mkdtempSync(join(tmpdir(), 'postern-test-'))));
afterEach(() => rmSync(path, { recursive: true, force: true }));

const leave = (file: string, content: unknown): void => {
  mkdirSync(join(path, 'run'), { recursive: true });
  writeFileSync(join(path, 'run', file), JSON.stringify(content));
};

test('while a supervisor lives nobody else gets its folder', async () => {
  await using _first = await openDataFolder(path);
  await expect(openDataFolder(path)).rejects.toThrow(`is in use by another start (process ${process.pid})`);
});

test('of many starts at once on the folder of a dead one, one gets it', async () => {
  leave('supervisor.json', { pid: process.pid, started: 'long ago' });
  const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => openDataFolder(path)));
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
});

test('a folder is free again when it is closed, and no lock is left', async () => {
  await (await openDataFolder(path))[Symbol.asyncDispose]();
  expect(readdirSync(join(path, 'run'))).toEqual([]);
});

test('a process that took over the number of a remembered one is left alone', async () => {
  leave('processes.json', [{ name: 'sql', pid: process.pid, started: 'long ago' }]);
  await using _folder = await openDataFolder(path);
  expect(identityOf(process.pid).started).not.toBe('');
});

test('an ephemeral folder is gone when it is closed', async () => {
  const folder = await openEphemeralFolder();
  expect(readdirSync(folder.path)).toEqual(['run']);
  await folder[Symbol.asyncDispose]();
  expect(() => readdirSync(folder.path)).toThrow('ENOENT');
});
