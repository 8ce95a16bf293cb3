import { writeFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

interface Closing {
  passed: number;
  failed: number;
  skipped: number;
  /** A line for each thing that counts as failed. */
  failures: string[];
}

/**
 * Closes a run with a line `FAILED <what>: <why>` for each failure and one plain line, `N passed, N failed`, so that the end of
 * a log tells what its middle explains. A file that could not be loaded, a hook that failed and an error outside of tests count
 * as failed. For a sum over several runs, POSTERN_TEST_COUNTS names a file that all this goes to instead.
 */
export function createCountsReporter(): Reporter {
  return {
    onTestRunEnd(modules, unhandledErrors) {
      const closing: Closing = { passed: 0, failed: 0, skipped: 0, failures: [] };
      for (const error of unhandledErrors) fail(closing, 'outside of tests', error);
      for (const module of modules) count(closing, module);
      const file = process.env['POSTERN_TEST_COUNTS'];
      if (file !== undefined) return writeFileSync(file, JSON.stringify(closing));
      const skipped = closing.skipped === 0 ? '' : `, ${closing.skipped} skipped`;
      const lines = [...closing.failures, `${closing.passed} passed, ${closing.failed} failed${skipped}`];
      process.stdout.write(`${lines.join('\n')}\n`);
    },
  };
}

function count(closing: Closing, module: TestModule): void {
  const suites = [module, ...module.children.allSuites()];
  for (const suite of suites) {
    const name = 'fullName' in suite ? `${module.relativeModuleId} > ${suite.fullName}` : module.relativeModuleId;
    for (const error of suite.errors()) fail(closing, name, error);
  }
  for (const test of module.children.allTests()) {
    const { state, errors } = test.result();
    if (state === 'failed') fail(closing, `${module.relativeModuleId} > ${test.fullName}`, errors[0]);
    else closing[state === 'pending' ? 'skipped' : state] += 1;
  }
}

function fail(closing: Closing, what: string, error: { message?: string } | undefined): void {
  closing.failed += 1;
  const [why = 'no message'] = (error?.message ?? 'no message').split('\n');
  closing.failures.push(`FAILED ${what}: ${why}`);
}
