/** Change streams and channel feeds as one: what is told of revocations, and ends before the door does. */
import type { ChannelFeeds } from '../domain/channels.ts';
import type { Census } from '../domain/inspections.ts';
import type { Subscriptions } from '../domain/subscribe.ts';
import { createChannelFeeds } from './changes-channels.pg.ts';
import type { LiveSubscriptions, SubscriptionsOptions } from './changes.pg.ts';
import { createSubscriptions } from './changes.pg.ts';
import type { Connection } from './connection.pg.ts';

export interface Changes extends AsyncDisposable {
  readonly subscriptions: Subscriptions<Connection> & Pick<LiveSubscriptions, 'counts'> & { readonly census: Census };
  readonly channels: ChannelFeeds;
  /** Ends those of a principal; with a token, only those that came with that token. */
  revoke(principalId: string, tokenId: string | undefined): void;
  /** Ends those of one browser session, or of all sessions of a principal. */
  sessionRevoked(revoked: { readonly principalId: string; readonly sessionId?: string | undefined }): void;
  /** Revocations may have been missed. */
  revokeAll(): void;
}

export function createChanges(options: SubscriptionsOptions): Changes {
  const subscriptions = createSubscriptions(options);
  const channels = createChannelFeeds(options);
  const revokeWhere = (isOf: Parameters<typeof subscriptions.revokeWhere>[0]): void => {
    subscriptions.revokeWhere(isOf);
    channels.revokeWhere(isOf);
  };
  return {
    subscriptions,
    channels,
    revoke: (principalId, tokenId) =>
      revokeWhere((principal) => principal.id === principalId && (tokenId === undefined || tokenId === principal.tokenId)),
    sessionRevoked: ({ principalId, sessionId }) =>
      revokeWhere(
        (principal) =>
          principal.id === principalId &&
          principal.sessionId !== undefined &&
          (sessionId === undefined || sessionId === principal.sessionId),
      ),
    revokeAll() {
      subscriptions.revokeAll();
      channels.revokeAll();
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([subscriptions[Symbol.asyncDispose](), channels[Symbol.asyncDispose]()]);
    },
  };
}
