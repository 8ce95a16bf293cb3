import { Failure } from '@postern/contracts/failure';
import { expect, test } from 'vitest';

import { present } from './present.ts';

test('a fault of the request is plain text; where there is too much of something, with a time to come back', () => {
  const detail = 'why';
  expect(present(new Failure('SQL_PAGE_MALFORMED', { detail }), undefined)).toEqual({
    status: 400,
    headers: { 'content-type': 'text/plain; charset=utf-8' },
    body: detail,
  });
  expect(present(new Failure('SQL_SOCKETS_LIMIT', { detail }), undefined)).toEqual({
    status: 429,
    headers: { 'content-type': 'text/plain; charset=utf-8', 'retry-after': '1' },
    body: detail,
  });
});
