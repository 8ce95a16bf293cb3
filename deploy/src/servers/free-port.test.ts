import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

import type { PortRange } from './free-port.ts';
import { portsBeside } from './free-port.ts';

const LINUX: PortRange = { lowest: 32_768, highest: 60_999 };
const textOf = (path: string): string => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');

test.for<[string, PortRange]>([
  ['the default of Linux', LINUX],
  ['the default of macOS', { lowest: 49_152, highest: 65_535 }],
  ['lower ones', { lowest: 10_000, highest: 30_000 }],
  ['nearly all that are wanted', { lowest: 15_000, highest: 31_500 }],
  ['all above 8,000', { lowest: 8_000, highest: 65_535 }],
])('ports are none that the system gives to others, who are given %s', ([_what, given]) => {
  const ports = portsBeside(given);
  expect(ports.length).toBeGreaterThanOrEqual(1_000);
  expect(ports.filter((port) => port < 1_024 || port > 65_535)).toEqual([]);
  expect(ports.filter((port) => port >= given.lowest && port <= given.highest)).toEqual([]);
});

test('where the system gives all of them, they are of those', () => {
  expect(portsBeside({ lowest: 1_024, highest: 65_535 }).length).toBeGreaterThan(10_000);
});

test.for(['docker-compose.yml', '.ci/run'])('what %s publishes is not chosen', (path) => {
  const published = [...textOf(path).matchAll(/_PORTS?:-(\d+)(?:-(\d+))?\}/g)].flatMap(([, from, to = from]) => [
    Number(from),
    Number(to),
  ]);
  expect(published.length).toBeGreaterThan(0);
  for (const given of [
    LINUX,
    { lowest: 8_000, highest: 26_000 },
    { lowest: 15_000, highest: 65_535 },
    { lowest: 1_024, highest: 65_535 },
  ])
    expect(portsBeside(given).filter((port) => published.includes(port))).toEqual([]);
});
