import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';

import { helpText, parseConfig, secret, setting } from './config.ts';
import { sharedSettings } from './settings.ts';

const settings = {
  least: setting('THING_LEAST', z.coerce.number('must be a number').default(1), 'Least'),
  most: setting('THING_MOST', z.coerce.number('must be a number').default(9), 'Most'),
  password: secret('THING_PASSWORD', z.string().min(8, 'is too short'), 'Password'),
};

const refine = ({ least, most }: { readonly least?: number; readonly most?: number }): string[] =>
  (least ?? NaN) > (most ?? NaN) ? ['THING_LEAST: must not exceed THING_MOST'] : [];

test('all mistakes are told at once, those across settings too', () => {
  const parsed = parseConfig(settings, { THING_LEAST: '10', THING_PASSWORD: 'short' }, refine);
  expect(parsed).toEqual({
    kind: 'mistakes',
    mistakes: ['THING_PASSWORD: is too short', 'THING_LEAST: must not exceed THING_MOST'],
  });
});

test('a mistake does not repeat the value that is mistaken', () => {
  const parsed = parseConfig(settings, { THING_PASSWORD: 'hunter2' });
  expect(JSON.stringify(parsed)).not.toContain('hunter2');
});

test('an empty value is the same as none', () => {
  const parsed = parseConfig(settings, { THING_LEAST: '', THING_PASSWORD: 'long enough' });
  expect(parsed).toMatchObject({ kind: 'config', config: { least: 1 } });
});

test('a secret is read from the file it names, and an unreadable file is a mistake that says why', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'postern-config-'));
  try {
    const file = join(folder, 'password');
    await writeFile(file, 'from a file\n');
    expect(parseConfig(settings, { THING_PASSWORD_FILE: file })).toMatchObject({ config: { password: 'from a file' } });
    expect(parseConfig(settings, { THING_PASSWORD_FILE: join(folder, 'none') })).toMatchObject({
      mistakes: ['THING_PASSWORD_FILE: cannot be read (ENOENT)'],
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('creds that cannot be read are a mistake of the configuration, not a crash at start', () => {
  const parsed = parseConfig(sharedSettings, { NATS_CREDS_FILE: '/nowhere/nats.creds' });
  expect(parsed).toMatchObject({ mistakes: ['NATS_CREDS_FILE: names a file that cannot be read'] });
});

test('the help names every setting with its default, and that a secret may come from a file', () => {
  const help = helpText('thing', settings);
  expect(help).toContain('THING_LEAST     Least [1]');
  expect(help).toContain('Password (secret; or THING_PASSWORD_FILE) [required]');
});
