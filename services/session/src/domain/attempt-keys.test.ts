import fc from 'fast-check';
import { expect, test } from 'vitest';

import { attemptKeys, clientNetwork } from './attempt-keys.ts';

test.each([
  ['192.0.2.1', '192.0.2.1'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['::FFFF:c000:0201', '192.0.2.1'],
  ['[::ffff:192.0.2.1]', '192.0.2.1'],
  ['0:0:0:0:0:ffff:192.0.2.1', '192.0.2.1'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:0DB8:0001:0002::', '2001:db8:1:2::/64'],
  ['2001:db8:1::9', '2001:db8:1:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['::', '0:0:0:0::/64'],
])('the client at %s is counted as %s', (address, network) => {
  expect(clientNetwork(address)).toBe(network);
});

test.each(['', 'unix', '1:2:3', '1:2:3:4:5:6:7:8:9', '::1::2', '2001:db8::g', '::ffff:192.0.2.256', '12345::'])(
  'an address that is none (%j) is counted as it is',
  (address) => {
    expect(clientNetwork(address)).toBe(address);
  },
);

test('all addresses of one IPv6 network share a counter, and no two networks do', () => {
  const group = fc.integer({ min: 0, max: 0xffff }).map((value) => value.toString(16));
  const half = fc.tuple(group, group, group, group).map((groups) => groups.join(':'));
  fc.assert(
    fc.property(half, half, half, half, (network, other, host, neighbour) => {
      const key = clientNetwork(`${network}:${host}`);
      expect(clientNetwork(`${network}:${neighbour}`)).toBe(key);
      expect(clientNetwork(`${other}:${host}`) === key).toBe(network === other);
    }),
  );
});

/** Spellings that auth may one day take for one name must not each have a counter of their own. */
test('spellings of one name share a counter, whatever their case, width or blanks', () => {
  const { name } = attemptKeys({ client: '192.0.2.1', name: 'alice' });
  for (const spelling of ['ALICE', ' Alice ', 'ａｌｉｃｅ']) {
    expect(attemptKeys({ client: '192.0.2.1', name: spelling }).name).toBe(name);
  }
  expect(attemptKeys({ client: '192.0.2.1', name: 'alicia' }).name).not.toBe(name);
});

test('a key has the same length for any name and address', () => {
  const unfolded = '\ufdfa'.repeat(256);
  fc.assert(
    fc.property(fc.string(), fc.string(), (name, client) => {
      const keys = attemptKeys({ client, name });
      expect([keys.client.length, keys.name.length]).toEqual([22, 22]);
    }),
    {
      examples: [
        ['', ''],
        [unfolded, unfolded],
      ],
    },
  );
});
