import type { ErrorDefinition } from '@postern/contracts/failure';
import { commonErrors, Failure, isFailure } from '@postern/contracts/failure';
import type { ErrorTable } from '@postern/contracts/define';
import type { ErrorRequestHandler } from 'express';
import type { Logger } from 'pino';

/** Where a problem's `type` points: a paragraph of the generated page. */
const ERRORS_PAGE = 'https://postern.dev/errors';

export interface Presented {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A failure as `application/problem+json` (RFC 9457), with `code`, `issues` and, on 429 and 503, `Retry-After`. */
export function presentProblem(failure: Failure, table: ErrorTable, instance?: string): Presented {
  const known: ErrorDefinition | undefined = table[failure.code] ?? commonErrors[failure.code as keyof typeof commonErrors];
  const { status, title } = known ?? commonErrors.INTERNAL;
  const code = known === undefined ? 'INTERNAL' : failure.code;
  const shown = known !== undefined;
  return {
    status,
    headers: {
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      ...((status === 429 || status === 503) && { 'retry-after': String(failure.retryAfterSeconds ?? 1) }),
    },
    body: JSON.stringify({
      type: `${ERRORS_PAGE}#${code.toLowerCase().replaceAll('_', '-')}`,
      title,
      status,
      ...(shown && failure.detail !== undefined && { detail: failure.detail }),
      ...(instance !== undefined && { instance: `urn:uuid:${instance}` }),
      code,
      ...(shown && failure.issues !== undefined && { issues: failure.issues }),
    }),
  };
}

/** The one place of an Express app where a failure becomes a status. Anything else that is thrown is `INTERNAL`. */
export function problemMiddleware(present: (failure: Failure) => Presented, log: Logger): ErrorRequestHandler {
  return (error: unknown, _request, response, _next) => {
    const failure = isFailure(error) ? error : new Failure('INTERNAL', { cause: error });
    if (failure.code === 'INTERNAL') log.error({ err: failure.cause ?? failure }, 'request failed');
    if (response.headersSent) return void response.destroy();
    const { status, headers, body } = present(failure);
    response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body);
  };
}
