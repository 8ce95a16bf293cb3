/** Writes the generated pages; with `--check` only compares them, and exits with status 1 if one is stale. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { generateDocs, staleFiles } from './generated.ts';
import { ROOT } from './repository.ts';

const generated = await generateDocs();
const stale = staleFiles(generated);

if (process.argv.includes('--check')) {
  for (const path of stale) process.stdout.write(`${path} is stale: npm run docs\n`);
  process.exitCode = stale.length === 0 ? 0 : 1;
} else {
  for (const { path, text } of generated.filter((file) => stale.includes(file.path))) {
    mkdirSync(dirname(join(ROOT, path)), { recursive: true });
    writeFileSync(join(ROOT, path), text);
    process.stdout.write(`${path} written\n`);
  }
}
