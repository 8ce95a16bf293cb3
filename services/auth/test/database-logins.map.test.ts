import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

import { readRoleMap } from '../src/stores/database-logins.map.ts';

async function read(content: string) {
  const folder = await mkdtemp(join(tmpdir(), 'postern-'));
  try {
    await writeFile(join(folder, 'secret'), 'from a file\n');
    await writeFile(join(folder, 'map.json'), content);
    return await readRoleMap(join(folder, 'map.json'));
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('a map names the login and secret of each person, beside it or in it', async () => {
  const outcome = await read(
    '{"alice":{"role":"app_reader","password":"p"},"bob":{"role":"app_writer","passwordFile":"secret"}}',
  );
  expect(outcome.kind === 'logins' && [...outcome.logins]).toEqual([
    ['alice', { dbRole: 'app_reader', password: 'p' }],
    ['bob', { dbRole: 'app_writer', password: 'from a file' }],
  ]);
});

test.for([
  ['no JSON', '{', ''],
  ['a list', '[]', ''],
  ['no secret', '{"alice":{"role":"r"}}', '/alice'],
  ['two secrets', '{"alice":{"role":"r","password":"hunter22","passwordFile":"secret"}}', '/alice'],
  ['an unknown key', '{"alice":{"role":"r","password":"hunter22","extra":1}}', '/alice'],
  ['a file that is not there', '{"alice":{"role":"r","passwordFile":"missing"}}', '/alice/passwordFile'],
])('a map with %s is refused, and no secret of it is repeated', async ([, content, place]) => {
  const outcome = await read(content ?? '');
  const mistakes = outcome.kind === 'mistakes' ? outcome.mistakes.join('\n') : '';
  expect(mistakes).not.toBe('');
  expect(mistakes).toContain(place);
  expect(mistakes).not.toContain('hunter22');
});

test('a map that is not there is refused', async () => {
  expect(await readRoleMap('/nowhere/map.json')).toEqual({ kind: 'mistakes', mistakes: ['it cannot be read'] });
});
