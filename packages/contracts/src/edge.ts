/** Edge: the one public door. Its own failures; it serves no procedure. Owned by services/edge. */
import { z } from 'zod';

import { defineErrors, defineEvent, defineService } from './define.ts';

export const edgeErrors = defineErrors({
  ROUTE_NOT_FOUND: { status: 404, title: 'Nothing is here' },
  METHOD_NOT_ALLOWED: { status: 405, title: 'The path does not take this method' },
  TARGET_MALFORMED: { status: 400, title: 'The request target is not a plain path' },
  HEADER_MALFORMED: { status: 400, title: 'The request headers are ambiguous' },
  BODY_TOO_LARGE: { status: 413, title: 'The body is too large' },
  UNAUTHORIZED: { status: 401, title: 'Authentication is needed' },
  ORIGIN_REFUSED: { status: 403, title: 'A page of another site may not use the session' },
  REQUEST_TIMEOUT: { status: 408, title: 'The request did not arrive in time' },
  EXPECTATION_FAILED: { status: 417, title: 'The expectation cannot be met' },
  HEADERS_TOO_LARGE: { status: 431, title: 'The request headers are too large' },
  LOGIN_CONTENT_TYPE: { status: 415, title: 'The body must be application/json' },
  LOGIN_BODY_NOT_JSON: { status: 400, title: 'The body is not JSON' },
  LOGIN_BODY_SHAPE: { status: 422, title: 'The body is not a name and a password' },
  SOCKET_REQUIRED: { status: 426, title: 'This is spoken over WebSocket, version 13' },
  SOCKET_MALFORMED: { status: 400, title: 'The request does not open a WebSocket' },
  SOCKET_LIMIT: { status: 429, title: 'Too many connections have not said who they are' },
  UPSTREAM_FAILED: { status: 502, title: 'The service broke off its answer' },
});

export const edgeService = defineService({
  name: 'edge',
  version: 1,
  summary: 'The public door: identity, policy, forwarding.',
  errors: edgeErrors,
  procedures: {},
});

/** PostgreSQL's CancelRequest, from a client that speaks its protocol through the edge; the key is what it knows, nothing else. */
export const cancelRequested = defineEvent({
  service: 'edge',
  version: 1,
  name: 'cancelRequested',
  summary:
    'A client asks to cancel what runs in the session that was given this process id and secret key; whoever has the session acknowledges when the signal has been sent.',
  payload: z.object({ processId: z.number().int(), secretKey: z.number().int() }),
});
