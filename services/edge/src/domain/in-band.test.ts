import fc from 'fast-check';
import { expect, test } from 'vitest';

import { readAuthMessage } from './in-band.ts';

const read = (value: unknown) => readAuthMessage(Buffer.from(JSON.stringify(value)));

test('user and password come before a token, a token before nothing', () => {
  const basic = { kind: 'basic', user: 'a:b', password: '' };
  expect(read({ user: 'a:b', password: '', token: 'x', other: 1 })).toEqual({
    kind: 'message',
    credentials: basic,
    options: undefined,
  });
  expect(read({ user: 'a', token: 'x' })).toMatchObject({ credentials: { kind: 'bearer', token: 'x' } });
  expect(read({ user: 'a', password: 1 })).toMatchObject({ credentials: { kind: 'none' } });
  expect(read({ options: null })).toMatchObject({ kind: 'message', options: undefined });
});

test('options are passed on with one reading, whatever they are called', () => {
  const message = '{"options":{"a":"1","a":"2","__proto__":"x","constructor":"y"}}';
  expect(readAuthMessage(Buffer.from(message))).toMatchObject({ options: '{"a":"2","__proto__":"x","constructor":"y"}' });
});

/** imm-128 */
test('members that every object has are not what the client said', () => {
  expect(read({ constructor: 'x' })).toMatchObject({ credentials: { kind: 'none' } });
  expect(readAuthMessage(Buffer.from('{"__proto__":{"user":"a","password":"b"}}'))).toMatchObject({
    credentials: { kind: 'none' },
  });
});

test('any bytes are a message or malformed, and nothing is thrown', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((text) => Buffer.from(text)),
      ),
      (bytes) => {
        expect(['message', 'malformed']).toContain(readAuthMessage(bytes).kind);
      },
    ),
  );
});
