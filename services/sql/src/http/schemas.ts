/** The public wire format of `POST /api/sql` as far as it comes in. Unknown keys are ignored, as the reference does. */
import { Failure } from '@postern/contracts/failure';
import { isUtf8 } from 'node:buffer';
import { z } from 'zod';

import type { SqlRequest } from '../domain/ports.ts';

export const Simple = z.object({ query: z.string().describe('Any number of statements') });

export const Extended = z.object({
  queries: z.array(
    z.object({
      query: z.string().describe('Exactly one statement'),
      params: z.array(z.string().nullable()).default([]).describe('Values of $1, $2, … as text'),
    }),
  ),
});

export const SqlBody = z.union([Simple, Extended]);

/** Bytes of a body, 5 MiB. */
export const BODY_BYTES_MAX = 5_242_880;

/**
 * Whether it is an array of which each part fits. To be asked before a schema is, which tells of every part that does not
 * fit: of millions, that takes seconds and all the memory there is.
 */
const allFit = (value: unknown, fits: (part: unknown) => boolean): boolean => Array.isArray(value) && value.every(fits);

const isText = (value: unknown): boolean => value === null || typeof value === 'string';
const Shallow = z.object({ queries: z.array(z.unknown()) });
const ShallowQuery = z.object({ query: z.string(), params: z.array(z.unknown()).optional() });

function isQuery(value: unknown): boolean {
  const { success, data } = ShallowQuery.safeParse(value);
  return success && (data.params === undefined || allFit(data.params, isText));
}

/** Undefined if it has neither shape. */
export function readRequest(value: unknown): SqlRequest | undefined {
  const simple = Simple.safeParse(value);
  if (simple.success) return { kind: 'simple', query: simple.data.query };
  const shallow = Shallow.safeParse(value);
  if (!shallow.success || !allFit(shallow.data.queries, isQuery)) return undefined;
  const extended = Extended.safeParse(value);
  return extended.success ? { kind: 'extended', queries: extended.data.queries } : undefined;
}

export function readBody(body: Buffer): SqlRequest {
  const request = readRequest(parseJson(body));
  if (request !== undefined) return request;
  throw new Failure('SQL_BODY_SHAPE', {
    detail:
      'Failed to deserialize the JSON body into the target type: it is neither {"query"} nor {"queries"} with text or null params',
  });
}

function parseJson(body: Buffer): unknown {
  if (!isUtf8(body)) throw new Failure('SQL_BODY_NOT_JSON', { detail: `${NOT_JSON}: it is not UTF-8` });
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    throw new Failure('SQL_BODY_NOT_JSON', { detail: NOT_JSON });
  }
}

const NOT_JSON = 'Failed to parse the request body as JSON';

const Options = z.record(z.string(), z.string());
const NO_SETTINGS: ReadonlyMap<string, string> = new Map();

/** `?options=` of the request target: settings of the session. A query string that cannot be read is ignored. */
export function readOptions(target: string): ReadonlyMap<string, string> {
  const at = target.indexOf('?');
  if (at === -1) return NO_SETTINGS;
  const query = target.slice(at + 1);
  if (/%(?![0-9a-fA-F]{2})/.test(query)) return NO_SETTINGS;
  const [text, ...others] = new URLSearchParams(query).getAll('options');
  if (text === undefined || text === '' || others.length > 0) return NO_SETTINGS;
  const entries = optionEntries(text);
  if (entries === undefined) throw new Failure('SQL_OPTIONS_MALFORMED', { detail: 'Failed to deserialize "options" map' });
  return new Map(entries);
}

function optionEntries(text: string): [string, string][] | undefined {
  try {
    const parsed = Options.safeParse(JSON.parse(text));
    return parsed.success ? Object.entries(parsed.data) : undefined;
  } catch {
    return undefined;
  }
}
