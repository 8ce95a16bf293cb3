import { Failure } from '@postern/contracts/failure';

import { promisedBytes } from '../domain/head.ts';
import { continueIfAsked } from './answers.ts';
import type { Exchange } from './exchange.ts';

/** The whole body, counted; nothing to wait for if none is promised. */
export function readBody(exchange: Exchange, bytesMax: number): Promise<Buffer> | undefined {
  const { head, request } = exchange;
  if (promisedBytes(head) === 0) return undefined;
  continueIfAsked(exchange);
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > bytesMax) reject(new Failure('BODY_TOO_LARGE'));
    else chunks.push(chunk);
  });
  request.once('end', () => {
    const [only] = chunks;
    resolve(chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks));
  });
  request.once('close', () => {
    if (!request.complete) reject(new Failure('INVALID_REQUEST', { detail: 'the body is not whole' }));
  });
  return promise;
}
