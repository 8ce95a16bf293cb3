import type { Registry } from 'prom-client';
import { Gauge } from 'prom-client';

import type { CancelableRunner } from './query-runner.pg.ts';
import type { Sessions } from './sessions.pg.ts';

export function measurePools(
  metrics: Registry,
  sessions: Pick<Sessions, 'counts'>,
  runner: Pick<CancelableRunner, 'underWay'>,
): void {
  new Gauge({
    name: 'postern_sql_sessions',
    help: "Database sessions of people's logins, by state; waiting are requests that wait for one",
    labelNames: ['state'],
    registers: [metrics],
    collect() {
      for (const [state, value] of Object.entries(sessions.counts())) this.set({ state }, value);
    },
  });
  new Gauge({
    name: 'postern_sql_requests_active',
    help: 'SQL requests under way',
    registers: [metrics],
    collect() {
      this.set(runner.underWay());
    },
  });
}

export function measureSubscriptions(
  metrics: Registry,
  subscriptions: { counts(): { readonly open: number; readonly kept: number; readonly bytes: number } },
): void {
  new Gauge({
    name: 'postern_sql_subscriptions',
    help: 'Subscriptions, by state; kept are those that nobody listens to and that can be continued',
    labelNames: ['state'],
    registers: [metrics],
    collect() {
      const { open, kept } = subscriptions.counts();
      this.set({ state: 'open' }, open);
      this.set({ state: 'kept' }, kept);
    },
  });
  new Gauge({
    name: 'postern_sql_subscription_bytes',
    help: 'Bytes that subscriptions hold, of rows they have shown and of changes that wait',
    registers: [metrics],
    collect() {
      this.set(subscriptions.counts().bytes);
    },
  });
}

export function measureSockets(metrics: Registry, sockets: { count(): number }): void {
  new Gauge({
    name: 'postern_sql_sockets',
    help: 'WebSockets that are open',
    registers: [metrics],
    collect() {
      this.set(sockets.count());
    },
  });
}
