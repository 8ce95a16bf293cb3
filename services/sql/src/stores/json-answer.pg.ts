/** An answer made of JSON that the server has printed: kept in memory up to a bound, the rest in a file. */
import type { Output } from '../domain/output.ts';
import type { Answer } from '../domain/ports.ts';
import { invalidText } from '../domain/statements.ts';
import type { Asking, RowsListener } from './asking.pg.ts';
import { QueryFailure } from './asking.pg.ts';
import type { SpoolLimits } from './spooled-output.fs.ts';
import { SpooledOutput } from './spooled-output.fs.ts';
import { extendedQuery } from './wire.pg.ts';

/** Of a row of one column: the number of columns and the length of the value. */
const ROW_HEAD_BYTES = 6;

export class JsonAnswer implements AsyncDisposable {
  readonly out: Output;
  readonly #output: SpooledOutput;
  #isFinished = false;

  constructor(limits: SpoolLimits) {
    this.#output = new SpooledOutput(limits, 'answer');
    this.out = this.#output.out;
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
        return this.#output.isFull ? this.#write() : undefined;
      },
    };
  }

  async #write(): Promise<void> {
    const error = await this.#output.write();
    if (error !== undefined) throw new QueryFailure(error);
  }

  /** From here on what was opened for it is the answer's to dispose of. */
  finish(): Answer {
    const answer = this.#output.finish();
    if (answer === undefined) throw new QueryFailure(invalidText('in the catalog'));
    this.#isFinished = true;
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isFinished) await this.#output.dispose();
  }
}
