import fc from 'fast-check';
import { expect, test } from 'vitest';

import { MessageScanner, Traffic } from './neon-scan.ts';

function message(type: string, body: string | Buffer = ''): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, 'latin1');
  head.writeUInt32BE(4 + Buffer.byteLength(body), 1);
  return Buffer.concat([head, Buffer.from(body)]);
}

test('messages are found however they are cut', () => {
  const piece = fc.record({ type: fc.constantFrom('Q', 'S', 'D', 'Z'), body: fc.uint8Array({ maxLength: 40 }) });
  fc.assert(
    fc.property(fc.array(piece), fc.array(fc.nat(60)), (pieces, cuts) => {
      const bytes = Buffer.concat(pieces.map(({ type, body }) => message(type, Buffer.from(body))));
      const found: [string, number][] = [];
      const scanner = new MessageScanner((type, first) => found.push([String.fromCharCode(type), first]));
      let at = 0;
      for (const cut of [...cuts, bytes.length]) {
        scanner.scan(bytes.subarray(at, at + cut));
        at += cut;
      }
      expect(found).toEqual(pieces.map(({ type, body }) => [type, body[0] ?? 0]));
      expect(scanner.isAtBoundary).toBe(true);
    }),
  );
});

test('in the middle of a message there is no place for another one', () => {
  const scanner = new MessageScanner(() => {});
  const bytes = message('D', 'abc');
  for (let length = 1; length < bytes.length; length += 1) {
    scanner.scan(bytes.subarray(length - 1, length));
    expect(scanner.isAtBoundary).toBe(false);
  }
  scanner.scan(bytes.subarray(-1));
  expect(scanner.isAtBoundary).toBe(true);
});

const idle = message('Z', 'I');

test('a session is quiet when all that was asked is answered outside of a transaction', () => {
  const traffic = new Traffic();
  expect(traffic.isQuiet).toBe(true);
  traffic.fromClient.scan(Buffer.concat([message('Q', 'begin\0'), message('Q', 'select\0')]));
  expect(traffic.isQuiet).toBe(false);
  traffic.fromServer.scan(message('Z', 'T'));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([false, true]);
  traffic.fromServer.scan(message('Z', 'T'));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([false, false]);
  traffic.fromClient.scan(Buffer.concat([message('P', '\0commit\0\0\0'), message('H')]));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([false, true]);
  traffic.fromClient.scan(message('S'));
  traffic.fromServer.scan(idle);
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([true, false]);
});

test('COPY in a group reads over the Sync that was sent with it', () => {
  const traffic = new Traffic();
  traffic.fromClient.scan(Buffer.concat([message('P'), message('B'), message('E'), message('S')]));
  traffic.fromServer.scan(message('G', '\0\0\0'));
  traffic.fromClient.scan(Buffer.concat([message('d', 'x'), message('c'), message('S')]));
  expect(traffic.isQuiet).toBe(false);
  traffic.fromServer.scan(idle);
  expect(traffic.isQuiet).toBe(true);
});

test('COPY in a query has no Sync', () => {
  const traffic = new Traffic();
  traffic.fromClient.scan(message('Q', 'copy t from stdin\0'));
  traffic.fromServer.scan(message('G', '\0\0\0'));
  traffic.fromClient.scan(Buffer.concat([message('d', 'x'), message('c')]));
  expect(traffic.isQuiet).toBe(false);
  traffic.fromServer.scan(idle);
  expect(traffic.isQuiet).toBe(true);
});

test('COPY in a query is not taken for the answer of a Sync that went before it', () => {
  const traffic = new Traffic();
  traffic.fromClient.scan(Buffer.concat([message('S'), message('Q', 'copy t from stdin\0')]));
  traffic.fromServer.scan(Buffer.concat([idle, message('G', '\0\0\0')]));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([false, true]);
  traffic.fromClient.scan(Buffer.concat([message('d', 'x'), message('S'), message('c')]));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([false, true]);
  traffic.fromServer.scan(Buffer.concat([message('C', 'COPY 1\0'), idle]));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([true, false]);
});

test('COPY in a group is under way until its second Sync is answered', () => {
  const traffic = new Traffic();
  traffic.fromClient.scan(Buffer.concat([message('P'), message('B'), message('E'), message('S')]));
  traffic.fromServer.scan(message('G', '\0\0\0'));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([false, true]);
  traffic.fromClient.scan(Buffer.concat([message('d', 'x'), message('c')]));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([false, true]);
  traffic.fromClient.scan(message('S'));
  traffic.fromServer.scan(Buffer.concat([message('C', 'COPY 1\0'), idle]));
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([true, false]);
});

test('of many requests at a time none is forgotten', () => {
  const traffic = new Traffic();
  const many = 10_000;
  traffic.fromClient.scan(Buffer.concat(Array.from({ length: many }, (_, index) => message(index % 2 === 0 ? 'S' : 'Q'))));
  for (let answered = 0; answered < many; answered += 1) {
    expect(traffic.isBusy).toBe(true);
    traffic.fromServer.scan(idle);
  }
  expect([traffic.isQuiet, traffic.isBusy]).toEqual([true, false]);
});

test('a client that says goodbye has ended the session itself', () => {
  const traffic = new Traffic();
  traffic.fromClient.scan(message('X'));
  expect(traffic.hasSaidGoodbye).toBe(true);
});
