/** Each rule of `.oxlintrc.json` that is there for this code base is seen to fire: a planted fault is found by it. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';

import { ROOT } from './repository.ts';

interface Fault {
  readonly path: string;
  readonly text: string;
  readonly rule: string;
}

const fault = (rule: string, text: string, path = 'packages/rpc/src/thing.ts'): Fault => ({ rule, text, path });
const imported = (path: string, specifier: string): Fault =>
  fault('eslint(no-restricted-imports)', `import { thing } from '${specifier}';\nthing();\n`, `services/attic/src/${path}`);

const faults: readonly Fault[] = [
  fault('typescript(no-floating-promises)', 'export const run = () => { Promise.resolve(1); };\n'),
  fault(
    'typescript(no-misused-promises)',
    'export const run = async () => { if (Promise.resolve(true)) return 1; return 2; };\n',
  ),
  fault('typescript(await-thenable)', 'export const run = async () => await 1;\n'),
  fault(
    'typescript(switch-exhaustiveness-check)',
    "export const run = (kind: 'a' | 'b') => { switch (kind) { case 'a': return 1; } return 2; };\n",
  ),
  fault('typescript(no-explicit-any)', 'export const run = (thing: any): unknown => thing;\n'),
  fault('typescript(no-non-null-assertion)', 'export const run = (thing?: string): string => thing!;\n'),
  fault('typescript(no-unsafe-assignment)', "export const run = (): void => { const thing = JSON.parse(''); void thing; };\n"),
  fault('typescript(no-unsafe-call)', "export const run = (): unknown => JSON.parse('')();\n"),
  fault('typescript(no-unsafe-member-access)', "export const run = (): unknown => JSON.parse('').thing;\n"),
  fault('typescript(no-unsafe-argument)', "export const run = (): number => Number.parseInt(JSON.parse(''));\n"),
  fault('typescript(no-unsafe-return)', "export const run = (): string => JSON.parse('');\n"),
  fault('typescript(only-throw-error)', "export const run = () => { throw 'thing'; };\n"),
  fault('typescript(prefer-promise-reject-errors)', "export const run = () => Promise.reject('thing');\n"),
  fault('typescript(consistent-type-imports)', "import { Stats } from 'node:fs';\nexport type Thing = Stats;\n"),
  fault('import(no-default-export)', 'export default 1;\n'),
  fault('eslint(no-console)', "console.log('thing');\n"),
  fault('unicorn(prefer-node-protocol)', "import { join } from 'path';\njoin('a');\n"),
  fault(
    'vitest(no-focused-tests)',
    "import { test } from 'vitest';\ntest.only('thing', () => {});\n",
    'packages/rpc/src/thing.test.ts',
  ),
  fault(
    'typescript(consistent-type-assertions)',
    'export const run = (thing: unknown) => thing as string;\n',
    'services/attic/src/http/a.ts',
  ),

  ...['@nats-io/transport-node', 'express', 'pg', 'ioredis', 'pino', 'zod', 'node:fs/promises', 'node:process'].map((specifier) =>
    imported('domain/boxes.ts', specifier),
  ),
  ...['@postern/contracts/session', '@postern/rpc/client', '@postern/service-kit/log'].map((specifier) =>
    imported('domain/boxes.ts', specifier),
  ),
  ...[
    '../nats/handlers.ts',
    '../http/server.ts',
    '../stores/box-store.pg.ts',
    '../clients/auth.ts',
    '../app.ts',
    '../config.ts',
  ].map((specifier) => imported('domain/boxes.ts', specifier)),
  ...['pg', 'ioredis', 'express', '../stores/box-store.pg.ts', '../clients/auth.ts', '../http/server.ts'].map((specifier) =>
    imported('nats/handlers.ts', specifier),
  ),
  ...['pg', 'ioredis', '@nats-io/transport-node', '../stores/box-store.pg.ts', '../nats/handlers.ts'].map((specifier) =>
    imported('http/server.ts', specifier),
  ),
  imported('http/routes/boxes.ts', '../../stores/box-store.pg.ts'),
  ...['express', '../nats/handlers.ts', '../http/server.ts', '../app.ts'].flatMap((specifier) => [
    imported('stores/box-store.pg.ts', specifier),
    imported('clients/auth.ts', specifier),
  ]),
  ...['pg', 'ioredis', '@nats-io/transport-node', './stores/box-store.pg.ts', './clients/auth.ts'].map((specifier) =>
    imported('app.ts', specifier),
  ),
  ...['config.ts', 'app.ts', 'nats/handlers.ts', 'http/server.ts', 'stores/box-store.pg.ts'].flatMap((path) => [
    imported(path, 'node:process'),
    fault('eslint(no-restricted-properties)', "export const home = process.env['HOME'];\n", `services/attic/src/${path}`),
  ]),
  fault('eslint(no-restricted-properties)', 'export const now = Date.now();\n', 'services/attic/src/domain/boxes.ts'),
  fault('eslint(no-restricted-properties)', 'export const now = performance.now();\n', 'services/attic/src/domain/boxes.ts'),
  fault('eslint(no-restricted-globals)', 'export const id = process.pid;\n', 'services/attic/src/domain/boxes.ts'),
  fault('eslint(no-restricted-globals)', 'setTimeout(() => {}, 1);\n', 'services/attic/src/domain/boxes.ts'),
];

const fine: readonly Pick<Fault, 'path' | 'text'>[] = [
  {
    path: 'services/attic/src/domain/boxes.ts',
    text: [
      "import type { Session } from '@postern/contracts/session';",
      "import { createHash } from 'node:crypto';",
      "import { thing } from './things.ts';",
      'export const run = (session: Session) => [createHash("sha256"), thing(session)];',
      '',
    ].join('\n'),
  },
  {
    path: 'services/attic/src/domain/boxes.test.ts',
    text: "import { test } from 'vitest';\ntest('a', () => void Date.now());\n",
  },
  {
    path: 'services/attic/src/main.ts',
    text: "import pg from 'pg';\nexport const pool = new pg.Pool({ host: process.env['HOST'] });\n",
  },
  {
    path: 'services/attic/src/stores/box-store.pg.ts',
    text: "import pg from 'pg';\nimport { a } from '../domain/ports.ts';\na(pg);\n",
  },
  {
    path: 'services/attic/src/http/server.ts',
    text: "import express from 'express';\nimport { a } from '../domain/boxes.ts';\na(express());\n",
  },
  { path: 'packages/house-rules/vitest.config.ts', text: 'export default {};\n' },
];

const Report = z.object({
  number_of_files: z.number(),
  diagnostics: z.array(z.object({ filename: z.string(), code: z.string() })),
});

let folder: string;

/** Lints each file in a checkout of its own, side by side in one run, below `case-<index>`. */
function lint(files: readonly Pick<Fault, 'path' | 'text'>[]): z.output<typeof Report> {
  for (const { path, text } of files) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  const oxlint = join(ROOT, 'node_modules/oxlint/bin/oxlint');
  const { stdout } = spawnSync(process.execPath, [oxlint, '--type-aware', '--format=json', ...files.map(({ path }) => path)], {
    cwd: folder,
    encoding: 'utf8',
  });
  return Report.parse(JSON.parse(stdout));
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-lint-'));
  for (const name of ['.oxlintrc.json', 'tsconfig.json']) cpSync(join(ROOT, name), join(folder, name));
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('every planted fault is found by its rule', () => {
  // One file per fault; a name that differs keeps its folder and its ending.
  const planted = faults.map((given, index) => ({ ...given, path: numbered(given.path, index) }));
  const { diagnostics } = lint(planted);
  const missed = planted
    .filter(({ path, rule }) => !diagnostics.some(({ filename, code }) => filename === path && code === rule))
    .map(({ path, rule, text }) => ({ path, rule, text }));
  expect(missed).toEqual([]);
}, 60_000);

test('a cycle of imports is found', () => {
  const { diagnostics } = lint([
    { path: 'packages/rpc/src/cycle-a.ts', text: "import { b } from './cycle-b.ts';\nexport const a = () => b();\n" },
    { path: 'packages/rpc/src/cycle-b.ts', text: "import { a } from './cycle-a.ts';\nexport const b = (): unknown => a();\n" },
  ]);
  expect(diagnostics.map(({ code }) => code)).toContain('import(no-cycle)');
}, 60_000);

test('what is allowed on a floor is not found', () => {
  const { diagnostics, number_of_files: count } = lint(fine);
  const floors = diagnostics.filter(({ code }) => /no-restricted|no-default-export/.test(code));
  expect(floors).toEqual([]);
  expect(count).toBe(fine.length);
}, 60_000);

/** `app.ts` and `config.ts` are rules of their own name, so the room is numbered, and elsewhere the file. */
function numbered(path: string, index: number): string {
  return path
    .replace('services/attic/', `services/attic-${index}/`)
    .replace('packages/rpc/src/thing', `packages/rpc/src/thing-${index}`);
}
