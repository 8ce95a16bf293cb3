/** Who reads an answer: how long is waited for them, and when the memory of what they were sent is free again. */
import type { ServerResponse } from 'node:http';

/** A reader that takes nothing for this long is gone. */
export const STALL_MS = 60_000;

/** Resolves when the piece has left this process and its memory may be used again; to false if the reader is gone. */
export function written(response: ServerResponse, piece: Buffer): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const gone = (): void => resolve(false);
  if (response.destroyed) gone();
  response.once('close', gone);
  response.write(piece, (error) => {
    response.off('close', gone);
    resolve(error === undefined || error === null);
  });
  return promise;
}
