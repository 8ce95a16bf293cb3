/** The files of the repository, as the rules see them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';

export interface RepositoryFile {
  /** From the root, with `/`. */
  readonly path: string;
  readonly text: string;
}

export const ROOT = join(import.meta.dirname, '../../..');

/** What is made, not written. */
const SKIPPED = new Set(['.git', 'node_modules', '.toolchain', '.postern', 'coverage', 'generated']);
const TEXT = /(^|\/)(\.[\w.-]+|Dockerfile|[\w.-]+\.(ts|mjs|js|json|md|sql|yaml|yml|conf|html|css|sh|acl|Dockerfile)|run)$/;

/** All text files, by path. */
export function readRepository(root = ROOT): readonly RepositoryFile[] {
  const files: RepositoryFile[] = [];
  const walk = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const full = join(folder, entry.name);
      const path = relative(root, full).split(sep).join('/');
      if (entry.isDirectory() && !SKIPPED.has(entry.name)) walk(full);
      if (entry.isFile() && TEXT.test(path) && !path.endsWith('.log')) files.push({ path, text: readFileSync(full, 'utf8') });
    }
  };
  walk(root);
  return files.toSorted((one, other) => (one.path < other.path ? -1 : 1));
}

export const isSource = ({ path }: RepositoryFile): boolean => /\.(ts|mjs|js)$/.test(path);
export const isTest = ({ path }: RepositoryFile): boolean =>
  /\.(test|suite|memory)\.ts$/.test(path) || /^(services|packages)\/[^/]+\/test\//.test(path) || path.startsWith('e2e/');
