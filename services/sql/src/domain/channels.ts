/** LISTEN as a feed: what is notified on some channels while somebody listens. */
import type { SqlError } from './entries.ts';
import type { Caller } from './ports.ts';

export interface Notification {
  readonly channel: string;
  readonly payload: string;
  /** Of the session that notified. */
  readonly processId: number;
}

/** Nothing is told after `error`. */
export interface ChannelSink {
  /** From now on nothing is missed. */
  listening(channels: readonly string[]): void;
  notification(notification: Notification): void;
  error(error: SqlError): void;
}

export interface ChannelRequest {
  readonly caller: Caller;
  readonly channels: readonly string[];
}

export interface ChannelFeed {
  /** Never rejects. */
  readonly ended: Promise<void>;
  cancel(error: SqlError): void;
  leave(): void;
}

export interface ChannelFeeds {
  open(request: ChannelRequest, sink: ChannelSink): ChannelFeed;
}

/** Of one feed. */
const CHANNELS_MAX = 16;
/** Bytes of a name in PostgreSQL; it would cut longer ones without a word. */
const NAME_BYTES_MAX = 63;

export function channelsFault(channels: readonly string[]): string | undefined {
  if (channels.length === 0) return 'the parameter "channel" is missing';
  if (channels.length > CHANNELS_MAX) return `a feed has at most ${CHANNELS_MAX} channels`;
  const isName = (name: string): boolean =>
    name !== '' && !name.includes('\0') && name.isWellFormed() && new TextEncoder().encode(name).length <= NAME_BYTES_MAX;
  return channels.every(isName) ? undefined : `a channel has 1 to ${NAME_BYTES_MAX} bytes`;
}
