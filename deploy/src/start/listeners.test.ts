import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

import { moveListeners } from './listeners.ts';

const shipped = readFileSync(new URL('../../listeners.json', import.meta.url), 'utf8');

test('a moved document differs from the given one in its ports alone', () => {
  const moved = JSON.parse(moveListeners(shipped, (name) => (name === 'external' ? 7_000 : 0))) as typeof document;
  const document = JSON.parse(shipped) as { http: Record<string, { addr: string }> };
  expect(moved.http['external']?.addr).toBe('127.0.0.1:7000');
  expect(moved.http['internal']?.addr).toBe('127.0.0.1:0');
  for (const listener of [...Object.values(moved.http), ...Object.values(document.http)]) listener.addr = '';
  expect(moved).toEqual(document);
});

test('containers get the shipped document, on all of their addresses', () => {
  const containers = readFileSync(new URL('../../listeners.containers.json', import.meta.url), 'utf8');
  expect(containers.replaceAll('0.0.0.0:', '127.0.0.1:')).toBe(shipped);
});

test('the port that the document asks for is what the choice is made by', () => {
  const seen: Record<string, number> = {};
  moveListeners('{"http":{"six":{"addr":"[::1]:6876"}}}', (name, wanted) => (seen[name] = wanted));
  expect(seen).toEqual({ six: 6_876 });
});

test.each(['not json', '[]', '{"http":{"external":{}}}'])('a document that is not understood is left to the edge: %s', (text) => {
  expect(moveListeners(text, () => 1)).toBe(text);
});
