import { expectTypeOf, test } from 'vitest';
import { z } from 'zod';

import type { CodeOf } from './define.ts';
import { defineErrors, defineService, procedure } from './define.ts';

const errors = defineErrors({ THING_MISSING: { status: 404, title: 'No such thing' } });

const find = procedure({
  summary: 'Finds a thing.',
  request: z.object({ id: z.string() }),
  response: z.object({}),
  errors: ['THING_MISSING'],
  timeoutMs: 100,
  idempotent: true,
});

test('a procedure that lists a code outside the table of its service does not compile', () => {
  defineService({ name: 'things', version: 1, summary: 'Things.', errors, procedures: { find } });
  const stray = procedure({ ...find, errors: ['THING_STOLEN'] });
  // @ts-expect-error THING_STOLEN is not in the table
  defineService({ name: 'things', version: 1, summary: 'Things.', errors, procedures: { stray } });
});

test('a handler may fail with declared and common codes only', () => {
  expectTypeOf<CodeOf<typeof find>>().toEqualTypeOf<
    'THING_MISSING' | 'INVALID_REQUEST' | 'UNAVAILABLE' | 'TIMEOUT' | 'INTERNAL' | 'ASSERTION_INVALID'
  >();
});
