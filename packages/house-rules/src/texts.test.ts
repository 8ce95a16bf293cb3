import { expect, test } from 'vitest';

import { readRepository } from './repository.ts';
import { adrMistakes, hostMistakes, linkMistakes, sleepMistakes, todoMistakes } from './texts.ts';

const repository = readRepository();
const file = (path: string, text: string) => [{ path, text }];

test('what is to do is tracked', () => {
  expect(todoMistakes(repository)).toEqual([]);
});

test('tests do not sleep', () => {
  expect(sleepMistakes(repository)).toEqual([]);
});

test('no file names a path of one machine, or a registry', () => {
  expect(hostMistakes(repository)).toEqual([]);
});

test('decisions are numbered, whole, and say by what they are enforced', () => {
  expect(adrMistakes(repository)).toEqual([]);
});

test('pages lead to files that are there, the walk among them', () => {
  expect(repository.map(({ path }) => path)).toContain('docs/walk.md');
  expect(linkMistakes(repository)).toEqual([]);
});

/** Faults are put together here, so that the rules do not find them in this file. */
const join = (...parts: readonly string[]): string => parts.join('');

test.each([
  [join('// TO', 'DO: later'), 1],
  [join('/* FIX', 'ME */'), 1],
  [join('// TO', 'DO(#12): later'), 0],
  ["const todo = 'a';", 0],
])('%j has as many untracked notes as it has', (text, count) => {
  expect(todoMistakes(file('a.ts', text))).toHaveLength(count);
});

test.each([
  [join('await delay', '(500);'), 1],
  [join('await sleep', '(1_000);'), 1],
  [join('await new Promise((resolve) => setTimeout', '(resolve, 2000));'), 1],
  ['await delay(1);', 0],
  ['await eventually(() => done);', 0],
])('%j has as many sleeps as it has', (text, count) => {
  expect(sleepMistakes(file('a.test.ts', text))).toHaveLength(count);
});

test.each([
  [join('/ho', 'me/me/postern'), 1],
  [join('cd /wo', 'rk/main'), 1],
  [join('/Us', 'ers/me'), 1],
  ['/usr/local/bin', 0],
  [join('services/wo', 'rk/src'), 0],
  ['https://example.com/home/page', 0],
  [join('regis', 'try=https://npm.example.com'), 1],
  [join('@scope:regis', 'try=https://npm.example.com'), 1],
  ['register({ registry })', 0],
])('%j names as many places of one machine as it does', (text, count) => {
  expect(hostMistakes(file('a.md', text))).toHaveLength(count);
});

const page = (text: string, path = 'docs/adr/0001-a.md') => file(path, text);
const whole =
  '# 0001. A\n\nStatus: accepted\n\n## Context\n\na\n\n## Decision\n\nb\n\n## Consequences\n\nc\n\n## Enforced by\n\n`d`\n';

test('a decision that is whole has no mistake, and each part that is missing is found', () => {
  expect(adrMistakes(page(whole))).toEqual([]);
  expect(adrMistakes(page(whole, 'docs/adr/0002-a.md'))).toHaveLength(1);
  expect(adrMistakes(page(whole.replace('# 0001', '# 0002')))).toHaveLength(1);
  expect(adrMistakes(page(whole.replace('Status: accepted', '')))).toHaveLength(1);
  expect(adrMistakes(page(whole.replace('## Consequences', '')))).toHaveLength(1);
  expect(adrMistakes(page(whole.replace('`d`', '')))).toHaveLength(1);
});

test.each([
  ['[a](b.md)', 1],
  ['[a](README.md#part)', 0],
  ['[a](../docs)', 0],
  ['[a](https://example.com)', 0],
  ['`services/attic/src/main.ts`', 1],
  ['`docs/README.md`', 0],
])('%j leads to as many files that are not there as it does', (text, count) => {
  expect(linkMistakes([...file('docs/README.md', text)])).toHaveLength(count);
});
