import type { RepositoryFile } from './repository.ts';
import { isSource, isTest } from './repository.ts';

const IMPORT = /^\s*(?:import|export)\s(?:[^'"`;]*?\sfrom\s)?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/gm;

export const importsOf = ({ text }: RepositoryFile): string[] =>
  [...text.matchAll(IMPORT)].map((match) => match[1] ?? match[2] ?? '').filter((specifier) => specifier !== '');

/** What each workspace package may import of the others; a service only what `services` may. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  contracts: [],
  rpc: ['contracts'],
  'service-kit': ['contracts'],
  testkit: ['contracts', 'rpc', 'service-kit', 'deploy'],
  'house-rules': ['contracts', 'service-kit'],
  deploy: ['contracts'],
  services: ['contracts', 'rpc', 'service-kit'],
  e2e: ['contracts', 'rpc'],
};
/** Tests meet real servers, which testkit and deploy start. */
const TEST_ARROWS = ['testkit', 'deploy'];

const packageOf = (path: string): string | undefined => {
  const [top, second] = path.split('/');
  if (top === 'packages') return second;
  return top === 'services' || top === 'deploy' || top === 'e2e' ? top : undefined;
};

/** Another workspace package that a specifier leads to, by its name or around it. */
function targetOf(specifier: string, path: string): string | undefined {
  const named = /^@postern\/([^/]+)/.exec(specifier)?.[1];
  if (named !== undefined) return named;
  if (!specifier.startsWith('.')) return undefined;
  const full = new URL(specifier, `file:///${path}`).pathname.slice(1);
  const [top, second] = full.split('/');
  if (top === 'services') return path.startsWith(`services/${second}/`) ? undefined : second;
  const target = packageOf(full);
  return target === packageOf(path) ? undefined : target;
}

/** Imports that go against the arrows between packages. */
export function arrowMistakes(files: readonly RepositoryFile[]): string[] {
  return files.filter(isSource).flatMap((file) => {
    const own = packageOf(file.path);
    if (own === undefined) return [];
    const allowed = [...(ARROWS[own] ?? []), ...(isTest(file) ? TEST_ARROWS : [])];
    return importsOf(file)
      .filter((specifier) => {
        const target = targetOf(specifier, file.path);
        return target !== undefined && target !== own && !allowed.includes(target);
      })
      .map((specifier) => `${file.path}: may not import ${specifier}`);
  });
}

/** Default exports, files that only pass on what others export, and `export *`. Tools that ask for a default are excused. */
export function exportMistakes(files: readonly RepositoryFile[]): string[] {
  return files.filter(isSource).flatMap(({ path, text }) => {
    const code = text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '').trim();
    const isConfig = /^[\w.-]+\.config\.(ts|mjs)$/.test(path);
    const mistakes: string[] = [];
    if (/^export default\b/m.test(code) && !isConfig) mistakes.push(`${path}: has a default export`);
    if (/^export\s+(type\s+)?\*/m.test(code)) mistakes.push(`${path}: passes on all of another file`);
    const statements = code.split(/;\s*\n/).filter((statement) => statement.trim() !== '');
    const isBarrel = statements.length > 0 && statements.every((statement) => /^export\s[^=]*\sfrom\s/.test(statement.trim()));
    if (isBarrel) mistakes.push(`${path}: only passes on what others export`);
    return mistakes;
  });
}
