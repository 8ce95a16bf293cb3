/** The rules of the Neon driver's HTTP protocol: what a request says, and what PostgreSQL is told of it. */
import type { Answer, Caller } from './ports.ts';

export interface NeonQuery {
  readonly query: string;
  readonly params: readonly (string | null)[];
  /** Rows as arrays, rather than as objects. */
  readonly isArrayMode: boolean;
}

/** How a batch's transaction begins; what is undefined or false is left to PostgreSQL. */
export interface BatchMode {
  readonly isolationLevel: IsolationLevel | undefined;
  readonly isReadOnly: boolean;
  readonly isDeferrable: boolean;
}

export interface NeonRequest {
  readonly queries: readonly NeonQuery[];
  /** All queries in one transaction; undefined for a request that is one query. */
  readonly batch: BatchMode | undefined;
  /** Values as PostgreSQL prints them, rather than as JSON. */
  readonly isRawText: boolean;
}

/** PostgreSQL's own error with every field it has, named as drivers name them. */
export interface NeonError {
  readonly message: string;
  readonly severity?: string | undefined;
  readonly code?: string | undefined;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
  readonly position?: string | undefined;
  readonly internalPosition?: string | undefined;
  readonly internalQuery?: string | undefined;
  readonly where?: string | undefined;
  readonly schema?: string | undefined;
  readonly table?: string | undefined;
  readonly column?: string | undefined;
  readonly dataType?: string | undefined;
  readonly constraint?: string | undefined;
  readonly file?: string | undefined;
  readonly line?: string | undefined;
  readonly routine?: string | undefined;
}

export type NeonOutcome =
  | { readonly kind: 'answered'; readonly answer: Answer }
  | { readonly kind: 'failed'; readonly error: NeonError }
  /** The answer would exceed the limit. */
  | { readonly kind: 'tooLarge'; readonly error: NeonError }
  /** The caller went away; nobody is left to answer. */
  | { readonly kind: 'abandoned' };

export interface NeonRun {
  readonly outcome: Promise<NeonOutcome>;
  /** The caller is gone: what runs is canceled, and nothing is answered. */
  abandon(): void;
}

export interface NeonRunner {
  run(caller: Caller, request: NeonRequest): NeonRun;
}

const LEVELS = {
  ReadUncommitted: 'READ UNCOMMITTED',
  ReadCommitted: 'READ COMMITTED',
  RepeatableRead: 'REPEATABLE READ',
  Serializable: 'SERIALIZABLE',
} as const;

export type IsolationLevel = keyof typeof LEVELS;

export const isIsolationLevel = (value: string): value is IsolationLevel => Object.hasOwn(LEVELS, value);

/** What comes before the queries of a batch. */
export function beginBatch(mode: BatchMode): readonly string[] {
  // Once there is a snapshot, the transaction stays as it was begun: no query of it makes it writable again.
  return mode.isReadOnly ? [beginText(mode), 'SELECT'] : [beginText(mode)];
}

function beginText({ isolationLevel, isReadOnly, isDeferrable }: BatchMode): string {
  const modes = [
    ...(isolationLevel === undefined ? [] : [`ISOLATION LEVEL ${LEVELS[isolationLevel]}`]),
    ...(isReadOnly ? ['READ ONLY'] : []),
    ...(isDeferrable ? ['DEFERRABLE'] : []),
  ];
  return modes.length === 0 ? 'BEGIN' : `BEGIN ${modes.join(', ')}`;
}

/** A value of JSON that cannot be a parameter as it stands. */
export class UnfitParameter extends Error {
  override readonly name = 'UnfitParameter';
}

/** A parameter as PostgreSQL reads it: arrays become array literals, objects the text of their JSON. */
export function parameterText(value: unknown): string | null {
  if (value === null) return null;
  if (typeof value === 'string') return value;
  return Array.isArray(value) ? arrayLiteral(value) : jsonText(value);
}

/** Far beyond what PostgreSQL takes as dimensions of an array or anybody means by a document. */
const DEPTH_MAX = 1_000;

function checkDepth(depth: number): void {
  if (depth > DEPTH_MAX) throw new UnfitParameter(`a parameter is nested deeper than ${DEPTH_MAX} levels`);
}

function arrayLiteral(values: readonly unknown[], depth = 1): string {
  checkDepth(depth);
  const elements = values.map((value) => {
    if (value === null) return 'NULL';
    if (Array.isArray(value)) return arrayLiteral(value, depth + 1);
    if (typeof value === 'string') return quoted(value);
    return typeof value === 'object' ? quoted(jsonText(value)) : jsonText(value);
  });
  return `{${elements.join(',')}}`;
}

const quoted = (text: string): string => `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`;

function jsonText(value: unknown): string {
  checkNumbers(value);
  return JSON.stringify(value);
}

/** A number that JSON's parser could not keep is refused, rather than stored as another one. */
function checkNumbers(value: unknown, depth = 0): void {
  checkDepth(depth);
  if (typeof value === 'number') {
    if (Number.isFinite(value) && (Number.isSafeInteger(value) || Math.abs(value) < Number.MAX_SAFE_INTEGER)) return;
    throw new UnfitParameter('a number that is not exact as a double must be sent as a string');
  }
  if (typeof value === 'object' && value !== null) for (const part of Object.values(value)) checkNumbers(part, depth + 1);
}

/** What a command tag says, in the words of `pg`: a command of one word, and a count of rows if there is one. */
export function readTag(tag: string): { readonly command: string | null; readonly rowCount: number | null } {
  const found = /^([A-Za-z]+)(?: (\d+))?(?: (\d+))?/.exec(tag);
  const count = found?.[3] ?? found?.[2];
  return { command: found?.[1] ?? null, rowCount: count === undefined ? null : Number(count) };
}

/** The first words of a statement in lower case, at most `count`: up to anything that is neither a word nor empty space. */
export function leadingWords(text: string, count: number): readonly string[] {
  const words: string[] = [];
  let at = 0;
  while (words.length < count) {
    at = skipSpace(text, at, words.length === 0);
    const word = /[a-z_][\w$]*/iy;
    word.lastIndex = at;
    const found = word.exec(text);
    if (found === null) break;
    words.push(found[0].toLowerCase());
    at = word.lastIndex;
  }
  return words;
}

/** Behind white space and comments, which nest; before the first word also behind semicolons. */
function skipSpace(text: string, from: number, areSemicolonsEmpty: boolean): number {
  let at = from;
  for (;;) {
    const character = text[at] ?? '';
    if (/[ \t\n\r\f\v]/.test(character) || (areSemicolonsEmpty && character === ';')) at += 1;
    else if (text.startsWith('--', at)) at = endOf(text, /[\n\r]/g, at);
    else if (text.startsWith('/*', at)) at = skipComment(text, at);
    else return at;
  }
}

function endOf(text: string, pattern: RegExp, from: number): number {
  pattern.lastIndex = from;
  return pattern.exec(text) === null ? text.length : pattern.lastIndex;
}

function skipComment(text: string, from: number): number {
  const mark = /\/\*|\*\//g;
  mark.lastIndex = from;
  let depth = 0;
  for (let found = mark.exec(text); found !== null; found = mark.exec(text)) {
    depth += found[0] === '/*' ? 1 : -1;
    if (depth === 0) return mark.lastIndex;
  }
  return text.length;
}

/** COPY has no other place than the beginning of a statement. */
export const mayBeCopy = (query: string): boolean => leadingWords(query, 1)[0] === 'copy';

export const copyRefused: NeonError = {
  message: 'COPY to and from the client is not possible in a request over HTTP',
  severity: 'ERROR',
  code: '0A000',
  hint: 'Use a session over WebSocket.',
};

/** A batch is one transaction and is answered as one: nothing in it may end it. */
export const transactionEndRefused: NeonError = {
  message: 'invalid transaction termination',
  severity: 'ERROR',
  code: '2D000',
  hint: 'The queries of a batch run in one transaction, which ends behind the last one.',
};

export function endsTransaction(query: string): boolean {
  const [first = '', ...others] = leadingWords(query, 3);
  if (first === 'prepare') return others[0] === 'transaction';
  if (first === 'rollback') return !others.includes('to');
  return first === 'commit' || first === 'end' || first === 'abort';
}
