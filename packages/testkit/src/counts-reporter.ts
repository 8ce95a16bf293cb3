import { writeFileSync } from 'node:fs';
import type { Reporter } from 'vitest/node';

/**
 * Closes a run with one plain line, `N passed, N failed`. A file that could not be loaded and an error outside of tests count
 * as failed. For a sum over several runs, POSTERN_TEST_COUNTS names a file that the counts go to instead.
 */
export function createCountsReporter(): Reporter {
  return {
    onTestRunEnd(modules, unhandledErrors) {
      const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
      for (const module of modules) {
        counts.failed += module.errors().length;
        for (const test of module.children.allTests()) {
          const { state } = test.result();
          counts[state === 'pending' ? 'skipped' : state] += 1;
        }
      }
      const file = process.env['POSTERN_TEST_COUNTS'];
      if (file !== undefined) return writeFileSync(file, JSON.stringify(counts));
      const skipped = counts.skipped === 0 ? '' : `, ${counts.skipped} skipped`;
      process.stdout.write(`${counts.passed} passed, ${counts.failed} failed${skipped}\n`);
    },
  };
}
