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
/** Parse, Bind, Describe, Execute, Close. */
const GROUPED: ReadonlySet<number> = new Set(Buffer.from('PBDEC'));
const TERMINATE = 0x58;
const READY = 0x5a;
/** CommandComplete, PortalSuspended, EmptyQueryResponse: a statement has come to its end. */
const COMPLETIONS: ReadonlySet<number> = new Set(Buffer.from('CsI'));
const COPY_IN = 0x47;
const COPY_ENDS: ReadonlySet<number> = new Set(Buffer.from('cf'));
const COMPLETE = 0x43;
const ERROR = 0x45;
const IDLE = 0x49;
/** So many that were answered are kept before their room is given up. */
const ANSWERED_MAX = 1_024;

/**
 * What the client has sent and the server may not have read, as far as it tells when there will be a ReadyForQuery. A
 * group is messages that have no answer before their Sync; a request has one by itself; of copyEnds the server heeds the
 * first that comes after it has begun COPY, and no others. A number is so many Syncs in a row: within COPY, where the server
 * reads on over them, a client may send any number of them.
 */
type Sent = 'group' | 'request' | 'copyEnd' | number;

function answersOf(sent: Sent): number {
  if (typeof sent === 'number') return sent;
  return sent === 'request' ? 1 : 0;
}

class Unanswered {
  #all: Sent[] = [];
  #first = 0;
  #answersDue = 0;

  get size(): number {
    return this.#all.length - this.#first;
  }

  /** ReadyForQuery that is to come whatever the client does. */
  get answersDue(): number {
    return this.#answersDue;
  }

  get last(): Sent | undefined {
    return this.size === 0 ? undefined : this.#all.at(-1);
  }

  at(index: number): Sent | undefined {
    return this.#all[this.#first + index];
  }

  add(sent: Exclude<Sent, number>): void {
    this.#all.push(sent);
    this.#answersDue += answersOf(sent);
  }

  addSync(): void {
    const { last } = this;
    if (typeof last === 'number') this.#all[this.#all.length - 1] = last + 1;
    else this.#all.push(1);
    this.#answersDue += 1;
  }

  /** Behind the first. */
  insertSyncs(count: number): void {
    if (count > 0) this.#all.splice(this.#first + 1, 0, count);
    this.#answersDue += count;
  }

  removeBehindFirst(count: number): void {
    for (const sent of this.#all.splice(this.#first + 1, count)) this.#answersDue -= answersOf(sent);
  }

  /** All up to the one that is answered, and what stands then where it means nothing. */
  removeAnswered(): void {
    let isOver = false;
    for (let sent = this.at(0); sent !== undefined && !(isOver && sent !== 'copyEnd'); sent = this.at(0)) {
      if (typeof sent === 'number' && sent > 1) this.#all[this.#first] = sent - 1;
      else this.#first += 1;
      if (answersOf(sent) === 0) continue;
      isOver = true;
      this.#answersDue -= 1;
    }
    if (this.#first < ANSWERED_MAX && this.size > 0) return;
    this.#all = this.#all.slice(this.#first);
    this.#first = 0;
  }
}

/** What both directions together say of a session: whether something is under way in it. */
export class Traffic {
  readonly #unanswered = new Unanswered();
  #isIdle = true;
  #hasSaidGoodbye = false;
  #completions = 0;
  /** The server waits for COPY's data, and does not heed a Sync. */
  #isCopying = false;
  /** So many it has not heeded, if COPY has not failed before it came to read them. */
  #syncsReadOver = 0;
  readonly fromClient = new MessageScanner((type) => this.#hearClient(type));
  readonly fromServer = new MessageScanner((type, first) => this.#hearServer(type, first));

  #hearClient(type: number): void {
    if (type === TERMINATE) this.#hasSaidGoodbye = true;
    if (COPY_ENDS.has(type)) this.#endCopyData();
    else if (type === SYNC) this.#sync();
    else if (GROUPED.has(type)) this.#ask('group');
    else if (type === QUERY || type === FUNCTION_CALL) this.#ask('request');
  }

  #endCopyData(): void {
    if (this.#isCopying) this.#isCopying = false;
    else if (this.#unanswered.size > 0) this.#unanswered.add('copyEnd');
  }

  #sync(): void {
    if (this.#isCopying) this.#syncsReadOver += 1;
    else this.#unanswered.addSync();
  }

  /** Within COPY the server would end the session for it: either it does, or COPY has failed. */
  #ask(sent: 'group' | 'request'): void {
    if (this.#isCopying) this.#heedSyncs();
    if (sent === 'request' || this.#unanswered.last !== 'group') this.#unanswered.add(sent);
  }

  #heedSyncs(): void {
    this.#unanswered.insertSyncs(this.#syncsReadOver);
    this.#forgetCopy();
  }

  #forgetCopy(): void {
    this.#isCopying = false;
    this.#syncsReadOver = 0;
  }

  #hearServer(type: number, first: number): void {
    if (type === COPY_IN) this.#beginCopy();
    if (type === COMPLETE) this.#completeCopy();
    if (type === ERROR) this.#failCopy();
    if (type === READY || COMPLETIONS.has(type)) this.#completions += 1;
    if (type !== READY) return;
    this.#unanswered.removeAnswered();
    this.#forgetCopy();
    this.#isIdle = first === IDLE;
  }

  /** It reads on over the Sync that follows on its Execute, up to the end of the data, which may have been sent as well. */
  #beginCopy(): void {
    const unanswered = this.#unanswered;
    this.#forgetCopy();
    let index = 1;
    let syncs = 0;
    for (let sent = unanswered.at(index); typeof sent === 'number'; sent = unanswered.at(index)) {
      index += 1;
      syncs += sent;
    }
    const next = unanswered.at(index);
    if (next !== undefined && next !== 'copyEnd') return;
    this.#syncsReadOver = syncs;
    this.#isCopying = next === undefined;
    unanswered.removeBehindFirst(next === undefined ? index - 1 : index);
  }

  /** What the server says between the begin of COPY and its end is about COPY: earlier statements have ended before. */
  #completeCopy(): void {
    this.#forgetCopy();
    // In one group several may follow on each other.
    if (this.#unanswered.at(0) === 'group' && this.#unanswered.at(1) === 'group') this.#unanswered.removeBehindFirst(1);
  }

  /**
   * Whether it had read the Syncs before it failed is not told. If nothing was asked behind them, it does not matter; else
   * none is taken for read: one too many is waited for, rather than that something runs unseen.
   */
  #failCopy(): void {
    let index = 1;
    while (this.#unanswered.at(index) === 'copyEnd' || typeof this.#unanswered.at(index) === 'number') index += 1;
    if (this.#syncsReadOver > 0 && this.#unanswered.at(index) !== undefined) return this.#heedSyncs();
    this.#forgetCopy();
  }

  /** Nothing is asked that is not answered, no transaction is open, and no message is under way. */
  get isQuiet(): boolean {
    return !this.isBusy && this.#isIdle && this.fromClient.isAtBoundary && this.fromServer.isAtBoundary;
  }

  /** Ends of statements so far; each counts once or twice. */
  get completions(): number {
    return this.#completions;
  }

  /** An answer is due, whatever the client does. */
  get isAsked(): boolean {
    return this.#unanswered.answersDue > 0;
  }

  /** Something may be running. */
  get isBusy(): boolean {
    return this.#unanswered.size > 0 || this.#isCopying;
  }

  /** The client has ended the session itself. */
  get hasSaidGoodbye(): boolean {
    return this.#hasSaidGoodbye;
  }
}
