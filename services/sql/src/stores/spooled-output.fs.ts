/** The bytes of an answer that is sent only when it is whole: in memory at first, in a file as it grows. */
import type { Insertion, SqlError } from '../domain/entries.ts';
import { Output } from '../domain/output.ts';
import { Utf8Check } from '../domain/utf8.ts';
import { createAnswer } from './answer.fs.ts';
import type { Spool, SpoolSpace } from './spool.fs.ts';
import { openSpool, SpoolFull } from './spool.fs.ts';

export interface SpoolLimits {
  /** What is kept in memory. */
  readonly spoolBytes: number;
  readonly spoolFolder: string;
  readonly spoolSpace: SpoolSpace;
}

/** Once an answer is in a file, it goes there in pieces of this size. */
const STEP_BYTES = 262_144;

export class SpooledOutput {
  readonly out = new Output();
  readonly #limits: SpoolLimits;
  /** What it is called in errors. */
  readonly #what: string;
  readonly #utf8 = new Utf8Check();
  #spool: Spool | undefined;
  #hasFailed = false;

  constructor(limits: SpoolLimits, what = 'result') {
    this.#limits = limits;
    this.#what = what;
  }

  get isSpooled(): boolean {
    return this.#spool !== undefined;
  }

  /** More is in memory than may be, and has a place where to go. */
  get isFull(): boolean {
    const limit = this.#spool === undefined ? this.#limits.spoolBytes : STEP_BYTES;
    return this.out.heldBytes > limit && !this.#hasFailed;
  }

  /** What is in memory goes to the file; if it cannot, it is still there, and the answer is why. */
  async write(): Promise<SqlError | undefined> {
    const at = this.out.takenBytes;
    const chunks = this.out.take();
    this.#utf8.add(chunks);
    try {
      this.#spool ??= await openSpool(this.#limits.spoolFolder, this.#limits.spoolSpace);
      await this.#spool.write(at, chunks);
      this.out.recycle(chunks);
      return undefined;
    } catch (error) {
      this.out.putBack(chunks);
      this.#hasFailed = true;
      return spoolError(error, this.#what);
    }
  }

  /** What comes next begins at the beginning of a character. */
  restartText(): void {
    this.#utf8.restart();
  }

  /** The answer, to which all that was opened belongs; undefined if its bytes are not UTF-8. `isCopied`: it may be kept for long. */
  finish(insertions: readonly Insertion[] = [], isCopied = false): ReturnType<typeof createAnswer> | undefined {
    const inMemory = this.out.held();
    const held = isCopied ? inMemory.map((chunk) => Buffer.from(chunk)) : inMemory;
    this.#utf8.add(held);
    if (!this.#utf8.isValid) return undefined;
    return createAnswer({ held, heldFrom: this.out.takenBytes, insertions, spool: this.#spool });
  }

  async dispose(): Promise<void> {
    await this.#spool?.[Symbol.asyncDispose]();
    this.#spool = undefined;
  }
}

function spoolError(error: unknown, what: string): SqlError {
  if (error instanceof SpoolFull) {
    return { message: `could not keep the ${what}: large ${what}s of others take all the room there is for them`, code: '53400' };
  }
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ENOSPC' || code === 'EDQUOT'
    ? { message: `could not keep the ${what}: no space left on the disk of the service`, code: '53100' }
    : { message: `could not keep the ${what}: the disk of the service failed`, code: '58030' };
}
