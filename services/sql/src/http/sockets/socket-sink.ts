/** Tells a subscription as messages of the WebSocket. */
import type { SubscriptionSink } from '../../domain/subscribe.ts';
import type { Frames } from './frames.ts';
import { errorMessage, tell } from './socket-script.ts';

export interface SocketSink extends SubscriptionSink {
  /** It has completed, without an error. */
  readonly isComplete: boolean;
}

export function socketSink(frames: Frames, { hasTokens }: { readonly hasTokens: boolean }): SocketSink {
  let isComplete = false;
  let isStarted = false;
  const start = (hasRows: boolean): void => {
    if (isStarted) return;
    isStarted = true;
    tell(frames, { type: 'CommandStarting', payload: { has_rows: hasRows, is_streaming: hasRows } });
  };
  const write = (type: 'Row' | 'Rows', payload: Buffer, tail: string): void => {
    frames.open();
    frames.out.ascii(`{"type":"${type}","payload":`);
    frames.out.bytes(payload, 0, payload.length);
    frames.out.utf8(tail);
    frames.close();
  };
  const row = (payload: Buffer, token: string): void =>
    write('Row', payload, hasTokens ? `,"token":${JSON.stringify(token)}}` : '}');
  return {
    get isComplete() {
      return isComplete;
    },
    columns(description) {
      start(true);
      write('Rows', description, '}');
    },
    row,
    progress: row,
    notice: (notice) => tell(frames, { type: 'Notice', payload: notice }),
    error(error) {
      start(false);
      tell(frames, errorMessage(error));
    },
    complete(tag) {
      isComplete = true;
      start(false);
      tell(frames, { type: 'CommandComplete', payload: tag });
    },
    flush: () => frames.flush(),
  };
}
