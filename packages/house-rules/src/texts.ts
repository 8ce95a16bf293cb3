/** What is written in files of any kind. */
import type { RepositoryFile } from './repository.ts';
import { isSource } from './repository.ts';

/** A note to do something later names where it is tracked: `TODO(#12)`. */
export function todoMistakes(files: readonly RepositoryFile[]): string[] {
  return lines(files.filter(isSource))
    .filter(({ line }) => /\b(TO\s?DO|FIX\s?ME|X{3})\b(?!\(#\d+\))/.test(line) && /\/\/|\/\*|^\s*\*/.test(line))
    .map(({ path, number }) => `${path}:${number}: says what is to do, not where it is tracked`);
}

/** Waiting a fixed time makes a test slow where it passes and red where the machine is slow. */
const SLEEP = /\b(?:delay|sleep|pause|wait)\(\s*(\d[\d_]*)|setTimeout\(\s*(?:resolve|done|r),\s*(\d[\d_]*)/g;
const SLEEP_MS_MAX = 100;

export function sleepMistakes(files: readonly RepositoryFile[]): string[] {
  return lines(files.filter(({ path }) => /\.(test|suite)\.ts$/.test(path))).flatMap(({ path, number, line }) =>
    [...line.matchAll(SLEEP)]
      .filter(([, plain, timer]) => Number((plain ?? timer ?? '0').replaceAll('_', '')) > SLEEP_MS_MAX)
      .map(() => `${path}:${number}: waits a fixed time; use eventually() or a clock`),
  );
}

/** Paths of one machine: homes, checkouts, mounts. System paths and those inside an image are not. */
const HOST_PATH = /(?<![\w.~/:*-])\/(?:home|Users|root|work|workspace|mnt|media)\/[\w.-]+/;
/** A registry other than the ones that everybody uses unsaid. */
const REGISTRY = /\bregistry["']?\s*[=:]\s*["']?https?:|\btarball:\s*https?:|\bindex-url\b\s*=/i;

export function hostMistakes(files: readonly RepositoryFile[]): string[] {
  return lines(files).flatMap(({ path, number, line }) => [
    ...(HOST_PATH.test(line) ? [`${path}:${number}: names a path of one machine`] : []),
    ...(REGISTRY.test(line) ? [`${path}:${number}: names a registry`] : []),
  ]);
}

const ADR_SECTIONS = ['## Context', '## Decision', '## Consequences', '## Enforced by'];
const ADR_STATUS = /^Status: (accepted|superseded by \d{4}|rejected)$/m;

/** Decisions are numbered without gaps and say by what they are enforced. */
export function adrMistakes(files: readonly RepositoryFile[]): string[] {
  const pages = files.filter(({ path }) => /^docs\/adr\/.+\.md$/.test(path));
  return pages.flatMap(({ path, text }, index) => {
    const number = String(index + 1).padStart(4, '0');
    const sections = text.split('\n').filter((line) => line.startsWith('## '));
    const enforcedBy = text.split('## Enforced by')[1]?.trim() ?? '';
    return [
      ...(path.startsWith(`docs/adr/${number}-`) ? [] : [`${path}: number ${number} was expected`]),
      ...(text.startsWith(`# ${number}. `) ? [] : [`${path}: its title does not begin with its number`]),
      ...(ADR_STATUS.test(text) ? [] : [`${path}: has no status`]),
      ...(ADR_SECTIONS.join() === sections.join() ? [] : [`${path}: its sections are not ${ADR_SECTIONS.join(', ')}`]),
      ...(enforcedBy === '' ? [`${path}: does not say by what it is enforced`] : []),
    ];
  });
}

const LINK = /\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)/g;
const NAMED_FILE = /`((?:services|packages|deploy|docs|e2e)\/[\w./-]*\w)`/g;

/** Pages that lead to files, by link or by name, that are not there. `*` stands for any name. */
export function linkMistakes(files: readonly RepositoryFile[]): string[] {
  const places = new Set(
    files.flatMap(({ path }) => path.split('/').map((_, depth, parts) => parts.slice(0, depth + 1).join('/'))),
  );
  return files
    .filter(({ path }) => path.endsWith('.md'))
    .flatMap(({ path, text }) => {
      const linked = [...text.matchAll(LINK)].map(([, target = '']) => new URL(target, `file:///${path}`).pathname.slice(1));
      const named = [...text.matchAll(NAMED_FILE)].map(([, target = '']) => target);
      return [...linked, ...named]
        .map((target) => target.replace(/\/$/, ''))
        .filter((target) => !places.has(target))
        .map((target) => `${path}: there is no ${target}`);
    });
}

function lines(files: readonly RepositoryFile[]): { path: string; number: number; line: string }[] {
  return files.flatMap(({ path, text }) => text.split('\n').map((line, index) => ({ path, number: index + 1, line })));
}
