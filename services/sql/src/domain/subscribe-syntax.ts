/** The words of SUBSCRIBE. What is subscribed to is left to PostgreSQL's own grammar. */
import type { SqlError } from './entries.ts';
import { isSpaceOrComment, skipToken } from './statement-split.ts';
import type { SubscribeOptions, SubscribeStatement } from './subscribe.ts';

interface Token {
  readonly text: string;
  readonly from: number;
  readonly to: number;
}

/** Undefined if the statement is none. `statement` is one statement without its semicolon. */
export function readSubscribe(statement: string): SubscribeStatement | SqlError | undefined {
  const tokens = tokensOf(statement);
  if (tokens[0]?.text.toLowerCase() !== 'subscribe') return undefined;
  const from = tokens[1]?.text.toLowerCase() === 'to' ? 2 : 1;
  const end = tokens[from]?.text === '(' ? closing(tokens, from) : nameEnd(tokens, from);
  const last = tokens[end - 1];
  const first = tokens[from];
  if (first === undefined || last === undefined || end <= from) return syntaxError(statement, first);
  const source = statement.slice(first.from, last.to);
  const query = first.text === '(' ? source.slice(1, -1).trim() : `SELECT * FROM ${source}`;
  if (query === '') return syntaxError(statement, tokens[from + 1]);
  const options = readOptions(statement, tokens.slice(end));
  if ('message' in options) return options;
  return { text: `SUBSCRIBE (${query})`, query, options };
}

function tokensOf(statement: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < statement.length;) {
    const to = skipToken(statement, at);
    if (!isSpaceOrComment(statement, at)) tokens.push({ text: statement.slice(at, to), from: at, to });
    at = to;
  }
  return tokens;
}

/** Behind the parenthesis that closes the one at `start`; 0 if there is none. */
function closing(tokens: readonly Token[], start: number): number {
  let depth = 0;
  for (let index = start; index < tokens.length; index += 1) {
    if (tokens[index]?.text === '(') depth += 1;
    else if (tokens[index]?.text === ')') depth -= 1;
    if (depth === 0) return index + 1;
  }
  return 0;
}

const isName = (token: Token | undefined): boolean =>
  token !== undefined && (/^[\p{L}_]/u.test(token.text) || token.text.startsWith('"')) && !token.text.endsWith("'");

/** Behind `a`, `a.b` or `a.b.c`; `start` if there is no name. */
function nameEnd(tokens: readonly Token[], start: number): number {
  if (!isName(tokens[start])) return start;
  let end = start + 1;
  while (tokens[end]?.text === '.' && isName(tokens[end + 1])) end += 2;
  return end;
}

const NO_OPTIONS: SubscribeOptions = { snapshot: true, progress: false, resume: undefined, channel: undefined };

/** `WITH (PROGRESS, SNAPSHOT = false, RESUME = 'token')`, the parentheses and the equals signs as one likes. */
function readOptions(statement: string, tokens: readonly Token[]): SubscribeOptions | SqlError {
  if (tokens.length === 0) return NO_OPTIONS;
  if (tokens[0]?.text.toLowerCase() !== 'with') return syntaxError(statement, tokens[0]);
  const isEnclosed = tokens[1]?.text === '(';
  const inside = isEnclosed ? tokens.slice(2, -1) : tokens.slice(1);
  if (inside.length === 0 || (isEnclosed && tokens.at(-1)?.text !== ')')) return syntaxError(statement, tokens.at(-1));
  let options = NO_OPTIONS;
  for (const part of parts(inside)) {
    const read = readOption(options, part);
    if (read === undefined) return syntaxError(statement, part[0] ?? inside.at(-1));
    options = read;
  }
  return options;
}

function parts(tokens: readonly Token[]): Token[][] {
  const all: Token[][] = [[]];
  for (const token of tokens) {
    if (token.text === ',') all.push([]);
    else all.at(-1)?.push(token);
  }
  return all;
}

function readOption(options: SubscribeOptions, [name, ...rest]: readonly Token[]): SubscribeOptions | undefined {
  const [value, ...more] = rest[0]?.text === '=' ? rest.slice(1) : rest;
  if (name === undefined || more.length > 0 || (rest.length > 0 && value === undefined)) return undefined;
  switch (name.text.toLowerCase()) {
    case 'snapshot':
    case 'progress': {
      const flag = value === undefined ? true : readFlag(value.text);
      return flag === undefined ? undefined : { ...options, [name.text.toLowerCase()]: flag };
    }
    case 'resume':
    case 'channel': {
      const text = value === undefined ? undefined : readText(value.text);
      return text === undefined ? undefined : { ...options, [name.text.toLowerCase()]: text };
    }
    default:
      return undefined;
  }
}

function readFlag(word: string): boolean | undefined {
  const value = (readText(word) ?? word).toLowerCase();
  if (['true', 'on', '1'].includes(value)) return true;
  return ['false', 'off', '0'].includes(value) ? false : undefined;
}

const readText = (literal: string): string | undefined =>
  literal.length >= 2 && literal.startsWith("'") && literal.endsWith("'")
    ? literal.slice(1, -1).replaceAll("''", "'")
    : undefined;

function syntaxError(statement: string, token: Token | undefined): SqlError {
  return token === undefined
    ? { message: 'syntax error at end of input', code: '42601', position: statement.length + 1 }
    : { message: `syntax error at or near "${token.text}"`, code: '42601', position: token.from + 1 };
}
