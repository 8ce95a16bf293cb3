import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['{packages,services,deploy}/**/src/**/*.test.ts'], environment: 'node' } },
      {
        test: {
          name: 'int',
          include: ['{packages,services,deploy}/**/test/**/*.int.test.ts'],
          environment: 'node',
          testTimeout: 60_000,
          hookTimeout: 120_000,
          globalSetup: ['packages/testkit/src/global-setup.ts'],
          maxWorkers: 2,
        },
      },
    ],
  },
});
