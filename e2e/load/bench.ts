/**
 * `npm run bench`: the ratios of docs/benchmarks.md, each against a peer in the same run on the same machine.
 * `-- --write` puts the table into the page; `-- --seconds N` sets the length of one measurement; `-- --only edge,sql` runs
 * some of the parts, and writes their rows alone.
 */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { parseArgs, promisify } from 'node:util';

import { benchEdge } from './parts/edge.ts';
import { benchNeon } from './parts/neon.ts';
import { benchSql } from './parts/sql.ts';
import { benchStreams } from './parts/streams.ts';
import type { Part, Row } from './row.ts';

const run = promisify(execFile);
const PAGE = new URL('../../docs/benchmarks.md', import.meta.url);
const TABLE = /(<!-- table -->\n)[^]*(<!-- \/table -->)/;

const PARTS: Readonly<Record<string, Part>> = {
  edge: benchEdge,
  sql: benchSql,
  'neon-http': benchNeon,
  ndjson: benchStreams,
};

const { values: options } = parseArgs({
  options: { write: { type: 'boolean' }, seconds: { type: 'string', default: '8' }, only: { type: 'string' } },
});
const seconds = Number(options.seconds);
const chosen = options.only?.split(',') ?? Object.keys(PARTS);
const unknown = chosen.filter((name) => !(name in PARTS));
if (unknown.length > 0) throw new Error(`there is no ${unknown.join(', ')}; there are ${Object.keys(PARTS).join(', ')}`);

const rows: Row[] = [];
const note = (row: Row): void => {
  rows.push(row);
  process.stderr.write(`${row.path} · ${row.what}: ${row.measured} ${row.ratio ?? ''}\n`);
};
for (const name of chosen) await PARTS[name]?.(note, seconds);

const { stdout: commit } = await run('git', ['rev-parse', '--short', 'HEAD']);
const how = `${new Date().toISOString().slice(0, 10)} at commit ${commit.trim()} on ${cpus().length} cores of ${cpus()[0]?.model ?? 'an unnamed processor'}, Node ${process.version}, ${seconds} s each`;
const lineOf = ({ path, what, measured, ratio, bar }: Row): string =>
  `| ${path} | ${what} | ${measured} | ${ratio ?? ''} | ${bar ?? ''} |`;
const head = ['| path | what | measured | ratio | bar |', '|---|---|---|---|---|'];
process.stdout.write(`${[`Measured ${how}.`, '', ...head, ...rows.map(lineOf)].join('\n')}\n`);

if (options.write === true) {
  const text = await readFile(PAGE, 'utf8');
  const measured = new Set(rows.map(({ path }) => path));
  const before = (TABLE.exec(text)?.[0] ?? '').split('\n');
  const kept = before
    .filter((line) => line.startsWith('| ') && !line.startsWith('| path |'))
    .filter((line) => !measured.has(line.split(' | ')[0]?.slice(2) ?? ''));
  // Rows that were not measured again keep the line that says when they were.
  const said = options.only === undefined ? [] : before.filter((line) => line.startsWith('Measured '));
  const which = options.only === undefined ? '' : ` (${[...measured].join(', ')})`;
  const table = [...said, `Measured ${how}${which}.`, '', ...head, ...kept, ...rows.map(lineOf)].join('\n');
  await writeFile(PAGE, text.replace(TABLE, `$1\n${table}\n\n$2`));
}
