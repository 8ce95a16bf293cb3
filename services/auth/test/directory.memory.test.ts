import { test } from 'vitest';

import { createMemoryDirectory } from './directory.memory.ts';
import { directorySuite } from './directory.suite.ts';

directorySuite((title, body) => test(title, () => body(createMemoryDirectory())));
