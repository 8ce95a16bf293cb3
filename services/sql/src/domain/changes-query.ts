/**
 * Queries whose rows can be computed from a changed row alone: columns and expressions of one table, perhaps with a
 * WHERE. What looks like one is not trusted: the server's plan and description of what is made of it have to agree.
 */
import { isSpaceOrComment, skipToken } from './statement-split.ts';

/** The pieces of `SELECT <targets> FROM <table> [AS] <alias> [WHERE …]`, as they were written. */
export interface PlainQuery {
  readonly targets: string;
  readonly table: string;
  /** As it is written in expressions. */
  readonly alias: string;
  /** `WHERE …`, or nothing. */
  readonly where: string;
}

interface Word {
  readonly text: string;
  /** In lower case; undefined inside parentheses, and where any word is a name. */
  readonly keyword: string | undefined;
  readonly from: number;
  readonly to: number;
}

/** Words that make it another kind of query, wherever they stand outside of parentheses. */
const OTHER_KINDS = new Set(
  'distinct all into group having window order limit offset fetch for union intersect except join cross natural left right full inner tablesample lateral only'.split(
    ' ',
  ),
);
/** Words that begin a query, or look at other rows, wherever they stand. */
const OTHER_ROWS = new Set(['select', 'values', 'with', 'over', 'filter', 'within', 'table']);

export function readPlainQuery(query: string): PlainQuery | undefined {
  const words = wordsOf(query);
  if (words === undefined || words[0]?.keyword !== 'select') return undefined;
  const from = words.findIndex((word, index) => word.keyword === 'from' && words[index - 1]?.text.toLowerCase() !== 'distinct');
  if (from < 2) return undefined;
  let end = from + 2;
  while (words[end]?.text === '.') end += 2;
  const last = words[end - 1];
  const first = words[from + 1];
  if (first === undefined || last === undefined || !isName(first) || !isName(last)) return undefined;
  let alias = last.text;
  if (words[end]?.keyword === 'as') end += 1;
  const named = words[end];
  if (named !== undefined && named.keyword !== 'where') {
    if (!isName(named)) return undefined;
    alias = named.text;
    end += 1;
  }
  const where = words[end];
  if (where !== undefined && where.keyword !== 'where') return undefined;
  const others = words.some(({ keyword }, index) => index !== 0 && keyword !== undefined && isOtherKind(words, index, keyword));
  if (others) return undefined;
  const targets = query.slice(words[0].to, words[from]?.from).trim();
  return {
    targets,
    table: query.slice(first.from, last.to),
    alias,
    where: where === undefined ? '' : query.slice(where.from),
  };
}

/** IS [NOT] DISTINCT FROM is an operator. */
function isOtherKind(words: readonly Word[], index: number, keyword: string): boolean {
  if (keyword === 'distinct') return words[index + 1]?.keyword !== 'from';
  if (keyword === 'for' || keyword === 'all') return true;
  return OTHER_KINDS.has(keyword);
}

const isName = ({ text }: Word): boolean => /^[\p{L}_"]/u.test(text);

/** Undefined if it looks at more than one row, or has parameters. */
function wordsOf(query: string): Word[] | undefined {
  const words: Word[] = [];
  let depth = 0;
  for (let at = 0; at < query.length;) {
    const to = skipToken(query, at);
    const text = query.slice(at, to);
    if (!isSpaceOrComment(query, at)) {
      const previous = words.at(-1)?.text.toLowerCase();
      // Behind a dot or AS any word is a name.
      const lower = previous === '.' || previous === 'as' ? undefined : text.toLowerCase();
      if (lower !== undefined && OTHER_ROWS.has(lower) && words.length > 0) return undefined;
      // A comment may reach to the end of the line that something is put behind.
      if (/^\$\d/.test(text) || (text === '$' && /\d/.test(query.charAt(to)))) return undefined;
      if (text === '(') depth += 1;
      if (text === ')') depth -= 1;
      words.push({ text, keyword: depth === 0 ? lower : undefined, from: at, to });
    } else if (text.startsWith('--')) return undefined;
    at = to;
  }
  return words;
}

/** What an expression names: it could be of anybody's making. */
export interface Named {
  /** Of functions and types. */
  readonly names: readonly string[];
  readonly operators: readonly string[];
  /** What has to be a column, as a function can be called in the same way. */
  readonly columns: readonly string[];
}

const OPERATOR_CHARACTERS = '+-*/<>=~!@#%^&|`?';
const OPERATOR_MAX = 8;
/** Other syntax has these called: IN, BETWEEN, LIKE and so on. */
const IMPLIED_OPERATORS = '= <> < > <= >= ~ ~~ !~~ ~~* !~~*'.split(' ');
/** Words that are not the same at any time. */
const TIMES = new Set(['current_date', 'current_time', 'current_timestamp', 'localtime', 'localtimestamp']);
const NAME_MAX_BYTES = 63;

/** Undefined if it names something in a way that is not understood here. */
export function readNamed({ targets, alias, where }: PlainQuery): Named | undefined {
  const words = wordsOf(`SELECT ${targets} ${where}`);
  if (words === undefined) return undefined;
  const [names, operators, columns] = [new Set<string>(), new Set(IMPLIED_OPERATORS), new Set<string>()];
  const textAt = (index: number): string => words[index]?.text ?? '';
  let depth = 0;
  for (let index = 1; index < words.length; index += 1) {
    const text = textAt(index);
    if (text === '(') depth += 1;
    if (text === ')') depth -= 1;
    if (text === '.' && !/^\d/.test(textAt(index - 1)) && !/^\d/.test(textAt(index + 1))) {
      const isCast = textAt(index - 2) === ':' || textAt(index - 2).toLowerCase() === 'as';
      if (foldName(textAt(index - 1)) !== foldName(alias) || isCast || textAt(index + 2) === '(') return undefined;
      if (textAt(index + 1) !== '*') columns.add(foldName(textAt(index + 1)));
    }
    if (OPERATOR_CHARACTERS.includes(text)) {
      const run = operatorAt(words, index);
      if (run.length > OPERATOR_MAX) return undefined;
      for (let end = 1; end <= run.length; end += 1) operators.add(run.slice(0, end));
    }
    if (!/^[\p{L}_"]/u.test(text)) continue;
    const [previous, next] = [textAt(index - 1).toLowerCase(), textAt(index + 1)];
    const isType = previous === ':' || (previous === 'as' && depth > 0) || next.startsWith("'") || next.startsWith('$');
    const name = foldName(text);
    if (TIMES.has(text.toLowerCase()) || (next === '(' && name === 'operator') || Buffer.byteLength(name) > NAME_MAX_BYTES)
      return undefined;
    // A name with escapes in it, or one whose text depends on the catalog.
    if ((name === 'u' && next === '&') || (isType && name.startsWith('reg'))) return undefined;
    if (isType || next === '(') names.add(name);
  }
  return { names: [...names], operators: [...operators], columns: [...columns] };
}

/** The characters of an operator from here on; where it ends the server alone knows. */
function operatorAt(words: readonly Word[], from: number): string {
  let run = '';
  for (let index = from; index < words.length; index += 1) {
    const word = words[index];
    if (word === undefined || !OPERATOR_CHARACTERS.includes(word.text)) break;
    if (index > from && words[index - 1]?.to !== word.from) break;
    run += word.text;
  }
  return run;
}

/** As the server reads a name. */
const foldName = (text: string): string =>
  text.startsWith('"') ? text.slice(1, -1).replaceAll('""', '"') : text.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());

export interface KeyColumn {
  readonly name: string;
  /** Its type, qualified and without a modifier. */
  readonly type: string;
}

export interface ChangedTable {
  /** Qualified and quoted. */
  readonly name: string;
  /** Its own name alone, quoted: what policies call it. */
  readonly ownName: string;
  /** Of all columns, in the order of the table. */
  readonly columns: readonly string[];
  readonly key: readonly KeyColumn[];
}

/** The same whatever the settings of the session are, and different for what the table holds to be different. */
const keyOf = (values: readonly string[]): string =>
  `pg_catalog.encode(pg_catalog.record_send(ROW(${values.join(', ')})), 'hex'::pg_catalog.text)`;

/** The rows at the start, each behind its key. */
export const snapshotQuery = ({ targets, table, alias, where }: PlainQuery, { key }: ChangedTable): string =>
  `SELECT ${keyOf(key.map(({ name }) => `${alias}.${quoteName(name)}`))}, ${targets} FROM ${table} AS ${alias} ${where}`;

/** What the query makes of rows that its caller may see: `$1` are their literals; each result behind its row's ordinal. */
export const imageQuery = ({ targets, alias, where }: PlainQuery, { name }: ChangedTable): string =>
  `SELECT postern_image.ordinal, postern_result.* ` +
  `FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS postern_image(literal, ordinal), ` +
  `LATERAL (SELECT ${targets} FROM pg_catalog.unnest(ARRAY[postern_image.literal::${name}]) AS ${alias} ${where}) AS postern_result ` +
  `ORDER BY 1`;

/**
 * Keys of changed rows, and whether the caller may see them. Run with nothing but pg_catalog in the search path:
 * `condition` is of the policies, in which nothing is the caller's to choose.
 */
export function visibilityQuery({ name, ownName, key }: ChangedTable, condition: string | undefined): string {
  const parts = key.map((_, index) => `k${index}`);
  const arrays = ['literal', ...parts].map((_, index) => `$${index + 1}::text[]`).join(', ');
  const shown =
    condition === undefined
      ? 'o.literal IS NOT NULL'
      : `CASE WHEN o.literal IS NULL THEN false ELSE EXISTS (SELECT FROM unnest(ARRAY[o.literal::${name}]) AS ${ownName} WHERE ${condition}) END`;
  return (
    `SELECT ${keyOf(key.map(({ type }, index) => `o.k${index}::${type}`))}, ${shown} ` +
    `FROM unnest(${arrays}) WITH ORDINALITY AS o(literal, ${parts.join(', ')}, ordinal) ORDER BY o.ordinal`
  );
}

/** Large values that a change does not tell, as they are now; the row's ordinal first. */
export function largeValuesQuery({ name, key }: ChangedTable, columns: readonly string[]): string {
  const arrays = key.map((_, index) => `$${index + 1}::text[]`).join(', ');
  const joined = key.map((column, index) => `t.${quoteName(column.name)} = o.k${index}::${column.type}`).join(' AND ');
  return (
    `SELECT o.ordinal, ${columns.map((column) => `t.${quoteName(column)}::text`).join(', ')} ` +
    `FROM unnest(${arrays}) WITH ORDINALITY AS o(${key.map((_, index) => `k${index}`).join(', ')}, ordinal) ` +
    `JOIN ${name} AS t ON ${joined}`
  );
}

export const quoteName = (name: string): string => `"${name.replaceAll('"', '""')}"`;

const quoteElement = (value: string): string => `"${value.replaceAll(/["\\]/g, String.raw`\$&`)}"`;

/** The text of a `text[]`. */
export const arrayLiteral = (values: readonly (string | null)[]): string =>
  `{${values.map((value) => (value === null ? 'NULL' : quoteElement(value))).join(',')}}`;

/** The text of a row: its values in the order of the table. */
export const rowLiteral = (values: readonly (string | null)[]): string =>
  `(${values.map((value) => (value === null ? '' : quoteElement(value))).join(',')})`;
