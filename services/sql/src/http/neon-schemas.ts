/** The wire format of the Neon driver's protocol as far as it comes in. Unknown keys are ignored, as the reference does. */
import { isUtf8 } from 'node:buffer';
import { z } from 'zod';

import type { NeonQuery } from '../domain/neon.ts';
import { parameterText, UnfitParameter } from '../domain/neon.ts';

const Query = z.object({
  query: z.string(),
  params: z.array(z.unknown()).default([]),
  arrayMode: z.boolean().nullish(),
});

const Batch = z.object({ queries: z.array(Query) });
const ShallowBatch = z.object({ queries: z.array(z.unknown()) });

export const NeonRequestBody = z.union([Query, Batch]);

/** Its message is for the caller. */
export class UnreadableBody extends Error {
  override readonly name = 'UnreadableBody';
}

export interface NeonBody {
  readonly queries: readonly NeonQuery[];
  readonly isBatch: boolean;
}

export function readNeonBody(body: Buffer, isArrayMode: boolean): NeonBody {
  const value = parseJson(body);
  const single = Query.safeParse(value);
  if (single.success) return { queries: [queryOf(single.data, isArrayMode)], isBatch: false };
  const batch = readBatch(value);
  if (batch !== undefined) return { queries: batch.map((query) => queryOf(query, isArrayMode)), isBatch: true };
  throw new UnreadableBody('the body is neither {"query", "params"} nor {"queries": [{"query", "params"}]}');
}

/** The first query that is none ends it: a schema of them all would tell of each. */
function readBatch(value: unknown): z.output<typeof Query>[] | undefined {
  const shallow = ShallowBatch.safeParse(value);
  if (!shallow.success) return undefined;
  const queries: z.output<typeof Query>[] = [];
  for (const part of shallow.data.queries) {
    const query = Query.safeParse(part);
    if (!query.success) return undefined;
    queries.push(query.data);
  }
  return queries;
}

function queryOf({ query, params, arrayMode }: z.infer<typeof Query>, isArrayMode: boolean): NeonQuery {
  try {
    return { query, params: params.map(parameterText), isArrayMode: arrayMode ?? isArrayMode };
  } catch (error) {
    if (error instanceof UnfitParameter) throw new UnreadableBody(error.message);
    throw error;
  }
}

/** Whatever its content type says: the driver names none. */
function parseJson(body: Buffer): unknown {
  if (!isUtf8(body)) throw new UnreadableBody('the body is not UTF-8');
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    throw new UnreadableBody('the body is not JSON');
  }
}
