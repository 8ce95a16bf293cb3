/** The cost guard before the queries of a request of the Neon driver's protocol, in the session that is to run them. */
import type { SqlError } from '../domain/entries.ts';
import type { Yardstick } from '../domain/guard-estimate.ts';
import { sendSeparately, Standing } from '../domain/guard-estimate.ts';
import type { Bounds } from '../domain/guard.ts';
import type { NeonQuery } from '../domain/neon.ts';
import type { Asker, Grammar } from '../domain/ports.ts';
import { scriptWithoutRows } from '../domain/script.ts';
import { batchTooLarge, TEXT_MAX_BYTES } from '../domain/statements.ts';
import type { Connection } from './connection.pg.ts';
import { estimate } from './explain.pg.ts';
import { Stream } from './stream.pg.ts';
import { parse, sync } from './wire.pg.ts';

export interface NeonEstimateOptions {
  readonly connection: Connection;
  readonly bounds: Bounds;
  readonly grammar: Grammar;
  readonly asker: Asker;
  readonly yardstick: () => Promise<Yardstick>;
}

export interface NeonEstimate {
  /** The first reason not to run any of it. */
  readonly fault: Promise<SqlError | undefined>;
  stop(error: SqlError): void;
  abandon(): void;
}

export function estimateQueries(queries: readonly NeonQuery[], options: NeonEstimateOptions): NeonEstimate {
  const told: { error?: SqlError } = {};
  const stream = new Stream({
    script: scriptWithoutRows({ error: (error) => void (told.error ??= error) }),
    resultBytes: Infinity,
    describeRows: () => {
      throw new Error('an estimate has no rows');
    },
    isHeld: true,
    bounds: options.bounds,
  });
  stream.begin(options.connection);
  const fault = estimateAll(stream, queries, options).then(() => told.error);
  return { fault, stop: (error) => stream.stop(error), abandon: () => stream.abandon() };
}

async function estimateAll(stream: Stream, queries: readonly NeonQuery[], options: NeonEstimateOptions): Promise<void> {
  const { bounds, grammar, asker, yardstick } = options;
  const standing = new Standing();
  for (const [index, { query, params }] of queries.entries()) {
    if (stream.isOver) return;
    if (Buffer.byteLength(query) > TEXT_MAX_BYTES) return stream.refuse(batchTooLarge);
    const verdict = await grammar.judge(query, asker);
    if (verdict.kind === 'unjudged') return stream.refuse(verdict.error);
    // What the grammar does not know cannot be estimated: the server is only asked what it has against it.
    if (verdict.kind === 'rejected') return stream.probe(Buffer.concat([parse(query), sync]), verdict.error, false);
    const { parts } = verdict;
    if (standing.isUnsettled && parts.some(({ kind }) => kind === 'plan'))
      return stream.refuse(sendSeparately(index + 1, bounds));
    await estimate(stream, { query, params }, { parts, bounds, yardstick }, standing);
  }
}
