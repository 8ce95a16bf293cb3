/** Where the statements of a string end, without PostgreSQL's grammar: for texts that it does not know as a whole. */

/** The statements of a text without what is around them; comments and empty statements are left out. */
export function splitStatements(text: string): string[] {
  const statements: string[] = [];
  let from = 0;
  let isEmpty = true;
  const end = (to: number): void => {
    if (!isEmpty) statements.push(text.slice(from, to).trim());
    isEmpty = true;
  };
  for (let at = 0; at < text.length;) {
    const next = skipToken(text, at);
    const isBlank = isSpaceOrComment(text, at);
    if (text[at] === ';') end(at);
    else if (!isBlank && isEmpty) {
      isEmpty = false;
      from = at;
    }
    at = next;
  }
  end(text.length);
  return statements;
}

const SPACE = /\s/;
const WORD = /[\p{L}\p{N}_$]/u;

export const isSpaceOrComment = (text: string, at: number): boolean =>
  SPACE.test(text.charAt(at)) || text.startsWith('--', at) || text.startsWith('/*', at);

/** Behind the token that begins at `at`: a word, a string, a quoted name, a comment, or one character. */
export function skipToken(text: string, at: number): number {
  const code = text.charAt(at);
  if (code === "'") return skipQuoted(text, at, "'", false);
  if (code === '"') return skipQuoted(text, at, '"', false);
  if (text.startsWith('--', at)) return lineEnd(text, at);
  if (text.startsWith('/*', at)) return commentEnd(text, at);
  if (code === '$') return skipDollar(text, at);
  if (!WORD.test(code)) return at + 1;
  if ((code === 'e' || code === 'E') && text[at + 1] === "'") return skipQuoted(text, at + 1, "'", true);
  let end = at + 1;
  while (end < text.length && WORD.test(text.charAt(end))) end += 1;
  return end;
}

function skipQuoted(text: string, start: number, quote: string, hasEscapes: boolean): number {
  let at = start + 1;
  while (at < text.length) {
    const code = text.charAt(at);
    if (hasEscapes && code === '\\') at += 2;
    else if (code !== quote) at += 1;
    else if (text[at + 1] === quote) at += 2;
    else return at + 1;
  }
  return text.length;
}

function lineEnd(text: string, at: number): number {
  const end = text.slice(at).search(/[\r\n]/);
  return end === -1 ? text.length : at + end;
}

function commentEnd(text: string, start: number): number {
  let depth = 0;
  let at = start;
  while (at < text.length) {
    if (text.startsWith('/*', at)) {
      depth += 1;
      at += 2;
    } else if (text.startsWith('*/', at)) {
      depth -= 1;
      at += 2;
      if (depth === 0) return at;
    } else at += 1;
  }
  return text.length;
}

function skipDollar(text: string, at: number): number {
  const tag = /^\$(?:[\p{L}_][\p{L}\p{N}_]*)?\$/u.exec(text.slice(at, at + 130))?.[0];
  if (tag === undefined) return at + 1;
  const end = text.indexOf(tag, at + tag.length);
  return end === -1 ? text.length : end + tag.length;
}
