import { readdir, readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';

import { requirements } from './requirements.ts';

const scenarios = new URL('scenarios/', import.meta.url);

test('every requirement has a scenario, and every scenario a requirement', async () => {
  const files = (await readdir(scenarios)).filter((name) => name.endsWith('.test.ts'));
  const texts = await Promise.all(files.map((name) => readFile(new URL(name, scenarios), 'utf8')));
  const verified = texts.flatMap((text) => [...text.matchAll(/verifies\(\s*'([^']+)'/g)].map((match) => match[1] ?? ''));
  expect([...new Set(verified)].toSorted()).toEqual(requirements.map(({ id }) => id).toSorted());
});

test('no requirement is named twice', () => {
  expect(new Set(requirements.map(({ id }) => id)).size).toBe(requirements.length);
});
