import fc from 'fast-check';
import { expect, test } from 'vitest';

import { AnswerFault, createAnswerReader } from './answer-reader.ts';

interface Heard {
  status?: number;
  headers?: Record<string, string>;
  body: string;
  ended: number;
}

const listen = (): Heard & { sink: Parameters<ReturnType<typeof createAnswerReader>['expect']>[0] } => {
  const heard: Heard = { body: '', ended: 0 };
  return Object.assign(heard, {
    sink: {
      head: ({ status, headers }: { status: number; headers: readonly (readonly [string, string])[] }) =>
        void Object.assign(heard, { status, headers: Object.fromEntries(headers) }),
      data: (chunk: Buffer) => void (heard.body += chunk.toString('latin1')),
      end: () => void (heard.ended += 1),
    },
  });
};

const readWhole = (text: string, { toHead = false, sizes = [text.length] } = {}) => {
  const reader = createAnswerReader();
  const heard = listen();
  reader.expect(heard.sink, toHead);
  let at = 0;
  for (const size of sizes) {
    reader.push(Buffer.from(text.slice(at, at + size), 'latin1'));
    at += size;
  }
  if (at < text.length) reader.push(Buffer.from(text.slice(at), 'latin1'));
  return { heard, reader };
};

const answers: readonly (readonly [string, string, boolean])[] = [
  ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello', 'hello', true],
  [
    'HTTP/1.1 200 \r\nContent-Type: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\n\r\n!\r\n0\r\n\r\n',
    'hello\r\n!',
    true,
  ],
  ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n', '0123456789', true],
  ['HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n', '', true],
  ['HTTP/1.1 304\r\n\r\n', '', true],
  ['HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n', '', true],
  ['HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx', 'x', false],
  ['HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx', 'x', false],
];

test.each(answers)('%j is read, in whatever pieces it comes', (text, body, keepsAlive) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 40 }), (sizes) => {
      const { heard, reader } = readWhole(text, { sizes });
      expect(heard).toMatchObject({ body, ended: 1 });
      expect(reader.keepsAlive).toBe(keepsAlive);
    }),
  );
});

test('an answer to HEAD has no body, whatever length it names', () => {
  expect(readWhole('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n', { toHead: true }).heard).toMatchObject({ body: '', ended: 1 });
});

test('an answer without a length ends with its connection; one with a length that is not reached is broken', () => {
  const open = readWhole('HTTP/1.1 200 OK\r\n\r\nsome');
  expect([open.heard.ended, open.reader.finish(), open.heard.ended]).toEqual([0, true, 1]);
  const short = readWhole('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nsome');
  expect([short.reader.finish(), short.heard.ended]).toEqual([false, 0]);
  const chunked = readWhole('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n');
  expect([chunked.reader.finish(), chunked.heard.ended]).toEqual([false, 0]);
});

test.each([
  'nonsense\r\n\r\n',
  'HTTP/2 200 OK\r\n\r\n',
  'HTTP/1.1 20 OK\r\n\r\n',
  'HTTP/1.1 101 Switching\r\n\r\n',
  'HTTP/1.1 200 OK\r\n folded: x\r\n\r\n',
  'HTTP/1.1 200 OK\r\nname : x\r\n\r\n',
  'HTTP/1.1 200 OK\r\nno colon\r\n\r\n',
  'HTTP/1.1 200 OK\r\na: b\nset-cookie: x\r\n\r\n',
  'HTTP/1.1 200 OK\r\na: \0\r\n\r\n',
  'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx',
  'HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\nx',
  'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\n\r\n',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\n',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n',
  'HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n',
  `HTTP/1.1 200 OK\r\na: ${'x'.repeat(40_000)}\r\n\r\n`,
])('%j is a fault', (text) => {
  expect(() => readWhole(text)).toThrow(AnswerFault);
});

test('bytes that nobody asked for are a fault', () => {
  expect(() => createAnswerReader().push(Buffer.from('x'))).toThrow(AnswerFault);
});
