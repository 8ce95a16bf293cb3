/** How failures look at this door: faults of the request are plain text, sessions that cannot be had are JSON like SQL's errors. */
import { authErrors } from '@postern/contracts/auth';
import type { Failure } from '@postern/contracts/failure';
import { sqlErrors } from '@postern/contracts/sql';
import type { Presented } from '@postern/service-kit/problem';
import { presentProblem } from '@postern/service-kit/problem';

import type { SqlError } from '../domain/entries.ts';

const table = { ...authErrors, ...sqlErrors };

export function present(failure: Failure, requestId: string | undefined): Presented {
  const transport = Object.entries(sqlErrors).find(([code]) => code === failure.code)?.[1];
  if (transport !== undefined) {
    return {
      status: transport.status,
      headers: {
        'content-type': 'text/plain; charset=utf-8',
        ...(transport.status === 429 && { 'retry-after': String(failure.retryAfterSeconds ?? 1) }),
      },
      body: failure.detail ?? transport.title,
    };
  }
  return presentProblem(failure, table, requestId);
}

/** 403 where the server turns the login away, 500 for the rest, such as the connection limit. */
export function presentSessionRefusal(error: SqlError, isDenied: boolean): Presented {
  return { status: isDenied ? 403 : 500, headers: { 'content-type': 'application/json' }, body: JSON.stringify(error) };
}
