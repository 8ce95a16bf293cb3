/** Feeds of NOTIFY: one session of the caller's own login for each. */
import { isFailure } from '@postern/contracts/failure';

import type { ChannelFeed, ChannelFeeds, ChannelRequest, ChannelSink, Notification } from '../domain/channels.ts';
import { endingsOf, loginsAway } from '../domain/endings.ts';
import type { SqlError } from '../domain/entries.ts';
import type { Guard } from '../domain/guard.ts';
import type { Clock } from '../domain/ports.ts';
import type { Revocable } from '../domain/revocation.ts';
import { quoteName } from '../domain/changes-query.ts';
import { Asking, QueryFailure } from './asking.pg.ts';
import { MessageType, readNotification } from './messages.pg.ts';
import type { Sessions } from './sessions.pg.ts';

export interface ChannelFeedsOptions {
  readonly sessions: Pick<Sessions, 'hold'>;
  readonly guard: Pick<Guard, 'enter'>;
  /** Unix time in milliseconds. */
  readonly wallClock: Clock;
}

export type LiveChannelFeeds = ChannelFeeds & Revocable & AsyncDisposable;

const LONGEST_TIMER_MS = 2_147_483_647;

const { revoked, maybeRevoked, expired, draining } = endingsOf('feed');
const lost: SqlError = { message: 'the connection to the server was lost: notifications may be missing', code: '08006' };

export function createChannelFeeds({ sessions, guard, wallClock }: ChannelFeedsOptions): LiveChannelFeeds {
  const open = new Set<OpenFeed>();
  const serve = async (feed: OpenFeed): Promise<void> => {
    const { caller, channels } = feed.request;
    const session = await sessions.hold(caller, feed.stopped);
    if (session.kind === 'refused') throw new QueryFailure(session.error);
    const { connection, giveBack } = session.lease;
    try {
      const asking = new Asking(connection);
      connection.listen({
        message: (type, bytes, from, to) => {
          if (type === MessageType.notification) feed.notify(readNotification(bytes, from, to));
        },
        lost: () => feed.stop(lost),
      });
      await asking.command(channels.map((channel) => `LISTEN ${quoteName(channel)}`).join('; '));
      feed.sink.listening(channels);
      await feed.stopped;
      feed.check();
    } finally {
      giveBack(Promise.resolve(false));
    }
  };
  const run = async (feed: OpenFeed): Promise<void> => {
    open.add(feed);
    const { principal } = feed.request.caller;
    const { expiresAt } = principal;
    const admission = guard.enter(principal);
    const until = expiresAt * 1_000 - wallClock.now();
    const expiry =
      expiresAt === 0 || until > LONGEST_TIMER_MS ? undefined : setTimeout(() => feed.stop(expired), Math.max(0, until));
    try {
      if (admission.kind === 'refused') throw new QueryFailure(admission.error);
      await serve(feed);
    } catch (error) {
      if (!feed.hasLeft) feed.sink.error(errorOf(error));
    } finally {
      if (admission.kind === 'admitted') admission.leave();
      clearTimeout(expiry);
      open.delete(feed);
    }
  };
  return {
    open(request, sink): ChannelFeed {
      const feed = new OpenFeed(request, sink);
      const ended = run(feed);
      feed.ended = ended;
      return { ended, cancel: (error) => feed.stop(error), leave: () => feed.leave() };
    },
    revokeWhere(isRevoked) {
      for (const feed of open) if (isRevoked(feed.request.caller.principal)) feed.stop(revoked);
    },
    revokeAll() {
      for (const feed of open) feed.stop(maybeRevoked);
    },
    async [Symbol.asyncDispose]() {
      for (const feed of open) feed.stop(draining);
      await Promise.all([...open].map(({ ended }) => ended));
    },
  };
}

function errorOf(error: unknown): SqlError {
  if (error instanceof QueryFailure) return error.error;
  return isFailure(error) && error.code !== 'INTERNAL' ? loginsAway : { message: 'the feed failed', code: 'XX000' };
}

class OpenFeed {
  readonly request: ChannelRequest;
  readonly sink: ChannelSink;
  ended: Promise<void> = Promise.resolve();
  hasLeft = false;
  readonly #stopping = Promise.withResolvers<void>();
  #error: SqlError | undefined;

  constructor(request: ChannelRequest, sink: ChannelSink) {
    this.request = request;
    this.sink = sink;
  }

  get stopped(): Promise<void> {
    return this.#stopping.promise;
  }

  notify(notification: Notification): void {
    if (this.#error === undefined) this.sink.notification(notification);
  }

  stop(error: SqlError): void {
    this.#error ??= error;
    this.#stopping.resolve();
  }

  leave(): void {
    this.hasLeft = true;
    this.stop(lost);
  }

  check(): void {
    if (this.#error !== undefined) throw new QueryFailure(this.#error);
  }
}
