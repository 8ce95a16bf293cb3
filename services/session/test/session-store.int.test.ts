import { redisTest } from '@postern/testkit/redis-test';
import { test } from 'vitest';

import { createRedisSessionStore } from '../src/stores/session-store.redis.ts';
import { createTestClock } from './clock.ts';
import { createMemorySessionStore } from './session-store.memory.ts';
import { sessionStoreSuite } from './session-store.suite.ts';
import { connectAsSession } from './session-redis.ts';

for (const [title, run] of Object.entries(sessionStoreSuite)) {
  redisTest(`the store in Redis ${title}`, async ({ redis }) => {
    const clock = createTestClock();
    await using connection = await connectAsSession(redis);
    await run(createRedisSessionStore(connection.client, clock), clock);
  });

  test(`the store in memory ${title}`, async () => {
    const clock = createTestClock();
    await run(createMemorySessionStore(clock), clock);
  });
}
