/** Where the messages of PostgreSQL's wire protocol begin and end in bytes that are passed on unread. */

const HEAD_BYTES = 5;

export class MessageScanner {
  readonly #found: (type: number, first: number) => void;
  readonly #head = Buffer.alloc(HEAD_BYTES);
  #headBytes = 0;
  /** Bytes of the message's body that are still to come. */
  #left = 0;
  #isBodyFresh = false;

  /** Told the type of each message, and the first byte of its body (0 if it has none), as soon as that has come. */
  constructor(found: (type: number, first: number) => void) {
    this.#found = found;
  }

  /** Whether the bytes so far end where a message does. */
  get isAtBoundary(): boolean {
    return this.#headBytes === 0;
  }

  scan(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#headBytes < HEAD_BYTES) at = this.#readHead(bytes, at);
      else at = this.#skipBody(bytes, at);
    }
  }

  #readHead(bytes: Buffer, from: number): number {
    const taken = Math.min(HEAD_BYTES - this.#headBytes, bytes.length - from);
    bytes.copy(this.#head, this.#headBytes, from, from + taken);
    this.#headBytes += taken;
    if (this.#headBytes === HEAD_BYTES) {
      // A length that cannot be is the receiver's to complain of; nothing is certain after it.
      this.#left = Math.max(0, this.#head.readUInt32BE(1) - 4);
      this.#isBodyFresh = true;
      if (this.#left === 0) this.#end(0);
    }
    return from + taken;
  }

  #skipBody(bytes: Buffer, from: number): number {
    const end = Math.min(bytes.length, from + this.#left);
    this.#left -= end - from;
    if (this.#left === 0) this.#end(bytes[from] ?? 0);
    else if (this.#isBodyFresh) this.#tell(bytes[from] ?? 0);
    return end;
  }

  #tell(first: number): void {
    if (!this.#isBodyFresh) return;
    this.#isBodyFresh = false;
    this.#found(this.#head[0] ?? 0, first);
  }

  #end(first: number): void {
    this.#headBytes = 0;
    this.#tell(first);
  }
}

const QUERY = 0x51;
const SYNC = 0x53;
const FUNCTION_CALL = 0x46;
/** Parse, Bind, Describe, Execute, Close, Flush. */
const GROUPED: ReadonlySet<number> = new Set(Buffer.from('PBDECH'));
const TERMINATE = 0x58;
const READY = 0x5a;
/** CommandComplete, PortalSuspended, EmptyQueryResponse: a statement has come to its end. */
const COMPLETIONS: ReadonlySet<number> = new Set(Buffer.from('CsI'));
const COPY_IN = 0x47;
const COPY_ENDS: ReadonlySet<number> = new Set(Buffer.from('cf'));
const IDLE = 0x49;
/** So many that were answered are kept before their room is given up. */
const ANSWERED_MAX = 1_024;

/** Requests that each end in a ReadyForQuery, in their order: whether it is a Sync that asks for it. */
class Requests {
  #areSyncs: boolean[] = [];
  #answered = 0;

  get count(): number {
    return this.#areSyncs.length - this.#answered;
  }

  get isFirstSync(): boolean {
    return this.#areSyncs[this.#answered] === true;
  }

  add(isSync: boolean): void {
    this.#areSyncs.push(isSync);
  }

  removeFirst(): void {
    if (this.count === 0) return;
    this.#answered += 1;
    if (this.#answered < ANSWERED_MAX && this.count > 0) return;
    this.#areSyncs = this.#areSyncs.slice(this.#answered);
    this.#answered = 0;
  }
}

/** What both directions together say of a session: whether something is under way in it. */
export class Traffic {
  readonly #requests = new Requests();
  #isIdle = true;
  /** Messages have come that have no answer before the Sync that is still to come. */
  #isGroupOpen = false;
  #hasSaidGoodbye = false;
  #completions = 0;
  /** The server waits for COPY's data, and does not heed a Sync. */
  #isCopying = false;
  readonly fromClient = new MessageScanner((type) => this.#hearClient(type));
  readonly fromServer = new MessageScanner((type, first) => this.#hearServer(type, first));

  #hearClient(type: number): void {
    if (type === TERMINATE) this.#hasSaidGoodbye = true;
    if (GROUPED.has(type)) this.#isGroupOpen = true;
    if (COPY_ENDS.has(type)) this.#isCopying = false;
    if (type !== QUERY && type !== SYNC && type !== FUNCTION_CALL) return;
    if (type === SYNC && this.#isCopying) return;
    this.#isGroupOpen = false;
    this.#requests.add(type === SYNC);
  }

  #hearServer(type: number, first: number): void {
    if (type === COPY_IN) this.#beginCopy();
    if (type === READY || COMPLETIONS.has(type)) this.#completions += 1;
    if (type !== READY) return;
    this.#requests.removeFirst();
    this.#isCopying = false;
    this.#isIdle = first === IDLE;
  }

  /** It reads on over the Sync that follows on its Execute; the client sends another one when it is done. */
  #beginCopy(): void {
    this.#isCopying = true;
    if (!this.#requests.isFirstSync) return;
    this.#requests.removeFirst();
    this.#isGroupOpen ||= this.#requests.count === 0;
  }

  /** Nothing is asked that is not answered, no transaction is open, and no message is under way. */
  get isQuiet(): boolean {
    return (
      this.#requests.count === 0 &&
      !this.#isGroupOpen &&
      this.#isIdle &&
      this.fromClient.isAtBoundary &&
      this.fromServer.isAtBoundary
    );
  }

  /** Ends of statements so far; each counts once or twice. */
  get completions(): number {
    return this.#completions;
  }

  /** An answer is due, whatever the client does. */
  get isAsked(): boolean {
    return this.#requests.count > 0;
  }

  /** Something may be running. */
  get isBusy(): boolean {
    return this.#requests.count > 0 || this.#isGroupOpen;
  }

  /** The client has ended the session itself. */
  get hasSaidGoodbye(): boolean {
    return this.#hasSaidGoodbye;
  }
}
