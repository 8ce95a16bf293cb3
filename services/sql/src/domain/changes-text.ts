/** The text of `test_decoding`, which every PostgreSQL has: one line for each changed row, as the server's log tells of it. */

/** A column's value as its type prints it; `unchanged` if the log does not hold it, as it is large and was left as it was. */
export type ChangedValue = string | null | typeof unchanged;

export const unchanged = Symbol('unchanged');

export type ChangedRow = ReadonlyMap<string, ChangedValue>;

export type Change =
  | { readonly kind: 'insert'; readonly row: ChangedRow }
  /** `old` is there if the key was changed, or the table has its whole rows logged. */
  | { readonly kind: 'update'; readonly old: ChangedRow | undefined; readonly row: ChangedRow }
  /** Without `old` the table logs too little to tell which row it was. */
  | { readonly kind: 'delete'; readonly old: ChangedRow | undefined }
  | { readonly kind: 'truncate' };

export type Line =
  | { readonly kind: 'begin'; readonly xid: number }
  | { readonly kind: 'commit' }
  | { readonly kind: 'tables'; readonly tables: readonly string[] }
  | { readonly kind: 'other' };

/** The log says something that this does not know. */
export class UnreadableChange extends Error {
  override readonly name = 'UnreadableChange';
}

/** What a line is about; the tables as the server quotes them, such as `public."My table"`. */
export function readLine(line: string): Line {
  if (line.startsWith('BEGIN ')) return { kind: 'begin', xid: Number(line.slice(6)) };
  if (line.startsWith('COMMIT')) return { kind: 'commit' };
  if (!line.startsWith('table ')) return { kind: 'other' };
  const tables: string[] = [];
  let at = 6;
  for (;;) {
    const end = nameEnd(line, at);
    tables.push(line.slice(at, end));
    if (!line.startsWith(', ', end)) return { kind: 'tables', tables };
    at = end + 2;
  }
}

/** The change itself, of a line with `tables`. */
export function readChange(line: string): Change {
  let at = 6;
  do {
    at = nameEnd(line, at) + 2;
  } while (line.startsWith(', ', at - 2));
  const verb = /^ ?([A-Z]+):/.exec(line.slice(at - 1, at + 12));
  const from = line.indexOf(':', at) + 1;
  switch (verb?.[1] ?? '') {
    case 'INSERT':
      return { kind: 'insert', row: readRow(line, from).row };
    case 'UPDATE': {
      if (!line.startsWith(OLD, from)) return { kind: 'update', old: undefined, row: readRow(line, from).row };
      const { row: old, end } = readRow(line, from + OLD.length);
      if (!line.startsWith(NEW, end)) throw new UnreadableChange('an update without a new row');
      return { kind: 'update', old, row: readRow(line, end + NEW.length).row };
    }
    case 'DELETE': {
      const { row } = readRow(line, from);
      return { kind: 'delete', old: row.size === 0 ? undefined : row };
    }
    case 'TRUNCATE':
      return { kind: 'truncate' };
    default:
      throw new UnreadableChange('an unknown kind of change');
  }
}

const OLD = ' old-key:';
const NEW = ' new-tuple:';
const NO_TUPLE = ' (no-tuple-data)';

/** Columns up to the end of the line or of the old row: ` name[type]:value`. */
function readRow(line: string, from: number): { readonly row: ChangedRow; readonly end: number } {
  const row = new Map<string, ChangedValue>();
  let at = from;
  if (line.startsWith(NO_TUPLE, at)) return { row, end: at + NO_TUPLE.length };
  while (at < line.length && !line.startsWith(NEW, at)) {
    if (line[at] !== ' ') throw new UnreadableChange('no space before a column');
    const nameTo = wordEnd(line, at + 1, '[');
    const typeTo = typeEnd(line, nameTo);
    const { value, end } = readValue(line, typeTo + 1);
    row.set(unquote(line.slice(at + 1, nameTo)), value);
    at = end;
  }
  return { row, end: at };
}

function readValue(line: string, from: number): { readonly value: ChangedValue; readonly end: number } {
  const isBits = line[from] === 'B' && line[from + 1] === "'";
  const start = isBits ? from + 1 : from;
  if (line[start] !== "'") {
    const space = line.indexOf(' ', start);
    const end = space === -1 ? line.length : space;
    const word = line.slice(start, end);
    if (word === 'null') return { value: null, end };
    return { value: word === 'unchanged-toast-datum' ? unchanged : word, end };
  }
  const end = quotedEnd(line, start, "'");
  const inside = line.slice(start + 1, end - 1);
  return { value: inside.includes("''") ? inside.replaceAll("''", "'") : inside, end };
}

/** Behind the quote that closes the one at `start`; two of them are one character inside. */
function quotedEnd(line: string, start: number, quote: string): number {
  let at = line.indexOf(quote, start + 1);
  while (at !== -1 && line[at + 1] === quote) at = line.indexOf(quote, at + 2);
  if (at === -1) throw new UnreadableChange('a quote is not closed');
  return at + 1;
}

/** Behind a name, which is quoted or ends before `stop`. */
function wordEnd(line: string, from: number, stop: string): number {
  if (line[from] === '"') return quotedEnd(line, from, '"');
  const end = line.indexOf(stop, from);
  if (end === -1) throw new UnreadableChange('a name does not end');
  return end;
}

/** Behind `schema.table`. */
function nameEnd(line: string, from: number): number {
  const dot = wordEnd(line, from, '.');
  const start = dot + 1;
  if (line[start] === '"') return quotedEnd(line, start, '"');
  let at = start;
  while (at < line.length && line[at] !== ':' && line[at] !== ',') at += 1;
  return at;
}

/** Behind `[type]`; the name of a type may hold brackets, in pairs or quoted. */
function typeEnd(line: string, from: number): number {
  let depth = 0;
  for (let at = from; at < line.length; at += 1) {
    const code = line[at];
    if (code === '"') at = quotedEnd(line, at, '"') - 1;
    else if (code === '[') depth += 1;
    else if (code === ']') {
      depth -= 1;
      if (depth === 0 && line[at + 1] === ':') return at + 1;
    }
  }
  throw new UnreadableChange('the type of a column does not end');
}

const unquote = (name: string): string => (name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name);
