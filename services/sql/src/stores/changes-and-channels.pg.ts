/** Change streams and channel feeds as one: what is told of revocations, and ends before the door does. */
import type { ChannelFeeds } from '../domain/channels.ts';
import type { Census } from '../domain/inspections.ts';
import type { Revocable } from '../domain/revocation.ts';
import type { Subscriptions } from '../domain/subscribe.ts';
import { createChannelFeeds } from './changes-channels.pg.ts';
import type { LiveSubscriptions, SubscriptionsOptions } from './changes.pg.ts';
import { createSubscriptions } from './changes.pg.ts';
import type { Connection } from './connection.pg.ts';

export interface Changes extends Revocable, AsyncDisposable {
  readonly subscriptions: Subscriptions<Connection> & Pick<LiveSubscriptions, 'counts'> & { readonly census: Census };
  readonly channels: ChannelFeeds;
}

export function createChanges(options: SubscriptionsOptions): Changes {
  const subscriptions = createSubscriptions(options);
  const channels = createChannelFeeds(options);
  return {
    subscriptions,
    channels,
    revokeWhere(isRevoked) {
      subscriptions.revokeWhere(isRevoked);
      channels.revokeWhere(isRevoked);
    },
    revokeAll() {
      subscriptions.revokeAll();
      channels.revokeAll();
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([subscriptions[Symbol.asyncDispose](), channels[Symbol.asyncDispose]()]);
    },
  };
}
