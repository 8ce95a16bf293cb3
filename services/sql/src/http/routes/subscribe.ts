/** `GET /api/sql/subscribe`, and `POST /api/sql` where server-sent events are asked for: SUBSCRIBE as a stream. */
import { Failure } from '@postern/contracts/failure';
import type { ServerResponse } from 'node:http';

import { eventsWish } from '../../domain/accept.ts';
import type { SqlError } from '../../domain/entries.ts';
import type { SqlRequest } from '../../domain/ports.ts';
import type { Recognised, SubscribeStatement, Subscriptions, SubscriptionSink } from '../../domain/subscribe.ts';
import { notAlone, recognise } from '../../domain/subscribe.ts';
import { checkContentType, takeBody } from '../middleware/body.ts';
import { EventStream, isHeadAnswered } from '../event-stream.ts';
import { readBody, readOptions } from '../schemas.ts';
import type { Route, Visit } from '../server.ts';

type AnySubscriptions = Pick<Subscriptions<never>, 'subscribe'>;

export const subscribeRoute = (subscriptions: AnySubscriptions): Route => ({
  method: 'GET',
  path: '/api/sql/subscribe',
  serve: async (visit) => {
    const query = new URL(visit.request.url ?? '', 'http://sql').searchParams.get('query') ?? '';
    if (query.trim() === '') throw new Failure('SQL_BODY_SHAPE', { detail: 'the parameter "query" is missing' });
    await stream(subscriptions, visit, recognise(query) ?? recogniseSource(query));
  },
});

/** What is no SUBSCRIBE is what to subscribe to: a table, or a query. */
function recogniseSource(text: string): Recognised | undefined {
  const table = recognise(`SUBSCRIBE ${text}`);
  return table?.kind === 'subscribe' ? table : recognise(`SUBSCRIBE (${text}\n)`);
}

/** `POST /api/sql` where server-sent events are asked for: alone, or among others for what only they can show. */
export const withEvents = (route: Route, subscriptions: AnySubscriptions): Route => ({
  ...route,
  serve: async (visit) => {
    const wish = eventsWish(visit.request.headers.accept);
    if (wish === 'no') return route.serve(visit);
    checkContentType(visit.request);
    const body = await takeBody(visit.request);
    const found = recogniseOne(readBody(body));
    if (found === undefined && wish === 'among others') return route.serve({ ...visit, body });
    if (found !== undefined) return stream(subscriptions, visit, found);
    throw new Failure('SQL_BODY_SHAPE', { detail: 'server-sent events are for exactly one SUBSCRIBE statement' });
  },
});

function recogniseOne(request: SqlRequest): Recognised | undefined {
  const texts = request.kind === 'simple' ? [request.query] : request.queries.map(({ query }) => query);
  const [text = '', ...others] = texts;
  return others.length === 0 ? recognise(text) : undefined;
}

async function stream(subscriptions: AnySubscriptions, visit: Visit, found: Recognised | undefined): Promise<void> {
  const { caller, request, response } = visit;
  if (found === undefined || found.kind === 'refused') return refuse(response, found?.error ?? notAlone, 400);
  const settings = readOptions(request.url ?? '');
  const statement = withToken(found.statement, request.headers['last-event-id']);
  if (isHeadAnswered(request, response)) return;
  const events = new EventStream(response);
  const sink = new EventSink(events, statement.options.resume !== undefined, found.isFollowed);
  const subscription = subscriptions.subscribe({ caller, statement, settings }, sink);
  const leave = (): void => subscription.leave();
  response.once('close', leave);
  if (response.closed) leave();
  await subscription.ended;
  response.off('close', leave);
}

/** An EventSource that connects again tells the last id it has seen, which is later than the one in its address. */
function withToken(statement: SubscribeStatement, token: string | readonly string[] | undefined): SubscribeStatement {
  if (typeof token !== 'string' || token === '') return statement;
  return { ...statement, options: { ...statement.options, resume: token } };
}

function refuse(response: ServerResponse, error: SqlError, status: number): void {
  const body = JSON.stringify(error);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body);
}

class EventSink implements SubscriptionSink {
  readonly #events: EventStream;
  readonly #isContinued: boolean;
  readonly #isFollowed: boolean;

  constructor(events: EventStream, isContinued: boolean, isFollowed: boolean) {
    this.#events = events;
    this.#isContinued = isContinued;
    this.#isFollowed = isFollowed;
  }

  columns(description: Buffer): void {
    this.#events.send('columns', description);
  }

  row(row: Buffer, token: string): void {
    this.#events.send('row', row, token);
  }

  progress(row: Buffer, token: string): void {
    this.#events.send('progress', row, token);
  }

  notice(notice: object): void {
    this.#events.hold('notice', Buffer.from(JSON.stringify(notice)));
  }

  error(error: SqlError): void {
    // Before anything was sent it is an answer of its own, so that an EventSource does not ask again and again.
    if (!this.#events.isOpen) return refuse(this.#events.response, error, this.#statusOf(error));
    this.#events.send('error', Buffer.from(JSON.stringify(error)));
    this.#events.end();
  }

  #statusOf({ code }: SqlError): number {
    if (code.startsWith('28')) return 403;
    if (code === '53300') return 500;
    if (code === '08006' || code === '57P01') return 503;
    return this.#isContinued && code === '55000' ? 410 : 400;
  }

  complete(tag: string): void {
    this.#events.send('complete', Buffer.from(JSON.stringify({ tag })));
    if (this.#isFollowed) this.#events.send('error', Buffer.from(JSON.stringify(notAlone)));
    this.#events.end();
  }

  flush(): Promise<void> | undefined {
    return this.#events.flush();
  }
}
