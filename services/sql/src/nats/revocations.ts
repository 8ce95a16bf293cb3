/** What sql hears of revocations on the bus, and all that ends with them. */
import type { NatsConnection } from '@nats-io/transport-node';
import { credentialRevoked } from '@postern/contracts/auth';
import { sessionRevoked } from '@postern/contracts/session';
import { onReconnect } from '@postern/rpc/connect';
import { listen } from '@postern/rpc/events';
import type { Logger } from 'pino';

import type { IsRevoked, Revocable, RevokedCredential, RevokedSession } from '../domain/revocation.ts';
import { ofCredential, ofSession } from '../domain/revocation.ts';

export interface RevocationsOptions {
  /** Sessions with the database, and the passwords that auth has lent. */
  readonly sessions: { revoke(principalId: string): void; revokeAll(): void };
  /** They are told why they end. */
  readonly sockets: {
    credentialRevoked(revoked: RevokedCredential): void;
    sessionRevoked(revoked: RevokedSession): void;
    missed(): void;
  };
  readonly underWay: readonly Revocable[];
}

/** Also what may have been missed while the bus was away counts as revoked. */
export function hearRevocations(
  bus: NatsConnection,
  log: Logger,
  { sessions, sockets, underWay }: RevocationsOptions,
): Disposable {
  const endWhere = (isRevoked: IsRevoked): void => {
    for (const revocable of underWay) revocable.revokeWhere(isRevoked);
  };
  using heard = new DisposableStack();
  heard.use(
    listen(bus, credentialRevoked, log, (revoked) => {
      if (revoked.tokenId === undefined) sessions.revoke(revoked.principalId);
      sockets.credentialRevoked(revoked);
      endWhere(ofCredential(revoked));
    }),
  );
  heard.use(
    listen(bus, sessionRevoked, log, (revoked) => {
      sockets.sessionRevoked(revoked);
      endWhere(ofSession(revoked));
    }),
  );
  void onReconnect(bus, () => {
    sockets.missed();
    sessions.revokeAll();
    for (const revocable of underWay) revocable.revokeAll();
  });
  return heard.move();
}
