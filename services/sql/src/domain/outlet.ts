/** An answer that is sent while it is made: the bytes on their way, and what is waited for. */
import type { SqlError } from './entries.ts';
import { Output } from './output.ts';
import { invalidText } from './statements.ts';

/** Where the bytes go. */
export interface Outlet {
  /** `taken` is called when their memory is free again; it is not if the reader is gone. */
  send(chunks: readonly Buffer[], taken: () => void): void;
  /** Resolves when a reader who is behind has taken some, or is gone; undefined if nobody is behind. */
  behind(): Promise<void> | undefined;
  /** Calls back in a moment, once for all who ask before that. */
  soon(callback: () => void): void;
  /** All is sent. */
  end(): void;
  /** The reader is to see that something is missing. */
  abort(): void;
  /** Instead of an answer; nothing may have been sent. */
  refuse(error: SqlError): void;
}

/** Whether bytes are text, told piece by piece. */
export interface TextCheck {
  readonly isBroken: boolean;
  add(chunks: readonly Buffer[]): void;
}

/** What has been written is sent when it is this much, or after a moment. */
const SEND_BYTES = 65_536;

const unreadable: SqlError = { ...invalidText('in the result'), detail: 'Statements may have been completed.' };

/** The common part of the scripts of such answers. */
export class Flow {
  readonly out = new Output();
  readonly #outlet: Outlet;
  readonly #check: TextCheck;
  #isSent = false;
  #isBroken = false;
  #isReleased = false;
  readonly #released = Promise.withResolvers<void>();
  #rowFrom = 0;

  constructor(outlet: Outlet, check: TextCheck) {
    this.#outlet = outlet;
    this.#check = check;
  }

  get isSent(): boolean {
    return this.#isSent;
  }

  openRow(): void {
    this.#rowFrom = this.out.offset;
  }

  /** Takes the open row back; answers false if a part of it is with the reader already. */
  takeRowBack(): boolean {
    if (this.#rowFrom < this.out.takenBytes) return false;
    this.out.truncate(this.#rowFrom);
    return true;
  }

  flush(): Promise<SqlError | undefined> | undefined {
    if (this.out.heldBytes >= SEND_BYTES) this.send();
    else if (this.out.heldBytes > 0) this.#outlet.soon(() => this.send());
    if (this.#isBroken) return Promise.resolve(unreadable);
    if (this.#isReleased) return undefined;
    const behind = this.#outlet.behind();
    return behind === undefined ? undefined : Promise.race([behind, this.#released.promise]).then(() => undefined);
  }

  /** Bytes that are no text are never sent. */
  send(): void {
    if (this.out.heldBytes === 0) return;
    const chunks = this.out.take();
    this.#check.add(chunks);
    this.#isBroken ||= this.#check.isBroken;
    if (this.#isBroken) return;
    this.#isSent = true;
    this.#outlet.send(chunks, () => this.out.recycle(chunks));
  }

  /** A reader who is behind is not waited for any more. */
  release(): void {
    this.#isReleased = true;
    this.#released.resolve();
  }

  end(): void {
    this.send();
    this.#outlet.end();
  }

  abort(): void {
    this.#outlet.abort();
  }

  /** The reader hears nothing but this; answers false if it has heard something else. */
  refuse(error: SqlError): boolean {
    if (this.#isSent) return false;
    this.out.truncate(0);
    this.#isSent = true;
    this.#outlet.refuse(error);
    return true;
  }
}
