/** What the edge's own answers look like; the OpenAPI document of the mesh is made of it and of the services' own. */
import type { Described } from '@postern/service-kit/operations';
import { json, problem, text } from '@postern/service-kit/operations';
import { z } from 'zod';

import { AuthMessage, LoginBody, SessionList } from './schemas.ts';

const page = { 'text/html': { schema: z.string() } };

export const described: Described = {
  shapes: { LoginBody, SessionList },
  messages: { input: { AuthMessage } },
  operations: [
    {
      method: 'GET',
      path: '/',
      summary: 'What this is, and what is open here',
      answers: { 200: { description: 'A page', content: page } },
    },
    {
      method: 'POST',
      path: '/api/login',
      summary: 'Log in and get a cookie',
      body: json(LoginBody),
      answers: {
        200: { description: 'The session is in the cookie', headers: { 'set-cookie': 'The session' } },
        400: problem('The body is not JSON'),
        401: { description: 'The name or the password is wrong' },
        415: problem('The body is not application/json'),
        422: problem('The body is of another shape'),
      },
    },
    {
      method: 'POST',
      path: '/api/logout',
      summary: 'End the session of the cookie',
      answers: { 200: { description: 'There is no session any more', headers: { 'set-cookie': 'Empty' } } },
    },
    {
      method: 'GET',
      path: '/api/sessions',
      summary: 'Your browser sessions, on every device',
      answers: { 200: { description: 'All of them', content: json(SessionList) } },
    },
    {
      method: 'DELETE',
      path: '/api/sessions',
      summary: 'End all your browser sessions, also this one',
      answers: { 204: { description: 'They have ended' } },
    },
    {
      method: 'DELETE',
      path: '/api/sessions/{id}',
      summary: 'End one of your browser sessions',
      answers: { 204: { description: 'It has ended' }, 404: problem('You have no such session') },
    },
    {
      method: 'GET',
      path: '/metrics',
      summary: "The edge's own metrics",
      answers: { 200: { description: 'In the Prometheus text format', content: text('Prometheus text format') } },
    },
    {
      method: 'GET',
      path: '/api/livez',
      summary: 'Whether the door is alive',
      answers: { 200: { description: 'It is', content: text('Liveness check successful!') } },
    },
    {
      method: 'GET',
      path: '/api/readyz',
      summary: 'Whether SQL can be served',
      query: z.object({ wait: z.enum(['true']).optional().describe('Hold the answer until it can') }),
      answers: {
        200: { description: 'It can', content: text('ready') },
        503: { description: 'It cannot', content: text('not ready'), headers: { 'retry-after': 'Seconds' } },
      },
    },
  ],
};
