/** An answer that is sent while it is made, over HTTP: chunked, as fast as its reader takes it. */
import type { ServerResponse } from 'node:http';

import type { SqlError } from '../domain/entries.ts';
import type { Outlet } from '../domain/outlet.ts';
import { STALL_MS } from './reader.ts';

/** Bytes on their way to a reader who is not waited for. */
const AHEAD_BYTES = 262_144;
/** What is less than a packet waits this long for more. */
const SOON_MS = 10;

export interface ResponseOutletOptions {
  readonly response: ServerResponse;
  readonly contentType: string;
  /** A reader who takes nothing for this long, while there is something to take, is gone. */
  readonly stallMs?: number;
}

export function createResponseOutlet({ response, contentType, stallMs = STALL_MS }: ResponseOutletOptions): Outlet {
  let underWay = 0;
  let waiting: PromiseWithResolvers<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  const letGo = (): void => {
    waiting?.resolve();
    waiting = undefined;
  };
  const open = (): void => {
    if (response.headersSent) return;
    response.writeHead(200, { 'content-type': contentType, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
    // Told also while there is nothing to send, which is no fault of the reader's.
    response.setTimeout(stallMs, () => {
      if (underWay > 0) response.destroy();
    });
  };
  response.once('close', () => {
    clearTimeout(timer);
    letGo();
  });
  return {
    send(chunks, taken) {
      if (response.destroyed) return;
      clearTimeout(timer);
      timer = undefined;
      open();
      const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      underWay += bytes;
      response.cork();
      for (const chunk of chunks.slice(0, -1)) response.write(chunk);
      response.write(chunks.at(-1) ?? '', (error) => {
        if (error !== undefined && error !== null) return;
        underWay -= bytes;
        taken();
        if (underWay <= AHEAD_BYTES) letGo();
      });
      response.uncork();
    },
    behind() {
      if (underWay <= AHEAD_BYTES || response.destroyed) return undefined;
      waiting ??= Promise.withResolvers();
      return waiting.promise;
    },
    soon(callback) {
      timer ??= setTimeout(() => {
        timer = undefined;
        callback();
      }, SOON_MS);
    },
    end() {
      clearTimeout(timer);
      if (response.destroyed) return;
      open();
      response.end();
    },
    abort() {
      clearTimeout(timer);
      response.destroy();
    },
    refuse(error) {
      clearTimeout(timer);
      const body = JSON.stringify(error);
      const status = isOurFault(error) ? 500 : 400;
      response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body);
    },
  };
}

/** Classes of SQLSTATE in which the statement is not to blame; a result that is too large (53200) is its own. */
const isOurFault = ({ code }: SqlError): boolean =>
  (['08', '53', '58', 'XX'].includes(code.slice(0, 2)) && code !== '53200') || code.startsWith('57P');
