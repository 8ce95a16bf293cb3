/** Steady traffic while something happens. Small: it shows that nothing is lost, not how fast anything is. */
import type { ClientRequest } from 'node:http';
import { Agent, request } from 'node:http';

import type { Credential } from './client.ts';

const CONNECTIONS = 8;
/** A connection that was idle for longer is not used again: the other side may be about to close it, as a balancer knows. */
const IDLE_MS = 200;
/** Traffic before and after, so that there is some on both sides of what happens. */
const AROUND_MS = 500;

export interface Outcome {
  readonly origin: string;
  /** Of the answer; 0 if there was none. */
  readonly status: number;
  readonly text: string;
  /** Why there was no answer. */
  readonly error: string | undefined;
}

export interface Load {
  readonly origins: readonly string[];
  readonly headers: Credential;
  readonly query: string;
  /**
   * A connection that nobody took was no request yet: the next origin is asked, as a balancer would. It is refused, or,
   * if it still waited in the system's queue when the door shut, reset without a word.
   */
  readonly movesOn?: boolean;
}

const NOBODY_TOOK_IT = ['ECONNREFUSED', 'ECONNRESET (new)'];

/** Sends queries over kept-alive connections until `happening` is over, and answers what became of each. */
export async function underLoad(load: Load, happening: () => Promise<void>): Promise<readonly Outcome[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS, timeout: IDLE_MS });
  const outcomes: Outcome[] = [];
  let going = true;
  const keepAsking = async (worker: number): Promise<void> => {
    for (let turn = worker; going; turn += 1) {
      for (let attempt = 0; attempt < load.origins.length; attempt += 1) {
        const origin = load.origins[(turn + attempt) % load.origins.length] ?? '';
        const outcome = await ask(agent, origin, load);
        const untaken = NOBODY_TOOK_IT.includes(outcome.error ?? '');
        if (untaken && load.movesOn === true && attempt + 1 < load.origins.length) continue;
        outcomes.push(outcome);
        break;
      }
    }
  };
  const asking = Array.from({ length: CONNECTIONS }, (_, worker) => keepAsking(worker));
  try {
    await pause(AROUND_MS);
    await happening();
    await pause(AROUND_MS);
  } finally {
    going = false;
    await Promise.all(asking);
    agent.destroy();
  }
  return outcomes;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

async function ask(agent: Agent, origin: string, { headers, query }: Load): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const fail = (error: NodeJS.ErrnoException): void => {
    const reset = error.code === 'ECONNRESET' && !sent.reusedSocket ? 'ECONNRESET (new)' : undefined;
    resolve({ origin, status: 0, text: '', error: reset ?? error.code ?? error.message });
  };
  const sent: ClientRequest = request(
    new URL('/api/sql', origin),
    { agent, method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, timeout: 30_000 },
    (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('error', fail);
      response.once('end', () => resolve({ origin, status: response.statusCode ?? 0, text, error: undefined }));
    },
  );
  sent.on('error', fail);
  sent.once('timeout', () => sent.destroy(new Error('no answer in 30 s')));
  sent.end(JSON.stringify({ query }));
  return promise;
}
