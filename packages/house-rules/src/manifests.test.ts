import { expect, test } from 'vitest';

import { manifestMistakes } from './manifests.ts';
import { readRepository } from './repository.ts';

const manifest = (path: string, changes: object = {}) => ({
  path,
  text: JSON.stringify({ name: `@postern/${path.split('/')[1] ?? ''}`, private: true, type: 'module', ...changes }),
});

test('manifests are alike, and a shared version is said once', () => {
  expect(manifestMistakes(readRepository())).toEqual([]);
});

test('scripts that differ between services are found', () => {
  const one = manifest('services/attic/package.json', { scripts: { test: 'vitest services/attic' } });
  const alike = manifest('services/cellar/package.json', { scripts: { test: 'vitest services/cellar' } });
  const other = manifest('services/cellar/package.json', { scripts: { test: 'jest services/cellar' } });
  expect(manifestMistakes([one, alike])).toEqual([]);
  expect(manifestMistakes([one, other])).toHaveLength(1);
});

test('a version that two say is found', () => {
  const one = manifest('services/attic/package.json', { dependencies: { pg: '^8.0.0' } });
  const other = manifest('services/cellar/package.json', { dependencies: { pg: '^8.1.0' } });
  expect(manifestMistakes([one])).toEqual([]);
  expect(manifestMistakes([one, other])).toHaveLength(2);
});

test('a catalog entry that nobody uses is found', () => {
  const catalog = { path: 'pnpm-workspace.yaml', text: "catalog:\n  '@scope/a': 1.0.0\n  b: 1.0.0\n\nother: 1\n" };
  const user = manifest('services/attic/package.json', { dependencies: { '@scope/a': 'catalog:' } });
  expect(manifestMistakes([catalog, user])).toEqual(['pnpm-workspace.yaml: nobody uses b']);
});

test.each([
  ['is public', { private: false }],
  ['is of another module type', { type: 'commonjs' }],
  ['has another name', { name: '@postern/cellar' }],
  ['takes a workspace package from a registry', { dependencies: { '@postern/rpc': '1.0.0' } }],
])('a service that %s is found', (_, changes) => {
  expect(manifestMistakes([manifest('services/attic/package.json', changes)])).toHaveLength(1);
});
