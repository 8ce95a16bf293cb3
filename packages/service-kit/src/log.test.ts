import { expect, test } from 'vitest';

import { createLogger } from './log.ts';

function line(fields: object): Record<string, unknown> {
  let written = '';
  const log = createLogger({ service: 'test', level: 'info', destination: { write: (text) => (written += text) } });
  log.info(fields, 'message');
  return JSON.parse(written) as Record<string, unknown>;
}

test('secrets are removed by name at every depth that is printed', () => {
  const logged = line({
    password: 'x',
    requestId: 'r',
    caller: { token: 'x', name: 'alice', more: { secret: 'x', note: 'n', deep: { key: 'x' } } },
    list: [{ cookie: 'x' }, 'text', { assertion: 'x', at: 1 }],
    nothing: null,
  });
  expect(logged).toMatchObject({
    msg: 'message',
    password: '[redacted]',
    requestId: 'r',
    caller: { token: '[redacted]', name: 'alice', more: { secret: '[redacted]', note: 'n', deep: '[deeper]' } },
    list: [{ cookie: '[redacted]' }, 'text', { assertion: '[redacted]', at: 1 }],
    nothing: null,
  });
  expect(JSON.stringify(logged)).not.toContain('"x"');
});

test('an error shows what names the fault, and nothing else that it carries', () => {
  const cause = Object.assign(new RangeError('inner'), { code: 'E1', request: { password: 'x' } });
  const error = Object.assign(new TypeError('outer', { cause }), { config: { password: 'x' } });
  const { err } = line({ err: error });
  expect(err).toMatchObject({ type: 'TypeError', message: 'outer: inner', cause: { type: 'RangeError', code: 'E1' } });
  expect(JSON.stringify(err)).not.toContain('"x"');
});

test('a line break or control character in a value stays inside its line', () => {
  expect(line({ name: 'a\n{"level":60}\u001b[31m' })['name']).toBe('a\n{"level":60}\u001b[31m');
});
