/** What sql hears of the edge on the bus. */
import { cancelRequested } from '@postern/contracts/edge';
import type { NatsConnection } from '@nats-io/transport-node';
import { listen } from '@postern/rpc/events';
import type { Logger } from 'pino';

import type { CancelKeys } from '../domain/cancel-keys.ts';

/** Requests to cancel; the replica that has the session acknowledges when the signal has been sent. */
export const hearCancels = (bus: NatsConnection, log: Logger, keys: Pick<CancelKeys, 'cancel'>): Disposable =>
  listen(bus, cancelRequested, log, ({ processId, secretKey }, acknowledge) => {
    keys.cancel(processId, secretKey).then(
      (isKnown) => isKnown && acknowledge(),
      (error: unknown) => log.error({ err: error }, 'cancel failed'),
    );
  });
