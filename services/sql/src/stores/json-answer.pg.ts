/** An answer made of JSON that the server has printed: kept in memory up to a bound, the rest in a file. */
import type { SqlError } from '../domain/entries.ts';
import { Output } from '../domain/output.ts';
import type { Answer } from '../domain/ports.ts';
import { invalidText } from '../domain/statements.ts';
import { Utf8Check } from '../domain/utf8.ts';
import { createAnswer } from './answer.fs.ts';
import type { Asking, RowsListener } from './asking.pg.ts';
import { QueryFailure } from './asking.pg.ts';
import type { Spool, SpoolSpace } from './spool.fs.ts';
import { openSpool, SpoolFull } from './spool.fs.ts';
import { extendedQuery } from './wire.pg.ts';

export interface JsonAnswerOptions {
  readonly spoolBytes: number;
  readonly spoolFolder: string;
  readonly spoolSpace: SpoolSpace;
}

/** Of a row of one column: the number of columns and the length of the value. */
const ROW_HEAD_BYTES = 6;

export class JsonAnswer implements AsyncDisposable {
  readonly out = new Output();
  readonly #options: JsonAnswerOptions;
  readonly #utf8 = new Utf8Check();
  #spool: Spool | undefined;
  #isFinished = false;

  constructor(options: JsonAnswerOptions) {
    this.#options = options;
  }

  /** The one value of the one row of a question. */
  value(asking: Asking, question: string): Promise<void> {
    return asking.listen(extendedQuery(question, []), this.#listener(''));
  }

  /** The values of a question of one column, as an array. */
  async array(asking: Asking, question: string): Promise<void> {
    this.out.ascii('[');
    await asking.listen(extendedQuery(question, []), this.#listener(',\n'));
    this.out.ascii(']');
  }

  #listener(separator: string): RowsListener {
    let isFirst = true;
    let isWithin = false;
    return {
      row: (bytes, from, to, left) => {
        if (!isWithin && !isFirst) this.out.ascii(separator);
        this.out.bytes(bytes, isWithin ? from : from + ROW_HEAD_BYTES, to);
        isFirst = false;
        isWithin = left > 0;
        return this.out.heldBytes > this.#options.spoolBytes ? this.#writeToSpool() : undefined;
      },
    };
  }

  async #writeToSpool(): Promise<void> {
    const at = this.out.takenBytes;
    const chunks = this.out.take();
    this.#utf8.add(chunks);
    try {
      this.#spool ??= await openSpool(this.#options.spoolFolder, this.#options.spoolSpace);
      await this.#spool.write(at, chunks);
    } catch (error) {
      throw new QueryFailure(spoolError(error));
    }
    this.out.recycle(chunks);
  }

  /** From here on what was opened for it is the answer's to dispose of. */
  finish(): Answer {
    const held = this.out.held();
    this.#utf8.add(held);
    if (!this.#utf8.isValid) throw new QueryFailure(invalidText('in the catalog'));
    this.#isFinished = true;
    return createAnswer({ held, heldFrom: this.out.takenBytes, insertions: [], spool: this.#spool });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isFinished) await this.#spool?.[Symbol.asyncDispose]();
  }
}

const spoolError = (error: unknown): SqlError =>
  error instanceof SpoolFull
    ? { message: 'could not keep the answer: large answers of others take all the room there is for them', code: '53400' }
    : { message: 'could not keep the answer: the disk of the service failed', code: '58030' };
