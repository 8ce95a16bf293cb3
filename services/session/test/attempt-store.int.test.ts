import { redisTest } from '@postern/testkit/redis-test';
import { test } from 'vitest';

import { createRedisAttemptStore } from '../src/stores/attempt-store.redis.ts';
import { createMemoryAttemptStore } from './attempt-store.memory.ts';
import { attemptStoreSuite, suiteLimits } from './attempt-store.suite.ts';
import { createTestClock } from './clock.ts';
import { connectAsSession } from './session-redis.ts';

for (const [title, run] of Object.entries(attemptStoreSuite)) {
  redisTest(`the counters in Redis ${title}`, async ({ redis }) => {
    await using connection = await connectAsSession(redis);
    await run(createRedisAttemptStore(connection.client, suiteLimits), createTestClock());
  });

  test(`the counters in memory ${title}`, async () => {
    await run(createMemoryAttemptStore(suiteLimits), createTestClock());
  });
}
