import { busTest } from '@postern/testkit/bus-test';
import { startOwnNats } from '@postern/testkit/own-nats';

import type { WorldOptions } from './world.ts';
import { openWorld } from './world.ts';

/** Tests with an edge of the whole file, and `open` for one of their own, on a bus where nobody else announces anything. */
export const edgeTest = busTest
  .extend('world', { scope: 'file' }, async ({ nats }, { onCleanup }) => {
    const world = await openWorld({ nats, corsOrigins: ['https://app.test', '*.example.com'] });
    onCleanup(() => world[Symbol.asyncDispose]());
    return world;
  })
  // oxlint-disable-next-line no-empty-pattern -- vitest reads a fixture's needs from the pattern, and this one has none
  .extend('open', async ({}, { onCleanup }) => {
    const scope = new AsyncDisposableStack();
    onCleanup(() => scope.disposeAsync());
    return async (options: Omit<WorldOptions, 'nats'> = {}) => {
      const nats = scope.use(await startOwnNats());
      return scope.use(await openWorld({ nats, ...options }));
    };
  });

export const basic = (user: string, password: string): Record<string, string> => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
});
export const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });
