import { defineConfig } from 'vitest/config';

import { createCountsReporter } from './packages/testkit/src/counts-reporter.ts';

export default defineConfig({
  test: {
    reporters: ['default', createCountsReporter()],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{packages,services,deploy}/**/src/**/*.test.ts', '{packages,services,deploy}/**/test/**/*.test.ts'],
          exclude: ['**/node_modules/**', '**/*.int.test.ts', 'packages/house-rules/**'],
          environment: 'node',
          // Property tests on a busy machine; nothing here waits for anything.
          testTimeout: 60_000,
        },
      },
      { test: { name: 'rules', include: ['packages/house-rules/**/*.test.ts'], environment: 'node', testTimeout: 120_000 } },
      {
        test: {
          name: 'int',
          include: ['{packages,services,deploy}/**/test/**/*.int.test.ts'],
          environment: 'node',
          testTimeout: 120_000,
          hookTimeout: 240_000,
          globalSetup: ['packages/testkit/src/global-setup.ts'],
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['e2e/**/*.test.ts'],
          environment: 'node',
          globalSetup: ['e2e/harness/global-setup.ts'],
          testTimeout: 120_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
