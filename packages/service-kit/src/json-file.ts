import { issuesOf } from '@postern/contracts/issues';
import { readFile } from 'node:fs/promises';
import type { z } from 'zod';

/** What a JSON file of an operator's holds, or all that is mistaken in it. */
export type DocumentRead<Document> =
  | { readonly kind: 'document'; readonly document: Document }
  | { readonly kind: 'mistakes'; readonly mistakes: readonly string[] };

/** The text of a file; undefined if it cannot be read. */
export const readText = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(() => undefined);

/** Reads the text of a JSON file. Values are never repeated in mistakes, only where and why: they may be secrets. */
export function readDocument<Schema extends z.ZodType>(text: string | undefined, schema: Schema): DocumentRead<z.output<Schema>> {
  if (text === undefined) return { kind: 'mistakes', mistakes: ['it cannot be read'] };
  const value = parseJson(text);
  if (value === undefined) return { kind: 'mistakes', mistakes: ['it is not JSON'] };
  const parsed = schema.safeParse(value);
  if (parsed.success) return { kind: 'document', document: parsed.data };
  return { kind: 'mistakes', mistakes: issuesOf(parsed.error).map(({ pointer, message }) => `${pointer || '/'}: ${message}`) };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
