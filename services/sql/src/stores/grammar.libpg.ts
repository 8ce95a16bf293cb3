/**
 * Judges texts with PostgreSQL's grammar. Short ones at once, in this thread, and remembered; long and deep ones in a
 * thread that may fail, run out of time or grow, and is replaced then.
 */
import { Worker } from 'node:worker_threads';

import type { Grammar } from '../domain/ports.ts';
import type { Verdict } from '../domain/statements.ts';
import { tooComplex, tooSlow } from '../domain/statements.ts';
import type { Parser } from './parser.libpg.ts';
import { createParser } from './parser.libpg.ts';

/** A text of this length is judged in a few milliseconds at worst. */
const SHORT_CHARACTERS = 2_048;
const REMEMBERED_MAX = 4_000;
const REMEMBERED_CHARACTERS_MAX = 8_388_608;

export interface GrammarOptions {
  readonly timeoutMs?: number;
}

export interface OpenGrammar extends Grammar, AsyncDisposable {}

export async function openGrammar({ timeoutMs = 5_000 }: GrammarOptions = {}): Promise<OpenGrammar> {
  let parser: Parser | undefined = await createParser();
  const thread = new JudgingThread(timeoutMs);
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
  const judgeHere = (short: string): Verdict | undefined => {
    try {
      return parser?.judge(short);
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
    judge(text) {
      const known = remembered.get(text);
      if (known !== undefined) return known;
      const verdict = text.length <= SHORT_CHARACTERS ? judgeHere(text) : undefined;
      if (verdict !== undefined) return remember(text, verdict);
      return thread.judge(text).then((judged) => remember(text, judged));
    },
    [Symbol.asyncDispose]: () => thread.close(),
  };
}

interface Job {
  readonly text: string;
  readonly resolve: (verdict: Verdict) => void;
}

interface Judged {
  readonly id: number;
  readonly verdict: Verdict;
  readonly memoryBytes: number;
}

const STACK_MB = 64;
/** The parser's memory only grows; beyond this the thread is replaced. */
const MEMORY_MAX_BYTES = 536_870_912;
const WAITING_MAX = 200;

/** One text at a time; the others wait in line. */
class JudgingThread {
  readonly #timeoutMs: number;
  readonly #waiting: Job[] = [];
  #worker: Worker | undefined;
  #current: Job | undefined;
  #timer: NodeJS.Timeout | undefined;
  #id = 0;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  judge(text: string): Promise<Verdict> {
    if (this.#waiting.length >= WAITING_MAX) return Promise.resolve({ kind: 'unjudged', error: tooSlow });
    const { promise, resolve } = Promise.withResolvers<Verdict>();
    this.#waiting.push({ text, resolve });
    this.#next();
    return promise;
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #next(): void {
    if (this.#current !== undefined) return;
    this.#current = this.#waiting.shift();
    if (this.#current === undefined) return;
    this.#id += 1;
    this.#timer = setTimeout(() => this.#replace({ kind: 'unjudged', error: tooSlow }), this.#timeoutMs);
    this.#worker ??= this.#start();
    this.#worker.postMessage({ id: this.#id, text: this.#current.text });
  }

  #start(): Worker {
    const worker = new Worker(new URL('grammar-worker.libpg.ts', import.meta.url), {
      resourceLimits: { stackSizeMb: STACK_MB, maxOldGenerationSizeMb: 512 },
    });
    worker.unref();
    worker.on('message', ({ id, verdict, memoryBytes }: Judged) => {
      if (worker !== this.#worker || id !== this.#id) return;
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
