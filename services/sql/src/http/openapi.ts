/** The routes of this door in the schemas they read and write with; the OpenAPI document of the mesh is made of it. */
import type { Answer, Described, Operation } from '@postern/service-kit/operations';
import { json, problem, text } from '@postern/service-kit/operations';
import { z } from 'zod';

import { METRIC_PAGES } from '../domain/sql-metrics.ts';
import * as answers from './answers.ts';
import { NeonRequestBody } from './neon-schemas.ts';
import { SqlBody } from './schemas.ts';
import { ClientMessage, ServerMessage } from './sockets/messages.ts';

const SOCKET_SCHEMA = '/api/schemas/sql-websocket.json';

const events = { 'text/event-stream': { schema: z.string().describe('Server-sent events') } };

const options = z.object({
  options: z.string().optional().describe('A JSON object of strings: settings of the session for this request'),
});

const sessionRefused: Readonly<Record<number, Answer>> = {
  403: { description: 'The database turns the login away', content: json(answers.SqlError) },
  500: { description: 'No session is to be had, or the reading failed', content: json(answers.SqlError) },
};
const mistaken: Readonly<Record<number, Answer>> = {
  400: { description: 'The body is not JSON, an option is mistaken, or a query is not one statement', content: text('Why') },
  413: { description: 'The body is too large', content: text('Why') },
  415: { description: 'The body is not application/json', content: text('Why') },
  422: { description: 'The body is neither a query nor a list of queries', content: text('Why') },
};

const away: Answer = { description: 'A service that is needed is away, or this replica stops', content: json(answers.SqlError) };
/** Also what keeps a single statement from being shown is not an entry of an answer. */
const failed: Answer = {
  description: 'The request is mistaken (text), or what is to be shown as CSV or as events failed before it began (JSON)',
  content: { ...text('Why'), ...json(answers.SqlError) },
};

const subscription = z.object({ query: z.string().describe('A SUBSCRIBE statement, or a query or table to subscribe to') });
const lastEventId = z.object({
  'last-event-id': z.string().optional().describe('Where a stream that broke off goes on'),
});
const fedFrom: Readonly<Record<number, Answer>> = {
  200: { description: 'Events as they happen, and a comment every 15 seconds', content: events },
  410: { description: 'It cannot go on from there: begin anew', content: json(answers.SqlError) },
};

const prefer = z.object({ prefer: z.string().optional().describe('`wait=<seconds>`: answer at the end, if it comes in time') });
const id = z.object({ id: z.string() });
const unknown = { 404: { description: 'You have no such statement', content: text('Why') } };

const statements: readonly Operation[] = [
  {
    method: 'POST',
    path: '/api/sql/statements',
    summary: 'Begin statements that run without anybody waiting',
    query: options,
    headers: prefer,
    body: json(SqlBody),
    answers: {
      200: { description: 'They have ended in the time that was waited', content: json(answers.SqlStatement) },
      202: { description: 'They run', content: json(answers.SqlStatement), headers: { location: 'Where to look' } },
      429: { description: 'As many as there may be are kept', content: text('Why') },
      ...mistaken,
    },
  },
  {
    method: 'GET',
    path: '/api/sql/statements',
    summary: 'Your statements, the latest first',
    answers: { 200: { description: 'Those that the replica which answers has', content: json(answers.SqlStatements) } },
  },
  {
    method: 'GET',
    path: '/api/sql/statements/{id}',
    summary: 'How it is with one',
    params: id,
    headers: prefer,
    answers: { 200: { description: 'Its state', content: json(answers.SqlStatement) }, ...unknown },
  },
  {
    method: 'DELETE',
    path: '/api/sql/statements/{id}',
    summary: 'Cancel one that runs, or forget one that has ended',
    params: id,
    answers: {
      200: { description: 'It has ended meanwhile', content: json(answers.SqlStatement) },
      202: { description: 'It is being canceled', content: json(answers.SqlStatement) },
      204: { description: 'It is forgotten' },
      ...unknown,
    },
  },
  {
    method: 'GET',
    path: '/api/sql/statements/{id}/results',
    summary: 'A page of the results of one that has ended',
    params: id,
    query: z.object({
      page: z.string().optional().describe('The `next` of the page before'),
      limit: z.coerce.number().int().min(1).max(100_000).default(1_000).describe('Rows of a page'),
    }),
    answers: {
      200: { description: 'Entries, the last of which may go on on the next page', content: json(answers.SqlPage) },
      400: { description: 'There is no such page', content: text('Why') },
      409: { description: 'It still runs', content: text('Why') },
      ...unknown,
    },
  },
];

const dumps: readonly Operation[] = [
  {
    method: 'GET',
    path: '/api/catalog/dump',
    summary: 'The catalog of the served database, of one snapshot, as you may see it',
    answers: { 200: { description: 'All of it', content: json(answers.CatalogDump) }, ...sessionRefused },
  },
  {
    method: 'GET',
    path: '/api/catalog/check',
    summary: 'What in the catalog does not fit',
    answers: { 200: { description: 'An empty string if all fits', content: json(answers.Check) }, ...sessionRefused },
  },
  {
    method: 'GET',
    path: '/api/coordinator/dump',
    summary: 'What is under way in the replica that answers, and in the server as you may see it',
    answers: { 200: { description: 'All of it', content: json(answers.CoordinatorDump) }, ...sessionRefused },
  },
  {
    method: 'GET',
    path: '/api/coordinator/check',
    summary: 'Whether sessions are as the server has them',
    answers: { 200: { description: 'An empty string if all fits', content: json(answers.Check) }, ...sessionRefused },
  },
];

const sockets: readonly Operation[] = ['/api/experimental/sql', '/api/v1/sql'].map((path) => ({
  method: 'GET',
  path,
  summary: 'SQL over WebSocket',
  description: 'The first message says who you are, or the cookie of a page of the same origin does.',
  query: options,
  answers: { 101: { description: 'Messages of the schema, both ways' } },
  socket: SOCKET_SCHEMA,
}));

const neonHeaders = z.object({
  'neon-raw-text-output': z.enum(['true', 'false']).optional(),
  'neon-array-mode': z.enum(['true', 'false']).optional(),
  'neon-batch-isolation-level': z.enum(['ReadUncommitted', 'ReadCommitted', 'RepeatableRead', 'Serializable']).optional(),
  'neon-batch-read-only': z.enum(['true', 'false']).optional(),
  'neon-batch-deferrable': z.enum(['true', 'false']).optional(),
});

export const described: Described = {
  messages: { input: { ClientMessage }, output: { ServerMessage } },
  shapes: {
    SqlBody,
    SqlAnswer: answers.SqlAnswer,
    SqlEntry: answers.SqlEntry,
    SqlLine: answers.SqlLine,
    SqlError: answers.SqlError,
    SqlNotice: answers.Notice,
    SqlColumns: answers.Columns,
    SqlStatement: answers.SqlStatement,
    SqlPage: answers.SqlPage,
    NeonRequestBody,
    NeonResult: answers.NeonResult,
    NeonResults: answers.NeonResults,
    NeonError: answers.NeonError,
    CatalogDump: answers.CatalogDump,
    CoordinatorDump: answers.CoordinatorDump,
    Check: answers.Check,
  },
  operations: [
    {
      method: 'POST',
      path: '/api/sql',
      summary: 'Run SQL as your own database role',
      description: 'A statement that fails is an entry of a 200. What `Accept` asks for decides how results come.',
      query: options,
      headers: lastEventId,
      body: json(SqlBody),
      answers: {
        200: {
          description: 'An entry for each statement that was run',
          content: {
            ...json(answers.SqlAnswer),
            'application/x-ndjson': { schema: answers.SqlLine, description: 'Each line is one of these' },
            'text/csv': { schema: z.string() },
            ...events,
          },
        },
        ...mistaken,
        ...sessionRefused,
        400: failed,
        410: { description: 'Events cannot go on from there: begin anew', content: json(answers.SqlError) },
        503: away,
      },
    },
    {
      method: 'GET',
      path: '/api/sql/subscribe',
      summary: 'Changes of a query or table as server-sent events',
      query: subscription.extend(options.shape),
      headers: lastEventId,
      answers: {
        ...fedFrom,
        ...sessionRefused,
        400: {
          description: 'It cannot be subscribed to (JSON), or an option is mistaken (text)',
          content: { ...text('Why'), ...json(answers.SqlError) },
        },
        422: { description: 'There is no query', content: text('Why') },
        503: away,
      },
    },
    {
      method: 'GET',
      path: '/api/sql/listen',
      summary: 'Notifications of channels as server-sent events',
      query: z.object({ channel: z.array(z.string()).min(1) }),
      answers: {
        200: fedFrom[200] ?? { description: '' },
        422: { description: 'No channel, or one that cannot be', content: text('Why') },
        ...sessionRefused,
        503: away,
      },
    },
    ...statements,
    ...sockets,
    {
      method: 'GET',
      path: '/v2',
      summary: "PostgreSQL's own protocol over WebSocket, as the Neon serverless driver speaks it",
      description: 'An API key, a token or a password in the password slot says who you are.',
      answers: { 101: { description: 'Binary messages, each any part of the byte stream' } },
    },
    {
      method: 'POST',
      path: '/sql',
      summary: 'Run SQL as the Neon serverless driver sends it',
      headers: neonHeaders,
      body: json(NeonRequestBody),
      answers: {
        200: {
          description: 'The result, or one for each query of a batch',
          content: json(z.union([answers.NeonResult, answers.NeonResults])),
        },
        400: {
          description: 'The statement failed, the credentials are wrong, or the request is mistaken',
          content: json(answers.NeonError),
        },
        507: { description: 'The result is too large', content: json(answers.NeonError) },
      },
    },
    ...dumps,
    ...METRIC_PAGES.map((page): Operation => ({
      method: 'GET',
      path: `/metrics/${page}`,
      summary: 'Metrics that are defined by SQL, read as you',
      answers: {
        200: { description: 'In the Prometheus text format', content: text('Prometheus text format') },
        ...sessionRefused,
      },
    })),
    {
      method: 'GET',
      path: '/api/openapi.json',
      summary: 'This document',
      answers: { 200: { description: 'OpenAPI 3.1', content: json(z.record(z.string(), z.unknown())) } },
    },
    {
      method: 'GET',
      path: SOCKET_SCHEMA,
      summary: 'The messages of SQL over WebSocket',
      answers: {
        200: { description: 'A JSON schema', content: json(z.record(z.string(), z.unknown())) },
        404: problem('It is not there'),
      },
    },
  ],
};
