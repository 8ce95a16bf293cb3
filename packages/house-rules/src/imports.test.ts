import { expect, test } from 'vitest';

import { arrowMistakes, exportMistakes, importsOf } from './imports.ts';
import { readRepository } from './repository.ts';

const repository = readRepository();
const imported = (path: string, specifier: string): string[] =>
  arrowMistakes([{ path, text: `import { thing } from '${specifier}';\n` }]);

test('no package imports against the arrows', () => {
  expect(arrowMistakes(repository)).toEqual([]);
});

test('there are no default exports and no barrels', () => {
  expect(exportMistakes(repository)).toEqual([]);
});

test('imports are seen in all their forms', () => {
  const text = [
    "import 'a';",
    "import type { B } from 'b';",
    'import {\n  one,\n  two,\n} from "c";',
    "export { d } from 'd';",
    "const e = await import('e');",
    "// import 'not';",
    "const text = 'import x from y';",
  ].join('\n');
  expect(importsOf({ path: 'x.ts', text })).toEqual(['a', 'b', 'c', 'd', 'e']);
});

test.each([
  ['services/sql/src/app.ts', '@postern/auth/app'],
  ['services/sql/src/domain/rows.ts', '../../../auth/src/domain/people.ts'],
  ['services/sql/src/app.ts', '@postern/testkit/bus-test'],
  ['packages/contracts/src/auth.ts', '@postern/rpc/client'],
  ['packages/rpc/src/client.ts', '@postern/service-kit/log'],
  ['packages/rpc/src/client.ts', '../../../services/sql/src/app.ts'],
  ['packages/service-kit/src/run.ts', '@postern/rpc/connect'],
  ['e2e/scenarios/start.test.ts', '@postern/sql/app'],
  ['deploy/src/start.ts', '../../packages/testkit/src/docker.ts'],
])('%s may not import %s', (path, specifier) => {
  expect(imported(path, specifier)).toHaveLength(1);
});

test.each([
  ['services/sql/src/app.ts', '@postern/rpc/serve'],
  ['services/sql/src/app.ts', './domain/rows.ts'],
  ['services/sql/test/sql.int.test.ts', '@postern/testkit/bus-test'],
  ['packages/rpc/src/client.ts', '@postern/contracts/define'],
  ['packages/testkit/src/redis-test.ts', '@postern/deploy/servers/redis'],
])('%s may import %s', (path, specifier) => {
  expect(imported(path, specifier)).toEqual([]);
});

test.each([
  ['a default export', 'export default function run() {}\n'],
  ['a barrel', "export { a } from './a.ts';\nexport type { B } from './b.ts';\n"],
  ['a star', "export * from './a.ts';\nconst other = 1;\n"],
])('%s is found', (_, text) => {
  expect(exportMistakes([{ path: 'packages/rpc/src/thing.ts', text }]).length).toBeGreaterThan(0);
});

test('a tool may be configured by a default export', () => {
  expect(exportMistakes([{ path: 'vitest.config.ts', text: 'export default {};\n' }])).toEqual([]);
});
