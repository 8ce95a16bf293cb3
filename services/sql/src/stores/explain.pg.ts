/** Asks the server what statements would cost, in the session that is to run them, and refuses those that cost too much. */
import type { SqlError } from '../domain/entries.ts';
import {
  cannotEstimate,
  estimateFault,
  EXPLAIN,
  planTooLarge,
  readEstimate,
  sendSeparately,
  Standing,
  withoutExplain,
} from '../domain/guard-estimate.ts';
import type { Yardstick } from '../domain/guard-estimate.ts';
import type { GuardPart } from '../domain/guard-parts.ts';
import type { Bounds } from '../domain/guard.ts';
import type { Query } from '../domain/plan.ts';
import { MessageType, readError, sqlError } from './messages.pg.ts';
import type { Stream } from './stream.pg.ts';
import { extendedQuery } from './wire.pg.ts';

/** What of a plan is kept to be read: those of thousands of partitions are larger. */
const PLAN_MAX_BYTES = 4_194_304;

export type Explained =
  | { readonly kind: 'plan'; readonly text: string }
  | { readonly kind: 'tooLarge' }
  | { readonly kind: 'error'; readonly error: SqlError };

/** Hears the answer to one EXPLAIN, which is one row of one value. */
export class PlanReader {
  #chunks: Buffer[] = [];
  #bytes = 0;
  #error: SqlError | undefined;

  message(type: number, bytes: Buffer, from: number, to: number): void {
    if (type === MessageType.dataRow) this.#keep(bytes, from, to);
    else if (type === MessageType.error) this.#error = sqlError(readError(bytes, from, to));
  }

  /** Of an error that is that large, the beginning says enough. */
  piece(type: number, bytes: Buffer, from: number, to: number): void {
    if (type === MessageType.dataRow) this.#keep(bytes, from, to);
    else if (type === MessageType.error) this.#error ??= sqlError(readError(bytes, from, to));
  }

  #keep(bytes: Buffer, from: number, to: number): void {
    this.#bytes += to - from;
    if (this.#bytes <= PLAN_MAX_BYTES) this.#chunks.push(Buffer.from(bytes.subarray(from, to)));
    else this.#chunks = [];
  }

  result(): Explained {
    if (this.#error !== undefined) return { kind: 'error', error: this.#error };
    if (this.#bytes > PLAN_MAX_BYTES) return { kind: 'tooLarge' };
    // The count of columns and the length of the value come first.
    return { kind: 'plan', text: Buffer.concat(this.#chunks).toString('utf8', 6) };
  }
}

export interface Estimating {
  readonly bounds: Bounds;
  /** Rejects if the server does not tell. */
  readonly yardstick: () => Promise<Yardstick>;
}

const notTold: SqlError = { message: 'could not look up what costs are counted in', code: '58000' };

/** Makes a transaction fail that is open, as an error of the server's would have. */
const SPOILER = extendedQuery('the cost guard has refused a statement of this transaction', []);

/** Every statement of the text is estimated before any of it runs; one that must not run is refused on the stream. */
export async function estimate(
  stream: Stream,
  { query, params }: Query,
  { parts, bounds, yardstick }: Estimating & { readonly parts: readonly GuardPart[] },
  standing = new Standing(),
): Promise<void> {
  const refuse = async (error: SqlError): Promise<void> => {
    if (stream.transactionStatus === 'T') await stream.explain(SPOILER);
    if (!stream.isOver) stream.refuse(error);
  };
  const text = Buffer.from(query);
  for (const [index, part] of parts.entries()) {
    if (part.kind === 'opaque') return refuse(cannotEstimate(part, bounds));
    if (part.kind === 'plan') {
      if (standing.isUnsettled) return refuse(sendSeparately(index + 1, bounds));
      const explained = await stream.explain(
        extendedQuery(`${EXPLAIN}${text.toString('utf8', part.from, part.to)}`, params ?? []),
      );
      if (explained === undefined || stream.isOver) return;
      if (explained.kind === 'tooLarge') return refuse(planTooLarge(bounds));
      if (explained.kind === 'error') return refuse(ownError(explained.error, { text, part, isText: params === undefined }));
      const found = readEstimate(explained.text);
      if (found === undefined) return refuse(cannotEstimate({ ...part, name: 'the statement' }, bounds));
      const known = await yardstick().catch(() => undefined);
      if (known === undefined) return refuse(notTold);
      const fault = estimateFault(found, { bounds, yardstick: known, plan: explained.text });
      if (fault !== undefined) return refuse(fault);
      standing.add(found);
    }
    // What is estimated in a transaction that is open already is to run behind its end.
    if (part.isUnsettling || (part.endsTransaction && stream.transactionStatus !== 'I')) standing.unsettle();
  }
}

interface Place {
  readonly text: Buffer;
  readonly part: GuardPart;
  /** It is sent as text, without parameters. */
  readonly isText: boolean;
}

/** The server's error, as it would be about the text as it was sent. */
function ownError(error: SqlError, { text, part, isText }: Place): SqlError {
  if (isText && error.code === '08P01') return { message: 'there is no parameter $1', code: '42P02' };
  return withoutExplain(error, charactersIn(text.toString('utf8', 0, part.from)));
}

/** As PostgreSQL counts them. */
function charactersIn(text: string): number {
  let characters = 0;
  for (const _ of text) characters += 1;
  return characters;
}
