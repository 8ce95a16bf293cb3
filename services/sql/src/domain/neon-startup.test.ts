import fc from 'fast-check';
import { expect, test } from 'vitest';

import { fatal, greeting, readStartup } from './neon-startup.ts';

const rules = { user: 'alice', database: 'postern' };

function startup(parameters: Readonly<Record<string, string>>, version: readonly [number, number] = [3, 0]): Buffer {
  const pairs = Object.entries(parameters).map(([name, value]) => `${name}\0${value}\0`);
  return packet(`${pairs.join('')}\0`, version);
}

function packet(body: string | Buffer, [major, minor]: readonly [number, number] = [3, 0]): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + Buffer.byteLength(body), 0);
  head.writeUInt16BE(major, 4);
  head.writeUInt16BE(minor, 6);
  return Buffer.concat([head, Buffer.from(body)]);
}

const codeOf = (bytes: Buffer): unknown => {
  const read = readStartup(bytes, rules);
  return read.kind === 'refused' ? read.error.code : read.kind;
};

test('a client says who it is, and what its session begins with', () => {
  const bytes = startup({ user: 'alice', database: 'postern', client_encoding: 'UTF8', options: '-c work_mem=1MB' });
  expect(readStartup(Buffer.concat([bytes, Buffer.from('Q')]), rules)).toEqual({
    kind: 'accepted',
    bytes: bytes.length,
    settings: new Map([
      ['client_encoding', 'UTF8'],
      ['options', '-c work_mem=1MB'],
    ]),
    unknownOptions: undefined,
  });
  expect(codeOf(startup({ user: 'alice' }))).toBe('accepted');
  expect(codeOf(startup({ user: 'alice', database: '' }))).toBe('accepted');
});

test('it comes in pieces of any size', () => {
  const bytes = startup({ user: 'alice', database: 'postern' });
  for (let length = 0; length < bytes.length; length += 1) expect(codeOf(bytes.subarray(0, length))).toBe('incomplete');
});

test('nobody is anybody else, and there is one database', () => {
  for (const user of ['bob', 'Alice', 'alice ', '', 'postgres']) expect(codeOf(startup({ user }))).toBe('28000');
  expect(codeOf(startup({}))).toBe('28000');
  expect(codeOf(packet('user\0alice\0user\0bob\0\0'))).toBe('28000');
  for (const database of ['postgres', 'POSTERN', 'postern2']) expect(codeOf(startup({ user: 'alice', database }))).toBe('3D000');
});

test('nothing replicates', () => {
  for (const replication of ['database', 'true', 'on', '1', 'yes', '', 'x']) {
    expect(codeOf(startup({ user: 'alice', replication }))).toBe('0A000');
  }
  for (const replication of ['false', 'off', '0', 'no']) expect(codeOf(startup({ user: 'alice', replication }))).toBe('accepted');
});

test('options of the protocol are negotiated, and so is its minor version', () => {
  const read = readStartup(startup({ user: 'alice', '_pq_.a': '1', '_pq_.b': '2' }), rules);
  expect(read).toMatchObject({ kind: 'accepted', unknownOptions: ['_pq_.a', '_pq_.b'], settings: new Map() });
  expect(readStartup(startup({ user: 'alice' }, [3, 9_999]), rules)).toMatchObject({ unknownOptions: [] });
  expect(readStartup(startup({ user: 'alice' }, [3, 2]), rules)).toMatchObject({ unknownOptions: undefined });
  expect(codeOf(startup({ user: 'alice' }, [2, 0]))).toBe('0A000');
  expect(codeOf(packet(Buffer.alloc(8), [1_234, 5_679]))).toBe('0A000');
});

test('a packet that is none is refused before its bytes are waited for', () => {
  for (const body of ['', 'user\0alice', 'user\0alice\0', 'user\0\0', 'user\0alice\0\0x', '\0x\0\0'])
    expect(codeOf(packet(body))).toBe('08P01');
  const long = packet('');
  long.writeUInt32BE(10_001, 0);
  expect(codeOf(long)).toBe('08P01');
});

test('whatever comes, it is read or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      expect(readStartup(packet(Buffer.from(bytes)), rules).kind).toMatch(/accepted|refused/);
    }),
  );
});

test('what a server says before it is ready', () => {
  const bytes = greeting({
    processId: 7,
    secretKey: 0xff_ff_ff_fe,
    parameters: new Map([['a', 'b']]),
    unknownOptions: ['_pq_.x'],
  });
  expect(bytes.toString('latin1')).toBe(
    'v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.x\0R\0\0\0\x08\0\0\0\0S\0\0\0\x08a\0b\0K\0\0\0\x0c\0\0\0\x07\xff\xff\xff\xfeZ\0\0\0\x05I',
  );
  expect(fatal({ code: '3D000', message: 'é' }).toString()).toBe('E\0\0\0\x1eSFATAL\0VFATAL\0C3D000\0Mé\0\0');
});
