import { resolve } from 'node:path';
import { expect, test } from 'vitest';

import { parseOptions } from './options.ts';

const optionsOf = (...args: string[]) => {
  const parsed = parseOptions(args);
  if (parsed.kind !== 'options') throw new Error(JSON.stringify(parsed));
  return parsed.options;
};

test('without options the whole mesh starts once, on the known port, with its state in .postern', () => {
  expect(optionsOf()).toEqual({
    ephemeral: false,
    json: false,
    listenersFile: undefined,
    services: ['edge', 'auth', 'session', 'sql'],
    replicas: { edge: 1, auth: 1, session: 1, sql: 1 },
    dataFolder: resolve('.postern'),
    port: 6_876,
  });
});

test('an ephemeral mesh has no data folder and takes free ports', () => {
  expect(optionsOf('--ephemeral', '--json')).toMatchObject({ dataFolder: undefined, port: 0, json: true });
});

test('options take their value after a space or an equals sign', () => {
  expect(optionsOf('--only', 'sql,auth', '--replicas=sql=2', '--data', '/tmp/x', '--port=7000')).toMatchObject({
    services: ['auth', 'sql'],
    replicas: { edge: 1, auth: 1, session: 1, sql: 2 },
    dataFolder: '/tmp/x',
    port: 7_000,
  });
});

test('every mistake is reported at once', () => {
  const parsed = parseOptions([
    'stray',
    '--nonsense',
    '--json=yes',
    '--only',
    'sql,nobody',
    '--replicas',
    'sql=0,edge=2,thing=1',
    '--port',
    'http',
    '--ephemeral',
    '--data',
    '/tmp/x',
    '--listeners',
  ]);
  expect(parsed).toEqual({
    kind: 'mistakes',
    mistakes: [
      'stray: is not an option',
      '--nonsense: is not known',
      '--json: takes no value',
      '--listeners: needs a value',
      expect.stringContaining('--only: there is no service "nobody"'),
      '--replicas: sql needs a number from 1 to 16',
      '--replicas: edge is not among --only',
      '--replicas: there is no service "thing"',
      '--port: needs a number from 0 to 65533',
      '--data: makes no sense with --ephemeral',
    ],
  });
});

test('--help wins over everything else', () => {
  expect(parseOptions(['--help', '--nonsense']).kind).toBe('help');
});
