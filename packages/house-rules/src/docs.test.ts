import { allServices } from '@postern/contracts/all';
import { Failure } from '@postern/contracts/failure';
import { secret, setting } from '@postern/service-kit/config';
import { presentProblem } from '@postern/service-kit/problem';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';

import { renderErrors, renderReadme, renderSubjects } from './docs.ts';
import { generateDocs, staleFiles } from './generated.ts';
import { ROOT } from './repository.ts';

test('the generated pages are current', async () => {
  expect(staleFiles(await generateDocs())).toEqual([]);
});

test('a page that was changed by hand, or is not there, is stale', async () => {
  const path = 'docs/errors.md';
  const text = readFileSync(join(ROOT, path), 'utf8');
  expect(staleFiles([{ path, text }])).toEqual([]);
  expect(staleFiles([{ path, text: `${text} ` }])).toEqual([path]);
  expect(staleFiles([{ path: 'docs/lost.md', text }])).toEqual(['docs/lost.md']);
});

test('every room has a place for its settings in its README', async () => {
  const paths = (await generateDocs()).map(({ path }) => path);
  expect(paths).toEqual(expect.arrayContaining(Object.keys(allServices).map((name) => `services/${name}/README.md`)));
});

test('the type of a problem leads to a paragraph of the page', () => {
  const page = renderErrors();
  for (const { errors } of Object.values(allServices)) {
    for (const code of Object.keys(errors)) {
      const { type } = JSON.parse(presentProblem(new Failure(code), errors).body) as { type: string };
      expect(page).toContain(`<a id="${type.split('#')[1] ?? 'none'}"></a>\n\n### ${code}\n`);
    }
  }
});

test('the page of subjects tells optional fields, nested shapes and callers', () => {
  const page = renderSubjects();
  expect(page).toContain('`{ name: string, password: string, client: string, replaces?: string }`');
  expect(page).toMatch(/### `rpc\.session\.v1\.login`[^#]*\| called by \| edge \|/);
});

test('a README keeps what is around its settings, and shows no value of a secret', () => {
  const settings = {
    url: secret('ATTIC_URL', z.url(), 'Where the attic is'),
    boxes: setting('ATTIC_BOXES', z.coerce.number().default(3), 'How many'),
  };
  const readme = '# attic\n\n<!-- settings -->\nold\n<!-- /settings -->\n\nend\n';
  const text = renderReadme(readme, settings) ?? '';
  expect(text).toMatch(/^# attic\n\n<!-- settings -->\n\n\| variable/);
  expect(text).toMatch(/<!-- \/settings -->\n\nend\n$/);
  expect(text).toContain('| `ATTIC_URL` | Where the attic is (secret; or ATTIC_URL_FILE) | *required* |');
  expect(text).toContain('| `ATTIC_BOXES` | How many | `3` |');
  expect(renderReadme(text, settings)).toBe(text);
  expect(renderReadme('# attic\n', settings)).toBeUndefined();
});
