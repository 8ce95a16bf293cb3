import { isFailure } from '@postern/contracts/failure';
import { expect, test } from 'vitest';

import { readNeonBody, UnreadableBody } from './neon-schemas.ts';
import { readBody } from './schemas.ts';
import { readMessage } from './sockets/messages.ts';

/** So many mistakes that nobody is to be told of each. */
const MANY = 400_000;
const many = `[${'0,'.repeat(MANY)}0]`;
const bodies = [`{"queries":${many}}`, `{"queries":[{"query":"select 1","params":${many}}]}`, `{"queries":[{"params":${many}}]}`];

function failureOf(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error;
  }
}

test.for(bodies)('a body of which nothing fits is refused for its first mistake (body %$)', (body) => {
  const failure = failureOf(() => readBody(Buffer.from(body)));
  expect(isFailure(failure, 'SQL_BODY_SHAPE')).toBe(true);
});

test.for(bodies)('a message of which nothing fits is refused for its first mistake (message %$)', (body) => {
  expect(readMessage(Buffer.from(body), true)).toMatchObject({ kind: 'fault' });
});

test('a batch of which no query fits is refused for its first mistake', () => {
  expect(failureOf(() => readNeonBody(Buffer.from(`{"queries":${many}}`), true))).toBeInstanceOf(UnreadableBody);
});

test('what fits is read as it stands, and what is not known is ignored', () => {
  const body = '{"queries":[{"query":"a","x":[0]},{"query":"b","params":["1",null],"__proto__":{"params":["2"]}}],"y":0}';
  const queries = [
    { query: 'a', params: [] },
    { query: 'b', params: ['1', null] },
  ];
  expect(readBody(Buffer.from(body))).toEqual({ kind: 'extended', queries });
  expect(readMessage(Buffer.from(body), false)).toEqual({ kind: 'request', request: { kind: 'extended', queries } });
});
