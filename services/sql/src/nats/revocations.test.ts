import type { NatsConnection } from '@nats-io/transport-node';
import { createLogger } from '@postern/service-kit/log';
import { expect, test } from 'vitest';

import { hearRevocations } from './revocations.ts';

const nothing = (): void => {};

test('where the second ear cannot be opened, the first one is closed', () => {
  const heard: string[] = [];
  const subscribe = (subject: string): { unsubscribe(): void } => {
    if (heard.length > 0) throw new Error('the bus is away');
    heard.push(subject);
    return { unsubscribe: () => void heard.push('closed') };
  };
  const bus = { subscribe } as unknown as NatsConnection;
  const options = {
    sessions: { revoke: nothing, revokeAll: nothing },
    sockets: { credentialRevoked: nothing, sessionRevoked: nothing, missed: nothing },
    underWay: [],
  };
  expect(() => hearRevocations(bus, createLogger({ service: 'test', level: 'silent' }), options)).toThrow('the bus is away');
  expect(heard).toEqual(['evt.auth.v1.revoked', 'closed']);
});
