/** What failed logins are counted by. Many spellings of one thing share a counter, and every key has the same length. */
import { createHash } from 'node:crypto';

import type { AttemptKeys } from './ports.ts';

export const attemptKeys = ({ client, name }: { readonly client: string; readonly name: string }): AttemptKeys => ({
  client: digest(clientNetwork(client)),
  name: digest(name.normalize('NFKC').trim().toLowerCase()),
});

const digest = (text: string): string => createHash('sha256').update(text).digest('base64url').slice(0, 22);

/**
 * The network that one client has for itself: an IPv4 address, or the first 64 bits of an IPv6 address, since whoever has
 * one has all of them (RFC 6177). An IPv4 address in IPv6 clothes is the IPv4 address. Anything else counts as it is.
 */
export function clientNetwork(address: string): string {
  const groups = parseIpv6(address.toLowerCase().replace(/^\[|\]$|%.*$/g, ''));
  if (groups === undefined) return address.toLowerCase();
  const [, , , , , mapped = 0, high = 0, low = 0] = groups;
  const isIpv4 = groups.slice(0, 5).every((group) => group === 0) && mapped === 0xffff;
  if (isIpv4) return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.');
  return `${groups
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(':')}::/64`;
}

function parseIpv6(text: string): number[] | undefined {
  const halves = withHexTail(text)?.split('::') ?? [];
  const [head = [], tail] = halves.map((half) => (half === '' ? [] : half.split(':')));
  if (halves.length === 0 || halves.length > 2) return undefined;
  const missing = 8 - head.length - (tail?.length ?? 0);
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = [...head, ...Array.from({ length: missing }, () => '0'), ...(tail ?? [])];
  return groups.every((group) => /^[0-9a-f]{1,4}$/.test(group)) ? groups.map((group) => Number.parseInt(group, 16)) : undefined;
}

/** `::ffff:192.0.2.1` as `::ffff:c000:201`. */
function withHexTail(text: string): string | undefined {
  const [, head, ...bytes] = /^(.*:)(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text) ?? [];
  if (head === undefined) return text;
  const [a = 0, b = 0, c = 0, d = 0] = bytes.map(Number);
  if ([a, b, c, d].some((byte) => byte > 255)) return undefined;
  return `${head}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
}
