/** PostgreSQL's own parser (libpg-query, WebAssembly): a text in, a verdict out. One instance, used by one thread. */
import { strict as assert } from 'node:assert';
import { createRequire } from 'node:module';
import { setFlagsFromString } from 'node:v8';

import type { Token } from '../domain/reprint.ts';
import { reprint } from '../domain/reprint.ts';
import type { ParsedStatement, Verdict } from '../domain/statements.ts';
import { judge } from '../domain/statements.ts';

interface PlacedToken extends Token {
  /** Bytes of the text before it. */
  readonly start: number;
}

interface ParserModule {
  readonly HEAPU8: Uint8Array;
  _malloc(bytes: number): number;
  _free(pointer: number): void;
  _wasm_parse_query_raw(text: number): number;
  _wasm_free_parse_result(result: number): void;
  _wasm_scan(text: number): number;
  _wasm_free_string(text: number): void;
  UTF8ToString(pointer: number): string;
  getValue(pointer: number, type: 'i32'): number;
}

const isParserModule = (value: unknown): value is ParserModule =>
  typeof value === 'object' && value !== null && '_wasm_parse_query_raw' in value && '_wasm_scan' in value && 'HEAPU8' in value;

const isFactory = (value: unknown): value is () => Promise<unknown> => typeof value === 'function';

/**
 * Makes a new instance. An instance that threw (its stack is the thread's own) has lost its place and must not be used
 * again; the package's own entry point offers no second one, so its factory is loaded directly.
 */
export async function createParser(): Promise<Parser> {
  // V8's optimizing compiler takes more than half a gigabyte for the parser's largest function, for a gain of little use.
  setFlagsFromString('--no-wasm-tier-up');
  setFlagsFromString('--no-wasm-dynamic-tiering');
  const factory: unknown = createRequire(import.meta.url)('libpg-query/wasm/libpg-query.js');
  assert(isFactory(factory));
  const made = await factory();
  assert(isParserModule(made));
  return new Parser(made);
}

export class Parser {
  readonly #module: ParserModule;

  constructor(module: ParserModule) {
    this.#module = module;
  }

  /** Throws a `RangeError` or a WebAssembly error if the text is nested too deeply; the instance is of no use then. */
  judge(text: string): Verdict {
    const bytes = Buffer.from(text);
    const parsed = this.#withText(bytes, (pointer) => this.#parse(pointer));
    if ('message' in parsed) {
      // The parser counts characters from 1, as the server does.
      return {
        kind: 'rejected',
        error: { message: parsed.message, code: '42601', position: parsed.position || undefined, detail: READ_AS },
      };
    }
    return judge(this.#statements(parsed.tree, bytes));
  }

  get memoryBytes(): number {
    return this.#module.HEAPU8.length;
  }

  #withText<T>(bytes: Buffer, use: (pointer: number) => T): T {
    const pointer = this.#module._malloc(bytes.length + 1);
    this.#module.HEAPU8.set(bytes, pointer);
    this.#module.HEAPU8[pointer + bytes.length] = 0;
    const result = use(pointer);
    this.#module._free(pointer);
    return result;
  }

  #parse(text: number): { readonly tree: Buffer } | { readonly message: string; readonly position: number } {
    const module = this.#module;
    const result = module._wasm_parse_query_raw(text);
    const error = module.getValue(result + 8, 'i32');
    const parsed =
      error === 0
        ? { tree: this.#copyText(module.getValue(result, 'i32')) }
        : { message: module.UTF8ToString(module.getValue(error, 'i32')), position: module.getValue(error + 16, 'i32') };
    module._wasm_free_parse_result(result);
    return parsed;
  }

  #copyText(pointer: number): Buffer {
    const end = this.#module.HEAPU8.indexOf(0, pointer);
    return Buffer.from(this.#module.HEAPU8.subarray(pointer, end));
  }

  *#statements(tree: Buffer, text: Buffer): Generator<ParsedStatement> {
    for (const { from, bodyTo, to } of elements(tree)) {
      const nameFrom = from + PREFIX.length;
      const node = tree.toString('latin1', nameFrom, tree.indexOf(0x22, nameFrom));
      yield {
        node,
        fields: () => onlyValue(JSON.parse(tree.toString('utf8', from + STMT.length, bodyTo))),
        print: () => this.#print(text, tree.toString('latin1', bodyTo, to)),
        place: () => placeOf(tree.toString('latin1', bodyTo, to), text.length),
        mentions: (words) => tree.subarray(from, bodyTo).includes(words, 0, 'latin1'),
        explainedFrom: () => {
          const place = placeOf(tree.toString('latin1', bodyTo, to), text.length);
          const at = this.#explainedFrom(text.subarray(place.from, place.to));
          return at === undefined ? undefined : place.from + at;
        },
      };
    }
  }

  #print(text: Buffer, tail: string): string {
    const place = placeOf(tail, text.length);
    const statement = text.subarray(place.from, place.to);
    const tokens = this.#scan(statement.subarray(0, PRINTED_BYTES_MAX));
    return tokens === undefined ? statement.toString('utf8', 0, 1_024).trim() : reprint(tokens);
  }

  /** Behind the word EXPLAIN and its options; undefined if that cannot be told. */
  #explainedFrom(statement: Buffer): number | undefined {
    const words = this.#scan(statement.subarray(0, PRINTED_BYTES_MAX))?.filter(({ isComment }) => !isComment) ?? [];
    if (words[0]?.text.toLowerCase() !== 'explain') return undefined;
    let at = 1;
    if (words[1]?.text === '(' && !OPENS_QUERY.has(words[2]?.text.toLowerCase() ?? '')) {
      let depth = 0;
      do {
        const word = words[at]?.text;
        if (word === undefined) return undefined;
        if (word === '(') depth += 1;
        else if (word === ')') depth -= 1;
        at += 1;
      } while (depth > 0);
    } else while (BARE_OPTIONS.has(words[at]?.text.toLowerCase() ?? '')) at += 1;
    return words[at]?.start;
  }

  #scan(statement: Buffer): PlacedToken[] | undefined {
    const scanned = this.#withText(statement, (pointer) => {
      const result = this.#module._wasm_scan(pointer);
      const json = this.#module.UTF8ToString(result);
      this.#module._wasm_free_string(result);
      return json;
    });
    return scanned.startsWith('{') ? readTokens(JSON.parse(scanned)) : undefined;
  }
}

/** What stands behind a parenthesis that is not one of options. */
const OPENS_QUERY = new Set(['select', 'values', 'with', 'table', '(']);
const BARE_OPTIONS = new Set(['analyze', 'analyse', 'verbose']);

function placeOf(tail: string, textBytes: number): { readonly from: number; readonly to: number } {
  const from = Number(/"stmt_location":(\d+)/.exec(tail)?.[1] ?? 0);
  const length = /"stmt_len":(\d+)/.exec(tail)?.[1];
  return { from, to: length === undefined ? textBytes : from + Number(length) };
}

const READ_AS = 'This API reads statements with the grammar of PostgreSQL 18.';
const PRINTED_BYTES_MAX = 16_384;
const STMT = '{"stmt":';
const PREFIX = '{"stmt":{"';

/** The statements in a printed tree, found without building it: a large one would be a hundred times the text. */
function* elements(tree: Buffer): Generator<{ readonly from: number; readonly bodyTo: number; readonly to: number }> {
  let at = tree.indexOf('[', tree.indexOf('"stmts"')) + 1;
  let depth = 0;
  let from = at;
  let bodyTo = at;
  while (at < tree.length) {
    const code = tree[at] ?? 0;
    if (code === 0x22) at = endOfString(tree, at);
    else if (code === 0x7b || code === 0x5b) {
      if (depth === 0) from = at;
      depth += 1;
    } else if (code === 0x7d || code === 0x5d) {
      depth -= 1;
      if (depth < 0) return;
      if (depth === 1) bodyTo = at + 1;
      if (depth === 0) yield { from, bodyTo, to: at + 1 };
    }
    at += 1;
  }
}

function endOfString(tree: Buffer, start: number): number {
  let at = start + 1;
  while (at < tree.length && tree[at] !== 0x22) at += tree[at] === 0x5c ? 2 : 1;
  return at;
}

const onlyValue = (value: unknown): unknown =>
  typeof value === 'object' && value !== null ? Object.values(value)[0] : undefined;

function readTokens(scanned: unknown): PlacedToken[] {
  const tokens = typeof scanned === 'object' && scanned !== null && 'tokens' in scanned ? scanned.tokens : [];
  if (!Array.isArray(tokens)) return [];
  return tokens.map((token: { text?: unknown; start?: unknown; keywordName?: unknown; tokenName?: unknown }) => ({
    text: String(token.text),
    start: Number(token.start),
    isReserved: token.keywordName === 'RESERVED_KEYWORD',
    isKeyword: token.keywordName !== 'NO_KEYWORD',
    isComment: token.tokenName === 'C_COMMENT' || token.tokenName === 'SQL_COMMENT',
  }));
}
