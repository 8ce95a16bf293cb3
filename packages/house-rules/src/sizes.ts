/** Prints how large files and services are, so that a reviewer sees the tail. Nothing fails on it. */
import { isSource, isTest, readRepository } from './repository.ts';

const MAIN_LINES = 60;
const FILE_LINES = 300;

const lineCount = (text: string): number => text.split('\n').length - 1;
const at = (sorted: readonly number[], share: number): number => sorted[Math.floor((sorted.length - 1) * share)] ?? 0;

const sources = readRepository()
  .filter((file) => isSource(file) && !isTest(file))
  .map(({ path, text }) => ({ path, lines: lineCount(text) }));
const groups = Map.groupBy(sources, ({ path }) =>
  path
    .split('/')
    .slice(0, path.startsWith('deploy') ? 1 : 2)
    .join('/'),
);

const rows = [...groups].map(([group, files]) => {
  const sorted = files.map(({ lines }) => lines).toSorted((one, other) => one - other);
  return { group, files: files.length, median: at(sorted, 0.5), p90: at(sorted, 0.9), max: at(sorted, 1) };
});
const table = [
  'files and lines without tests (aim: median 60, p90 150, max 300)',
  ...rows.map(({ group, files, median, p90, max }) =>
    [group.padEnd(24), ...[files, median, p90, max].map((count) => String(count).padStart(6))].join(''),
  ),
  ...sources
    .filter(({ path, lines }) => lines > (path.endsWith('/main.ts') ? MAIN_LINES : FILE_LINES))
    .map(({ path, lines }) => `long: ${path} (${lines})`),
];
process.stdout.write(`${table.join('\n')}\n`);
