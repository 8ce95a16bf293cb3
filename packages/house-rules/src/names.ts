import type { RepositoryFile } from './repository.ts';
import { isSource } from './repository.ts';

/** Words that say nothing wherever they stand in a name. */
const EMPTY_WORDS = new Set(['util', 'utils', 'helper', 'helpers', 'manager', 'misc', 'impl']);
/** Names that say nothing when they stand alone. */
const EMPTY_NAMES = new Set(['data', 'info', 'index', 'constants', 'lib']);
const EMPTY_NAMES_IN_SERVICES = new Set([...EMPTY_NAMES, 'common', 'handler', 'handlers']);
/** The one file of a room that has handlers. */
const HANDLERS = /^services\/[^/]+\/src\/nats\/handlers\.ts$/;

/** File and folder names that do not say what is inside. */
export function nameMistakes(files: readonly RepositoryFile[]): string[] {
  return files.filter(isSource).flatMap(({ path }) => {
    const parts = path.split('/').map((part) => part.split('.')[0] ?? '');
    const emptyNames = path.startsWith('services/') && !HANDLERS.test(path) ? EMPTY_NAMES_IN_SERVICES : EMPTY_NAMES;
    const empty = parts.filter((part) => emptyNames.has(part) || part.split('-').some((word) => EMPTY_WORDS.has(word)));
    const isKebab = /^[a-z0-9.-]+$/.test(path.split('/').at(-1) ?? '');
    return [
      ...empty.map((part) => `${path}: "${part}" does not say what is inside`),
      ...(isKebab ? [] : [`${path}: names are kebab-case`]),
    ];
  });
}
