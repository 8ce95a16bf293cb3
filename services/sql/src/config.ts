import type { Refine } from '@postern/service-kit/config';
import { secret, setting } from '@postern/service-kit/config';
import { doorSettings, sharedSettings } from '@postern/service-kit/settings';
import { tmpdir } from 'node:os';
import { z } from 'zod';

import { readMetricPages } from './stores/metrics-file.fs.ts';

/** A timer that is set for longer goes off at once. */
const TIMER_MAX_MS = 2_147_483_647;
const count = z.coerce.number().int().positive();

export const settings = {
  ...sharedSettings,
  ...doorSettings,
  databaseUrl: secret(
    'SQL_DATABASE_URL',
    z.url({ protocol: /^postgres(ql)?$/ }),
    "The service's own login on the person database; people's logins connect to the same place",
  ),
  changesDatabaseUrl: secret(
    'SQL_CHANGES_DATABASE_URL',
    z.url({ protocol: /^postgres(ql)?$/ }).optional(),
    'A login with REPLICATION on the person database, of which the change log is read; without one subscriptions run their queries again',
  ),
  changesBacklogBytes: setting(
    'SQL_CHANGES_BACKLOG_BYTES',
    z.coerce.number().int().min(65_536).default(134_217_728),
    'Bytes that one subscription may hold, of rows it has shown and of changes that wait; beyond it the subscription ends with 53400',
  ),
  changesTotalBytes: setting(
    'SQL_CHANGES_TOTAL_BYTES',
    z.coerce.number().int().min(65_536).default(268_435_456),
    'The same of all subscriptions of this replica together',
  ),
  changesResumeSeconds: setting(
    'SQL_CHANGES_RESUME_SECONDS',
    count.default(120),
    'How long a subscription that nobody listens to can be continued',
  ),
  changesPollMs: setting(
    'SQL_CHANGES_POLL_MS',
    count.default(1_000),
    'How often a query is run again of which the change log does not tell',
  ),
  metricsFile: setting(
    'SQL_METRICS_FILE',
    z.string().optional(),
    'Metrics that are defined by SQL (JSON); those that are shipped, if unset',
  ),
  resultBytesMax: setting(
    'SQL_RESULT_BYTES_MAX',
    z.coerce.number().int().min(1_048_576).default(1_073_741_824),
    'Most bytes of rows in one answer, as PostgreSQL sends them; beyond it the answer is 53200',
  ),
  neonAnswerBytesMax: setting(
    'SQL_NEON_ANSWER_BYTES_MAX',
    z.coerce.number().int().min(65_536).default(67_108_864),
    'Most bytes of an answer to the Neon driver, which holds it as a whole; beyond it the answer is 507',
  ),
  spoolBytes: setting(
    'SQL_SPOOL_BYTES',
    z.coerce.number().int().min(65_536).default(8_388_608),
    'Bytes of an answer that are kept in memory; a larger one waits in a file',
  ),
  spoolTotalBytes: setting(
    'SQL_SPOOL_TOTAL_BYTES',
    z.coerce.number().int().min(1_048_576).default(8_589_934_592),
    'Bytes of all files of large answers together; beyond it the answer is 53400',
  ),
  spoolDir: setting(
    'SQL_SPOOL_DIR',
    z.string().default(tmpdir),
    'Folder for the files of large answers; it should be on a disk, not in memory',
  ),
  statementTimeoutMs: setting(
    'SQL_STATEMENT_TIMEOUT_MS',
    count.default(300_000),
    "statement_timeout of people's sessions, unless they set their own",
  ),
  requestTimeoutMs: setting(
    'SQL_REQUEST_TIMEOUT_MS',
    count.default(320_000),
    'Longest time of a whole request, whatever its session sets',
  ),
  streamTimeMs: setting(
    'SQL_STREAM_TIMEOUT_MS',
    count.max(TIMER_MAX_MS).default(3_600_000),
    'Longest time of an answer in NDJSON or CSV, which lasts as long as its reader takes',
  ),
  statementTimeMs: setting(
    'SQL_STATEMENT_JOB_TIMEOUT_MS',
    count.max(TIMER_MAX_MS).default(3_600_000),
    'Longest time of an asynchronous statement, whatever its session sets; also the statement_timeout that it begins with',
  ),
  statementKeptSeconds: setting(
    'SQL_STATEMENT_KEPT_SECONDS',
    count.default(3_600),
    'How long an asynchronous statement and its results are kept after its end',
  ),
  statementsPerPrincipalMax: setting(
    'SQL_STATEMENTS_PER_PRINCIPAL_MAX',
    count.default(32),
    'Most asynchronous statements of one principal, running and kept',
  ),
  statementsMax: setting(
    'SQL_STATEMENTS_MAX',
    count.default(256),
    'Most asynchronous statements of all principals, running and kept; each may have a file open',
  ),
  statementsBytesPerPrincipal: setting(
    'SQL_STATEMENTS_BYTES_PER_PRINCIPAL',
    z.coerce.number().int().min(1_048_576).default(2_147_483_648),
    'Bytes of the results of one principal that are kept; beyond it a statement ends with 53400',
  ),
  statementsBytes: setting(
    'SQL_STATEMENTS_BYTES',
    z.coerce.number().int().min(1_048_576).default(4_294_967_296),
    'Bytes of the results of all asynchronous statements that are kept; part of SQL_SPOOL_TOTAL_BYTES',
  ),
  limitsFile: setting(
    'SQL_LIMITS_FILE',
    z.string().optional(),
    'JSON file of limits by role, group and key, read again when it changes; without one nobody has limits',
  ),
  poolPerRoleMax: setting('SQL_POOL_PER_ROLE_MAX', count.default(10), 'Most sessions of one role'),
  poolMax: setting('SQL_POOL_MAX', count.default(40), 'Most sessions of all roles'),
  heldPerRoleMax: setting(
    'SQL_HELD_PER_ROLE_MAX',
    count.default(50),
    'Most sessions of one role that are held by sockets and feeds, beside those of the pools',
  ),
  heldMax: setting('SQL_HELD_MAX', count.default(100), 'Most sessions of all roles that are held by sockets and feeds'),
  poolWaitMs: setting('SQL_POOL_WAIT_MS', count.default(5_000), 'Longest wait for a session; after it the answer is 53300'),
  poolWaitersMax: setting('SQL_POOL_WAITERS_MAX', count.default(1_000), 'Most requests that wait for a session'),
  poolIdleSeconds: setting('SQL_POOL_IDLE_SECONDS', count.default(60), 'Idle sessions are closed after this time'),
};

/** A setting that is itself mistaken is absent; comparing with nothing is never a mistake. */
export const refine: Refine<typeof settings> = (config) => {
  const { poolPerRoleMax, poolMax, heldPerRoleMax, heldMax, requestTimeoutMs, statementTimeoutMs } = config;
  const mistakes: string[] = [];
  if ((heldPerRoleMax ?? NaN) > (heldMax ?? NaN)) mistakes.push('SQL_HELD_PER_ROLE_MAX: must not exceed SQL_HELD_MAX');
  if ((poolPerRoleMax ?? NaN) > (poolMax ?? NaN)) mistakes.push('SQL_POOL_PER_ROLE_MAX: must not exceed SQL_POOL_MAX');
  if ((requestTimeoutMs ?? NaN) < (statementTimeoutMs ?? NaN)) {
    mistakes.push('SQL_REQUEST_TIMEOUT_MS: must not be less than SQL_STATEMENT_TIMEOUT_MS');
  }
  const read = readMetricPages(config.metricsFile);
  if (read.kind === 'mistakes')
    mistakes.push(...read.mistakes.map(({ pointer, message }) => `SQL_METRICS_FILE ${pointer || '/'}: ${message}`));
  return mistakes;
};
