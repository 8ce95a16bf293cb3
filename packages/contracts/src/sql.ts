/** SQL: statements run as the caller's own database role. Owned by services/sql; its doors are HTTP and WebSocket. */
import { defineErrors, defineService } from './define.ts';

export const sqlErrors = defineErrors({
  SQL_CONTENT_TYPE: { status: 415, title: 'The body must be application/json' },
  SQL_BODY_NOT_JSON: { status: 400, title: 'The body is not JSON' },
  SQL_BODY_SHAPE: { status: 422, title: 'The body is neither a query nor a list of queries' },
  SQL_BODY_TOO_LARGE: { status: 413, title: 'The body is too large' },
  SQL_NOT_ONE_STATEMENT: { status: 400, title: 'Each query must hold exactly one statement' },
  SQL_OPTIONS_MALFORMED: { status: 400, title: 'The options are not an object of strings' },
  SQL_STATEMENT_UNKNOWN: { status: 404, title: 'There is no such statement' },
  SQL_STATEMENT_RUNNING: { status: 409, title: 'The statement has not ended' },
  SQL_STATEMENTS_FULL: { status: 429, title: 'Too many statements are kept' },
  SQL_PAGE_MALFORMED: { status: 400, title: 'There is no such page' },
  SQL_SOCKETS_LIMIT: { status: 429, title: 'Too many sockets of yours are open' },
  SQL_CONNECTION_LIMIT: { status: 500, title: 'The connection limit is reached' },
});

export const sqlService = defineService({
  name: 'sql',
  version: 1,
  summary: "SQL over HTTP and WebSocket as the caller's own database role.",
  errors: sqlErrors,
  procedures: {},
});

/**
 * What an error of `POST /sql` tells beside its message, none of it known. As in Neon's own answers, all fields are always
 * there: its driver copies them to the error that it throws.
 */
export const noNeonFields = {
  code: null,
  detail: null,
  hint: null,
  position: null,
  internalPosition: null,
  internalQuery: null,
  severity: null,
  where: null,
  table: null,
  column: null,
  schema: null,
  dataType: null,
  constraint: null,
  file: null,
  line: null,
  routine: null,
} as const;
