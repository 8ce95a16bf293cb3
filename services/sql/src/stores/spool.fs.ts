/** Where the bytes of a large answer wait: an unlinked file, so that nothing is left behind whatever happens. */
import type { FileHandle } from 'node:fs/promises';
import { open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';

import type { Room } from '../domain/keeping.ts';

const READ_BYTES = 262_144;

export interface Spool extends AsyncDisposable {
  /** Writes at `at`; bytes that were written behind it earlier are void. */
  write(at: number, chunks: readonly Buffer[]): Promise<void>;
  /** Each piece is in the same memory: it is good until the next one is asked for. */
  read(from: number, to: number): AsyncIterable<Buffer>;
}

/** Room that spools share; `take` throws {@link SpoolFull}. */
export type SpoolSpace = Room;

/** With `within`, what is taken is taken there too. */
export function createSpoolSpace(totalBytes: number, within?: SpoolSpace): SpoolSpace {
  let taken = 0;
  return {
    take(bytes) {
      if (taken + bytes > totalBytes) throw new SpoolFull('all room for spools is taken');
      within?.take(bytes);
      taken += bytes;
    },
    giveBack(bytes) {
      within?.giveBack(bytes);
      taken -= bytes;
    },
  };
}

export class SpoolFull extends Error {
  override readonly name = 'SpoolFull';
}

export async function openSpool(folder: string, space: SpoolSpace): Promise<Spool> {
  const path = join(folder, `postern-sql-${randomUUID()}`);
  const file: FileHandle = await open(path, 'wx+', 0o600);
  await unlink(path);
  let size = 0;
  return {
    async write(at, chunks) {
      const end = chunks.reduce((sum, chunk) => sum + chunk.length, at);
      if (end > size) {
        space.take(end - size);
        size = end;
      }
      let position = at;
      let rest = [...chunks];
      while (rest.length > 0) {
        const { bytesWritten } = await file.writev(rest.slice(0, 1_000), position);
        position += bytesWritten;
        rest = dropBytes(rest, bytesWritten);
      }
    },
    async *read(from, to) {
      const piece = Buffer.allocUnsafe(READ_BYTES);
      for (let at = from; at < to;) {
        const { bytesRead } = await file.read(piece, 0, Math.min(READ_BYTES, to - at), at);
        if (bytesRead === 0) throw new SpoolCutOff('the spool is shorter than what was written to it');
        at += bytesRead;
        yield piece.subarray(0, bytesRead);
      }
    },
    async [Symbol.asyncDispose]() {
      await file.close();
      space.giveBack(size);
      size = 0;
    },
  };
}

function dropBytes(chunks: readonly Buffer[], bytes: number): Buffer[] {
  let left = bytes;
  return chunks.flatMap((chunk) => {
    const dropped = Math.min(left, chunk.length);
    left -= dropped;
    return dropped === chunk.length ? [] : [chunk.subarray(dropped)];
  });
}

class SpoolCutOff extends Error {
  override readonly name = 'SpoolCutOff';
}
