import { createDeadlines } from '../src/domain/deadline.ts';
import type { Database } from '../src/stores/database.pg.ts';
import { openDatabase } from '../src/stores/database.pg.ts';

export const deadlineIn = createDeadlines(() => performance.now());

export const openTestDatabase = (url: string, connectionsMax = 10): Database =>
  openDatabase({ url, connectionsMax, onIdleError: () => {} });
