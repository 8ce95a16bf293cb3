/** Reads a JSON body under its limit, counted as it comes. */
import { Failure } from '@postern/contracts/failure';
import type { IncomingMessage } from 'node:http';

import { BODY_BYTES_MAX } from '../schemas.ts';

/** A body that is too large is read on for a while, so that its sender hears the answer rather than a broken connection. */
const DISCARDED_BYTES_MAX = 33_554_432;
const BODY_TIMEOUT_MS = 60_000;

const isJson = (type: string): boolean => /^application\/(?:[\w.-]+\+)?json$/i.test(type.split(';', 1)[0]?.trim() ?? '');

export function checkContentType(request: IncomingMessage): void {
  const { 'content-type': type = '', 'content-encoding': encoding = 'identity' } = request.headers;
  if (!isJson(type)) {
    throw new Failure('SQL_CONTENT_TYPE', { detail: 'Expected request with `Content-Type: application/json`' });
  }
  // Nothing is ever unpacked here: a small body could become any size.
  if (encoding.toLowerCase() !== 'identity')
    throw new Failure('SQL_CONTENT_TYPE', { detail: 'Content-Encoding is not supported' });
}

export function takeBody(request: IncomingMessage): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let bytes = 0;
  const tooLarge = (): void => {
    clearTimeout(timer);
    reject(new Failure('SQL_BODY_TOO_LARGE', { detail: 'Failed to buffer the request body: length limit exceeded' }));
  };
  const timer = setTimeout(() => {
    request.destroy();
    reject(new Failure('TIMEOUT', { detail: 'the body did not arrive in time' }));
  }, BODY_TIMEOUT_MS);
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= BODY_BYTES_MAX) chunks.push(chunk);
    else chunks.length = 0;
    if (bytes > DISCARDED_BYTES_MAX) tooLarge();
  });
  request.once('end', () => {
    clearTimeout(timer);
    if (bytes > BODY_BYTES_MAX) return tooLarge();
    const [only] = chunks;
    resolve(chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks));
  });
  request.once('close', () => {
    clearTimeout(timer);
    if (!request.readableEnded) reject(new Failure('INVALID_REQUEST', { detail: 'the body ended early' }));
  });
  return promise;
}
