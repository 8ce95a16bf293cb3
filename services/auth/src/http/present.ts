import { authErrors } from '@postern/contracts/auth';
import { edgeErrors } from '@postern/contracts/edge';
import { Failure, isFailure } from '@postern/contracts/failure';
import { sessionErrors } from '@postern/contracts/session';
import type { Presented } from '@postern/service-kit/problem';
import { presentProblem } from '@postern/service-kit/problem';

const { ROUTE_NOT_FOUND, METHOD_NOT_ALLOWED, BODY_TOO_LARGE } = edgeErrors;

/** What this door can answer, in the words that other doors have for it. */
const doorErrors = {
  ...authErrors,
  ROUTE_NOT_FOUND,
  METHOD_NOT_ALLOWED,
  BODY_TOO_LARGE,
  TOO_MANY_ATTEMPTS: sessionErrors.TOO_MANY_ATTEMPTS,
};

export const present = (failure: Failure): Presented => presentProblem(failure, doorErrors);

/** What Express and its body parser throw, in our words; anything else stays what it is. */
export function failureOf(error: unknown): unknown {
  if (isFailure(error) || !(error instanceof Error)) return error;
  const status = 'status' in error ? error.status : undefined;
  const type = 'type' in error ? error.type : undefined;
  if (type === 'entity.too.large') return new Failure('BODY_TOO_LARGE');
  if (type === 'entity.parse.failed') return new Failure('INVALID_REQUEST', { detail: 'the body is not JSON' });
  if (type === 'request.aborted') return new Failure('INVALID_REQUEST', { detail: 'the body broke off' });
  // Another charset, or a compressed body.
  if (status === 415) return new Failure('AUTH_CONTENT_TYPE');
  if (typeof status === 'number' && status >= 400 && status < 500) return new Failure('INVALID_REQUEST');
  return error;
}
