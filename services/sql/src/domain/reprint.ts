/** A statement printed again from PostgreSQL's own tokens: one line, keywords in capitals, comments gone. */

export interface Token {
  readonly text: string;
  readonly isReserved: boolean;
  readonly isKeyword: boolean;
  readonly isComment: boolean;
}

/** Words that are not reserved in general but are keywords in the statements that are printed here. */
const WORDS = new Set(
  (
    'absolute backward binary close copy csv cursor declare delimiter encoding escape fetch first force forward header hold ' +
    'insensitive last move names next no null prior program quote relative scroll set stdin stdout time values without zone'
  ).split(' '),
);

const TIGHT_BEFORE = new Set([',', ')', ';', '.', '::', ']', '[']);
const TIGHT_AFTER = new Set(['(', '.', '::', '[']);
const LENGTH_MAX = 1_024;

export function reprint(tokens: readonly Token[]): string {
  let printed = '';
  let previous = '';
  for (const token of tokens) {
    if (token.isComment) continue;
    const spaced = printed !== '' && !TIGHT_BEFORE.has(token.text) && !TIGHT_AFTER.has(previous);
    const isKeyword = token.isReserved || (token.isKeyword && WORDS.has(token.text.toLowerCase()) && previous !== '.');
    printed += `${spaced ? ' ' : ''}${isKeyword ? token.text.toUpperCase() : token.text}`;
    previous = token.text;
    if (printed.length > LENGTH_MAX) return `${printed.slice(0, LENGTH_MAX)}…`;
  }
  return printed;
}
