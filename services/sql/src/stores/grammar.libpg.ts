/**
 * Judges texts with PostgreSQL's grammar. Short ones at once, in this thread, and remembered; long and deep ones in a
 * thread that may fail, run out of time or grow, and is replaced then.
 */
import { Worker } from 'node:worker_threads';

import { Failure } from '@postern/contracts/failure';

import { endingsOf } from '../domain/endings.ts';
import type { Asker, Grammar } from '../domain/ports.ts';
import type { Verdict } from '../domain/statements.ts';
import { tooComplex, tooSlow } from '../domain/statements.ts';
import type { Parser } from './parser.libpg.ts';
import { createParser } from './parser.libpg.ts';

/** A text of this length is judged in a few milliseconds at worst. */
const SHORT_CHARACTERS = 2_048;
/** What a request may take of the main thread; the rest of its texts are judged elsewhere. */
const SPENT_MS_MAX = 10;
/** Longer ones have a thread of their own, so that the others never wait behind them. */
const BRISK_CHARACTERS = 65_536;
const REMEMBERED_MAX = 4_000;
const REMEMBERED_CHARACTERS_MAX = 8_388_608;

export interface GrammarOptions {
  readonly timeoutMs?: number;
}

export interface OpenGrammar extends Grammar, AsyncDisposable {}

export async function openGrammar({ timeoutMs = 5_000 }: GrammarOptions = {}): Promise<OpenGrammar> {
  let parser: Parser | undefined = await createParser();
  const brisk = new JudgingThread(timeoutMs);
  const slow = new JudgingThread(timeoutMs);
  const remembered = new Map<string, Verdict>();
  let rememberedCharacters = 0;

  const remember = (text: string, verdict: Verdict): Verdict => {
    // That a text could not be judged says something of the moment, not of the text.
    if (text.length > SHORT_CHARACTERS || verdict.kind === 'unjudged') return verdict;
    if (remembered.size >= REMEMBERED_MAX || rememberedCharacters > REMEMBERED_CHARACTERS_MAX) {
      remembered.clear();
      rememberedCharacters = 0;
    }
    remembered.set(text, verdict);
    rememberedCharacters += text.length;
    return verdict;
  };
  const judgeHere = (short: string, asker: Asker): Verdict | undefined => {
    const since = performance.now();
    try {
      const verdict = parser?.judge(short);
      asker.spentMs += performance.now() - since;
      return verdict;
    } catch {
      // Too deep for this thread's stack. The instance is lost; until there is a new one, the other thread judges.
      parser = undefined;
      void createParser().then((made) => {
        parser = made;
      });
      return undefined;
    }
  };

  return {
    judge(text, asker) {
      const known = remembered.get(text);
      if (known !== undefined) return known;
      const isHere = text.length <= SHORT_CHARACTERS && asker.spentMs < SPENT_MS_MAX;
      const verdict = isHere ? judgeHere(text, asker) : undefined;
      if (verdict !== undefined) return remember(text, verdict);
      const thread = text.length <= BRISK_CHARACTERS ? brisk : slow;
      return thread.judge(text, asker).then((judged) => remember(text, judged));
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([brisk.close(), slow.close()]);
    },
  };
}

interface Job {
  readonly text: string;
  readonly asker: Asker;
  readonly resolve: (verdict: Verdict) => void;
}

/** The thread has started, and takes texts. */
const READY = 'ready';

interface Judged {
  readonly id: number;
  readonly verdict: Verdict;
  readonly memoryBytes: number;
}

/** What a busy machine takes to start a thread; its texts have their time after that. */
const START_MS_MAX = 60_000;
const STACK_MB = 64;
const stopping: Verdict = { kind: 'unjudged', error: endingsOf('statement').draining };
/** The parser's memory only grows; beyond this the thread is replaced. */
const MEMORY_MAX_BYTES = 536_870_912;
/** Of one principal; each request waits with one text at most. */
const WAITING_MAX = 200;

/** One text at a time; the principals whose texts wait take turns. */
class JudgingThread {
  readonly #timeoutMs: number;
  /** By principal, the one whose turn is next first. */
  readonly #lines = new Map<string, Job[]>();
  #worker: Worker | undefined;
  #isReady = false;
  #current: Job | undefined;
  #timer: NodeJS.Timeout | undefined;
  #id = 0;
  #isClosed = false;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  judge(text: string, asker: Asker): Promise<Verdict> {
    if (this.#isClosed) return Promise.resolve(stopping);
    const line = this.#lines.get(asker.principalId) ?? [];
    if (line.length >= WAITING_MAX) return Promise.reject(new Failure('UNAVAILABLE', { detail: 'too many requests at a time' }));
    const { promise, resolve } = Promise.withResolvers<Verdict>();
    line.push({ text, asker, resolve });
    this.#lines.set(asker.principalId, line);
    this.#next();
    return promise;
  }

  /** What is judged or waits is told so; no thread is started any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const worker = this.#worker;
    this.#worker = undefined;
    const waiting = [...this.#lines.values()].flat();
    this.#lines.clear();
    this.#settle(stopping);
    for (const job of waiting) job.resolve(stopping);
    await worker?.terminate();
  }

  #next(): void {
    if (this.#current !== undefined) return;
    this.#current = this.#take();
    if (this.#current === undefined) return;
    this.#id += 1;
    this.#worker ??= this.#start();
    this.#worker.postMessage({ id: this.#id, text: this.#current.text });
    this.#time();
  }

  #time(): void {
    clearTimeout(this.#timer);
    const ms = this.#isReady ? this.#timeoutMs : START_MS_MAX;
    this.#timer = setTimeout(() => this.#replace({ kind: 'unjudged', error: tooSlow }), ms);
  }

  #take(): Job | undefined {
    for (const [principalId, line] of this.#lines) {
      const job = line.shift();
      this.#lines.delete(principalId);
      // Behind the others; this loop comes to it again if all of them are gone.
      if (line.length > 0) this.#lines.set(principalId, line);
      if (job?.asker.isGone() === false) return job;
      job?.resolve({ kind: 'unjudged', error: tooSlow });
    }
    return undefined;
  }

  #start(): Worker {
    const worker = new Worker(new URL('grammar-worker.libpg.ts', import.meta.url), {
      resourceLimits: { stackSizeMb: STACK_MB, maxOldGenerationSizeMb: 512 },
    });
    worker.unref();
    worker.on('message', (told: Judged | typeof READY) => {
      if (worker !== this.#worker) return;
      if (told === READY) {
        this.#isReady = true;
        if (this.#current !== undefined) this.#time();
        return;
      }
      const { id, verdict, memoryBytes } = told;
      if (id !== this.#id) return;
      if (memoryBytes > MEMORY_MAX_BYTES) this.#replace(verdict);
      else this.#settle(verdict);
    });
    // A stack or a heap that is too small ends the thread.
    worker.on('error', () => {
      if (worker === this.#worker) this.#replace({ kind: 'unjudged', error: tooComplex });
    });
    return worker;
  }

  #replace(verdict: Verdict): void {
    void this.#worker?.terminate();
    this.#worker = undefined;
    this.#isReady = false;
    this.#settle(verdict);
  }

  #settle(verdict: Verdict): void {
    clearTimeout(this.#timer);
    const job = this.#current;
    this.#current = undefined;
    job?.resolve(verdict);
    this.#next();
  }
}
