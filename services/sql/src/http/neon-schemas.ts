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
  const batch = Batch.safeParse(value);
  if (batch.success) return { queries: batch.data.queries.map((query) => queryOf(query, isArrayMode)), isBatch: true };
  throw new UnreadableBody('the body is neither {"query", "params"} nor {"queries": [{"query", "params"}]}');
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
