import type { z } from 'zod';

import type { Issue } from './failure.ts';

/** RFC 6901: where something is in a document; the document itself is ''. */
const jsonPointer = (path: readonly PropertyKey[]): string =>
  path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');

/** zod's issues; values are never repeated, only where and why: they may be secrets. */
export const issuesOf = (error: z.ZodError): Issue[] =>
  error.issues.map(({ path, message }) => ({ pointer: jsonPointer(path), message }));
